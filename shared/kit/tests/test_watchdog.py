"""When a consumer that lives is thought to do nothing, and when it is left alone."""

import pytest

from channel_kit import watchdog
from channel_kit.watchdog import Rebuild, Watchdog


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(watchdog, "time", clock)
    return clock


@pytest.fixture
def assigned(clock: Clock) -> Watchdog:
    dog = Watchdog()
    dog.assigned()
    return dog


def test_waiting_records_that_nobody_handles(assigned: Watchdog, clock: Clock) -> None:
    for _ in range(4):
        clock.now += 10
        assigned.check()
        assigned.waiting(7)
    clock.now += 10
    with pytest.raises(Rebuild, match="7 records waiting"):
        assigned.check()


def test_a_slow_consumer_that_advances_is_left_alone(assigned: Watchdog, clock: Clock) -> None:
    for _ in range(20):
        clock.now += 40
        assigned.waiting(100_000)
        assigned.handled()
        assigned.committed(assigned.polls)
        assigned.check()


def test_an_idle_consumer_is_left_alone(assigned: Watchdog, clock: Clock) -> None:
    for _ in range(100):
        clock.now += 10
        assigned.waiting(0)
        assigned.check()
    assigned.handled()
    assigned.check()
    assert assigned.uncommitted


def test_no_assignment_was_completed(clock: Clock) -> None:
    dog = Watchdog()
    clock.now += 59
    dog.check()
    clock.now += 2
    with pytest.raises(Rebuild, match="no partition"):
        dog.check()


def test_a_member_without_a_partition_is_left_alone(assigned: Watchdog, clock: Clock) -> None:
    clock.now += 10_000
    assigned.check()


def test_a_rebalance_that_never_ends(assigned: Watchdog, clock: Clock) -> None:
    clock.now += 1_000
    assigned.revoked()
    clock.now += 61
    with pytest.raises(Rebuild, match="no partition"):
        assigned.check()


def test_handled_records_that_are_not_committed(assigned: Watchdog, clock: Clock) -> None:
    for _ in range(30):
        assigned.handled()
        assigned.check()
        clock.now += 1
    clock.now += 1
    with pytest.raises(Rebuild, match="no offset commit"):
        assigned.check()


def test_commits_that_trail_a_busy_consumer_are_enough(assigned: Watchdog, clock: Clock) -> None:
    for _ in range(100):
        assigned.handled()
        polls = assigned.polls
        assigned.handled()
        clock.now += 1
        assigned.committed(polls)
        assigned.check()
    assert assigned.uncommitted
