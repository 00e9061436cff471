"""What one poll does: duplicates, gaps, failures, rivals; on a real PostgreSQL, without a broker."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from channel_events.catalog import encode
from channel_events.envelope import Event
from channel_kit import positions, telemetry
from channel_kit.database import WORKER, Database, Write
from channel_kit.poll import Poll
from channel_kit.testing.bench import CONSUMER, Bench, history, insert_effects
from channel_kit.testing.events import partner_event, records


def alarms() -> float:
    return float(telemetry.feed_alarms.labels(CONSUMER)._value.get())


@pytest.fixture
def bench(kit_database: Database) -> Bench:
    return Bench(kit_database)


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
