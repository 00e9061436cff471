"""What one poll does: duplicates, gaps, failures, rivals; on a real PostgreSQL, without a broker."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import pytest

from channel_events.catalog import encode
from channel_events.envelope import Event
from channel_kit import parking, positions, telemetry, watermark
from channel_kit.database import WORKER, Database, StaleWrite, Write
from channel_kit.poll import Poll
from channel_kit.records import Record
from channel_kit.testing.events import partner_event, records
from channel_kit.watermark import Key

CONSUMER = "test.partner"


class Bench:
    """A consumer whose effect is one row per event, and what it left behind."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.refuse: set[tuple[UUID, int]] = set()
        self.calls: list[list[tuple[UUID, int]]] = []
        self.poll = Poll(CONSUMER, self.handle)

    async def handle(self, tx: Write, events: Sequence[Event[Any]]) -> None:
        """Holds the feed to its word: per aggregate the very next versions, in order, none twice."""
        self.calls.append([(event.aggregate_id, event.aggregateversion) for event in events])
        applied = await tx.rows(
            "select aggregate_id, max(n) as n from effect where aggregate_id = any($1::uuid[]) group by 1",
            [event.aggregate_id for event in events],
        )
        last = {row.aggregate_id: row.n for row in applied}
        for event in events:
            expected = last.get(event.aggregate_id, 0) + 1
            assert event.aggregateversion == expected, f"{event.aggregateversion} came instead of {expected}"
            last[event.aggregate_id] = expected
            if (event.aggregate_id, event.aggregateversion) in self.refuse:
                raise LookupError(f"version {event.aggregateversion} is refused\x00\ud800")
        await insert_effects(tx, events)

    async def settle(
        self, *events: Event[Any] | bytes | None, position: Callable[[Write], Awaitable[None]] | None = None
    ) -> None:
        await self.settle_records(records(events), position)

    async def settle_records(
        self, polled: Sequence[Record], position: Callable[[Write], Awaitable[None]] | None = None
    ) -> None:
        async def nowhere(tx: Write) -> None:
            return None

        await self.poll.settle(self.database, polled, position or nowhere)

    async def redrive(self) -> None:
        async with self.database.write(WORKER) as tx:
            await parking.ask_redrive(tx, CONSUMER)
        async with self.database.read(WORKER) as tx:
            keys = await parking.to_redrive(tx, CONSUMER)
        await self.poll.redrive(self.database, keys)

    async def effects(self, aggregate_id: UUID) -> list[int]:
        async with self.database.read(WORKER) as tx:
            rows = await tx.rows("select n from effect where aggregate_id = $1 order by n", aggregate_id)
        return [row.n for row in rows]

    async def parked(self) -> dict[int, str]:
        async with self.database.read(WORKER) as tx:
            rows = await tx.rows("select version, reason from parked where consumer = $1", CONSUMER)
        return {row.version: row.reason for row in rows}


async def insert_effects(tx: Write, events: Sequence[Event[Any]]) -> None:
    await tx.execute(
        "insert into effect select n, a, null from unnest($1::bigint[], $2::uuid[]) t(n, a)",
        [event.aggregateversion for event in events],
        [event.aggregate_id for event in events],
    )


def alarms() -> float:
    return float(telemetry.feed_alarms.labels(CONSUMER)._value.get())


@pytest.fixture
def bench(kit_database: Database) -> Bench:
    return Bench(kit_database)


def history(aggregate_id: UUID, versions: int) -> list[Event[Any]]:
    return [partner_event(aggregate_id, version) for version in range(1, versions + 1)]


# -- duplicates and gaps -----------------------------------------------------------------------------------


async def test_a_duplicate_has_no_second_effect(bench: Bench) -> None:
    one, two = history(a := uuid4(), 2)
    await bench.settle(one, one, two, one)
    await bench.settle(two, one)
    assert await bench.effects(a) == [1, 2]
    assert await bench.parked() == {}


async def test_a_hole_that_fills_in_the_same_poll_is_no_hole(bench: Bench) -> None:
    one, two, three = history(a := uuid4(), 3)
    await bench.settle(three, two, one)
    assert await bench.effects(a) == [1, 2, 3]
    assert bench.calls == [[(a, 1), (a, 2), (a, 3)]]
    assert await bench.parked() == {}


async def test_versions_after_a_hole_wait_and_drain_by_themselves(bench: Bench) -> None:
    one, two, three, four = history(a := uuid4(), 4)
    await bench.settle(four)
    await bench.settle(two, one)
    assert await bench.effects(a) == [1, 2]
    assert await bench.parked() == {4: "gap"}
    await bench.settle(four)
    await bench.settle(three)
    assert await bench.effects(a) == [1, 2, 3, 4]
    assert await bench.parked() == {}


async def test_the_first_version_may_come_last(bench: Bench) -> None:
    one, two = history(a := uuid4(), 2)
    await bench.settle(two)
    async with bench.database.read(WORKER) as tx:
        assert await tx.value("select last_version from watermark where aggregate_id = $1", a) == 0
    await bench.settle(one)
    assert await bench.effects(a) == [1, 2]
    assert await bench.parked() == {}


async def test_another_event_at_the_same_version_raises_the_alarm(bench: Bench) -> None:
    a, before = uuid4(), alarms()
    await bench.settle(*history(a, 2))
    await bench.settle(partner_event(a, 2))
    assert alarms() == before + 1
    await bench.settle(partner_event(a, 4), partner_event(a, 4))
    assert alarms() == before + 2, "two that still wait are compared, too"
    assert await bench.effects(a) == [1, 2]


async def test_the_same_event_again_is_no_alarm(bench: Bench) -> None:
    events, before = history(uuid4(), 3), alarms()
    await bench.settle(*events)
    await bench.settle(*events)
    assert alarms() == before


# -- failures ----------------------------------------------------------------------------------------------


async def test_a_failed_event_parks_its_aggregate_and_no_other(bench: Bench) -> None:
    a, others = uuid4(), [uuid4() for _ in range(20)]
    bench.refuse = {(a, 2)}
    await bench.settle(*[event for key in [*others[:10], a, *others[10:]] for event in history(key, 3)])
    assert await bench.effects(a) == [1]
    assert await bench.parked() == {2: "failed", 3: "gap"}
    for other in others:
        assert await bench.effects(other) == [1, 2, 3]


async def test_later_versions_and_repeats_wait_behind_a_failed_one(bench: Bench) -> None:
    events = history(a := uuid4(), 4)
    bench.refuse = {(a, 2)}
    await bench.settle(*events[:2])
    bench.refuse = set()
    await bench.settle(events[1], events[2])
    await bench.settle(events[3])
    assert await bench.effects(a) == [1]
    assert await bench.parked() == {2: "failed", 3: "gap", 4: "gap"}
    async with bench.database.read(WORKER) as tx:
        assert await tx.value("select max(attempts) from parked") == 1, "a repeat is not another attempt"
        assert "version 2 is refused" in await tx.value("select error from parked where version = 2")


async def test_a_redrive_heals_in_version_order(bench: Bench) -> None:
    events = history(a := uuid4(), 4)
    bench.refuse = {(a, 2)}
    await bench.settle(*events)
    await bench.redrive()
    assert await bench.parked() == {2: "failed", 3: "gap", 4: "gap"}, "it still fails"
    bench.refuse = {(a, 4)}
    await bench.redrive()
    assert await bench.effects(a) == [1, 2, 3]
    assert await bench.parked() == {4: "failed"}
    bench.refuse = set()
    await bench.redrive()
    assert await bench.effects(a) == [1, 2, 3, 4]
    assert await bench.parked() == {}


async def test_the_position_is_written_after_everything_else(bench: Bench) -> None:
    keys = [uuid4() for _ in range(12)]
    bench.refuse = {(keys[5], 1)}
    seen: list[tuple[int, int]] = []

    async def position(tx: Write) -> None:
        await positions.save(tx, CONSUMER, "c", {("test", 0): 12})
        async with bench.database.read(WORKER) as other:
            applied = await other.value("select count(*) from effect")
            seen.append((applied, await other.value("select count(*) from parked")))

    await bench.settle(*[partner_event(key, 1) for key in keys], position=position)
    assert seen == [(11, 1)], "once, when the effects were committed"
    async with bench.database.read(WORKER) as tx:
        assert await positions.load(tx, CONSUMER, "c") == {("test", 0): 12}


async def test_a_good_poll_is_one_transaction_with_its_position(bench: Bench) -> None:
    async def position(tx: Write) -> None:
        assert await tx.value("select count(*) from effect") == 3
        async with bench.database.read(WORKER) as other:
            assert await other.value("select count(*) from effect") == 0

    await bench.settle(*history(a := uuid4(), 3), position=position)
    assert await bench.effects(a) == [1, 2, 3]


async def test_a_batch_that_takes_too_long_is_made_smaller_and_not_parked(bench: Bench) -> None:
    async def slow(tx: Write, events: Sequence[Event[Any]]) -> None:
        await tx.execute("set local statement_timeout = '150ms'")
        await tx.rows("select pg_sleep($1)", 0.04 * len(events))
        await insert_effects(tx, events)

    bench.poll = Poll(CONSUMER, slow)
    keys = [uuid4() for _ in range(6)]
    await bench.settle(*[partner_event(key, 1) for key in keys])
    assert [await bench.effects(key) for key in keys] == [[1]] * 6
    assert await bench.parked() == {}


# -- what is no event of ours ------------------------------------------------------------------------------


async def test_an_unreadable_event_parks_the_aggregate_it_names(bench: Bench) -> None:
    one, two, three = history(a := uuid4(), 3)
    unreadable = encode(two).replace(two.type, "channel.partner.unheard-of.v7").encode()
    await bench.settle(one, unreadable, three)
    assert await bench.effects(a) == [1]
    assert await bench.parked() == {2: "failed", 3: "gap"}
    await bench.redrive()
    assert await bench.parked() == {2: "failed", 3: "gap"}
    await bench.settle(two)
    assert await bench.effects(a) == [1, 2, 3], "a readable copy takes its place"
    assert await bench.parked() == {}


async def test_a_release_that_reads_it_redrives_it(bench: Bench) -> None:
    one, two = history(a := uuid4(), 2)
    await bench.settle(one, encode(two).replace(two.type, "channel.partner.unheard-of.v7").encode())
    async with bench.database.write(WORKER) as tx:
        await tx.execute("update parked set event = $1", encode(two))
    assert await bench.effects(a) == [1]
    await bench.redrive()
    assert await bench.effects(a) == [1, 2]


@pytest.mark.parametrize(
    "value",
    [None, b"", b"\xff\x00\xfe", b"[]", b'{"type":"x"', b"\x00" * 40, b'"\\ud800"', "价".encode() * 1000],
    ids=["tombstone", "empty", "no-text", "no-object", "cut", "zeroes", "surrogate", "long"],
)
async def test_what_names_nobody_stands_alone(bench: Bench, value: bytes | None) -> None:
    one, two = history(a := uuid4(), 2)
    await bench.settle(one, value, two)
    await bench.settle(one, value, two)
    assert await bench.effects(a) == [1, 2]
    assert list((await bench.parked()).values()) == ["failed"], "parked once, whatever comes again"


async def test_strange_headers_are_no_reason_to_fail(bench: Bench) -> None:
    a = uuid4()
    strange = [
        record._replace(headers={"ce_type": b"\xff", "traceparent": b"\x00\xff", "x": b""})
        for record in records(history(a, 1))
    ]
    await bench.settle_records(strange)
    assert await bench.effects(a) == [1]


# -- rivals ------------------------------------------------------------------------------------------------


class Meeting:
    """Two handlers wait for each other once, so that both are in the middle at the same time."""

    def __init__(self) -> None:
        self._barrier = asyncio.Barrier(2)
        self._over = False

    async def handle(self, tx: Write, events: Sequence[Event[Any]]) -> None:
        if not self._over:
            # In vain where the other one waits for a row lock of ours.
            with suppress(TimeoutError, asyncio.BrokenBarrierError):
                await asyncio.wait_for(self._barrier.wait(), 0.3)
            self._over = True
        await insert_effects(tx, events)


async def rival_rounds(database: Database, rounds: int) -> int:
    """Two consumers of one name get the same records at the same time; returns how many effects doubled."""
    aggregate_id, doubled = uuid4(), 0
    for turn in range(rounds):
        meeting = Meeting()
        polled = records([partner_event(aggregate_id, 1 + turn), partner_event(uuid4(), 1)])
        benches = [Bench(database) for _ in range(2)]
        for bench in benches:
            bench.poll = Poll(CONSUMER, meeting.handle)
        await asyncio.gather(*(bench.settle_records(polled) for bench in benches))
    async with database.read(WORKER) as tx:
        rows = await tx.rows("select count(*) as c from effect group by aggregate_id, n")
    doubled = sum(row.c - 1 for row in rows)
    assert len(rows) == 2 * rounds
    return doubled


async def test_rivals_have_each_effect_once(kit_database: Database) -> None:
    assert await rival_rounds(kit_database, 4) == 0


async def test_without_compare_and_set_rivals_double(
    kit_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = watermark.advance

    async def careless(tx: Write, consumer: str, moves: Any) -> None:
        try:
            await real(tx, consumer, moves)
        except StaleWrite:
            return

    monkeypatch.setattr(watermark, "advance", careless)
    assert await rival_rounds(kit_database, 4) > 0


async def test_without_a_watermark_a_duplicate_doubles(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(tx: Write, consumer: str, keys: Any) -> dict[Key, watermark.Mark]:
        return {}

    async def unmoved(tx: Write, consumer: str, moves: Any) -> None:
        return None

    monkeypatch.setattr(watermark, "lock", nothing)
    monkeypatch.setattr(watermark, "advance", unmoved)
    bench.poll = Poll(CONSUMER, insert_effects)
    one = partner_event(a := uuid4(), 1)
    await bench.settle(one)
    await bench.settle(one)
    assert await bench.effects(a) == [1, 1], "what the watermark is there for"


@pytest.mark.parametrize("gap_first", [True, False])
async def test_a_rival_that_fills_the_hole_meanwhile_leaves_nothing_parked(
    kit_database: Database, gap_first: bool
) -> None:
    one, two = history(a := uuid4(), 2)
    first, second = Bench(kit_database), Bench(kit_database)
    inside, go = asyncio.Event(), asyncio.Event()

    async def hold(tx: Write) -> None:
        inside.set()
        await go.wait()

    holding = asyncio.create_task(first.settle(two if gap_first else one, position=hold))
    await asyncio.wait_for(inside.wait(), 5)
    following = asyncio.create_task(second.settle(one if gap_first else two))
    await asyncio.sleep(0.1)
    go.set()
    await asyncio.wait_for(asyncio.gather(holding, following), 10)
    assert await first.effects(a) == [1, 2]
    assert await first.parked() == {}


async def test_a_rival_is_not_blamed_for_the_next_version(bench: Bench) -> None:
    """A version fails because a rival has just applied it: the next one must not be parked in its stead."""
    one, two = history(a := uuid4(), 2)
    rival = Bench(bench.database)

    async def loses_once(tx: Write, events: Sequence[Event[Any]]) -> None:
        if len(lost) < 3:  # the poll, the search, the trial
            lost.append(1)
            if len(lost) == 3:
                await tx.connection.rollback()
                await rival.settle(one)
            raise LookupError("unique violation, say")
        await insert_effects(tx, events)

    lost: list[int] = []
    bench.poll = Poll(CONSUMER, loses_once)
    await bench.settle(one, two)
    assert await bench.effects(a) == [1, 2]
    assert await bench.parked() == {}
