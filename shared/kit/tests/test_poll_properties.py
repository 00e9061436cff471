"""Whatever order, repetition and slicing events arrive in: each effect once, in order, and nothing left over."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channel_events.envelope import Event
from channel_kit import watermark
from channel_kit.database import WORKER, Database, Write
from channel_kit.poll import Poll
from channel_kit.testing.bench import CONSUMER, nowhere
from channel_kit.testing.events import partner_event, records

Place = tuple[int, int]  # aggregate, version

pytestmark = pytest.mark.timeout(120)


@st.composite
def deliveries(draw: st.DrawFn) -> list[list[Place]]:
    """Polls that together hold every version of some aggregates at least once, in any order."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    every = [(a, version) for a, length in enumerate(lengths) for version in range(1, length + 1)]
    again = draw(st.lists(st.sampled_from(every), max_size=8))
    arrivals = draw(st.permutations([*every, *again]))
    cuts = sorted(draw(st.lists(st.integers(0, len(arrivals)), max_size=4)))
    edges = [0, *cuts, len(arrivals)]
    return [list(arrivals[start:end]) for start, end in pairwise(edges)]


async def deliver(database: Database, polls: Sequence[Sequence[Place]]) -> list[str]:
    """Settles the polls with a consumer of their own; returns what is wrong afterwards."""
    consumer = f"{CONSUMER}.{uuid4()}"
    ids = {a: uuid4() for poll in polls for a, _ in poll}
    events: dict[Place, Event[Any]] = {
        place: partner_event(ids[place[0]], place[1]) for poll in polls for place in poll
    }
    order: list[Place] = []
    names = {aggregate_id: a for a, aggregate_id in ids.items()}

    async def handle(tx: Write, run: Sequence[Event[Any]]) -> None:
        order.extend((names[event.aggregate_id], event.aggregateversion) for event in run)

    poll = Poll(consumer, handle)
    for places in polls:
        await poll.settle(database, records([events[place] for place in places]), nowhere)
    async with database.read(WORKER) as tx:
        parked = await tx.value("select count(*) from parked where consumer = $1", consumer)
    wrong = [f"{parked} left parked"] if parked else []
    for a in ids:
        versions = [version for b, version in order if b == a]
        if versions != sorted({version for b, version in events if b == a}):
            wrong.append(f"aggregate {a} saw {versions}")
    return wrong


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(polls=deliveries())
async def test_every_effect_once_and_in_order(kit_database: Database, polls: list[list[Place]]) -> None:
    assert await deliver(kit_database, polls) == []


@pytest.fixture
def without_watermark(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(tx: Write, consumer: str, keys: Any) -> dict[watermark.Key, watermark.Mark]:
        return {}

    async def unmoved(tx: Write, consumer: str, moves: Any) -> None:
        return None

    monkeypatch.setattr(watermark, "lock", nothing)
    monkeypatch.setattr(watermark, "advance", unmoved)


@pytest.mark.usefixtures("without_watermark")
async def test_the_same_check_sees_what_happens_without_a_watermark(kit_database: Database) -> None:
    assert await deliver(kit_database, [[(0, 1), (0, 2)], [(0, 1)]]) == ["aggregate 0 saw [1, 2, 1]"]


async def test_the_same_check_sees_what_happens_without_sorting(
    kit_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_it_comes(self: Poll, items: Sequence[Any], mark: watermark.Mark) -> tuple[list[Any], list[Any]]:
        return list(items), []

    monkeypatch.setattr(Poll, "_sort", as_it_comes)
    assert await deliver(kit_database, [[(0, 2), (0, 1)]]) != []
