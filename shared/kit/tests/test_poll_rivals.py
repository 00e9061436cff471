"""Two consumers of one name in the middle of the same records, as a rebalance makes them: each effect once."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest

from channel_events.envelope import Event
from channel_kit import watermark
from channel_kit.database import WORKER, Database, StaleWrite, Write
from channel_kit.poll import Poll
from channel_kit.testing.bench import CONSUMER, Bench, history, insert_effects
from channel_kit.testing.events import partner_event, records
from channel_kit.watermark import Key


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


@pytest.fixture
def bench(kit_database: Database) -> Bench:
    return Bench(kit_database)


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
                await tx.driver.execute("rollback")
                await rival.settle(one)
            raise LookupError("unique violation, say")
        await insert_effects(tx, events)

    lost: list[int] = []
    bench.poll = Poll(CONSUMER, loses_once)
    await bench.settle(one, two)
    assert await bench.effects(a) == [1, 2]
    assert await bench.parked() == {}
