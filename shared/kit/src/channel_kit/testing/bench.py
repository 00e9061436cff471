"""A consumer for tests of the mechanics: its effect is one row per event in `effect`, so a doubled effect shows.

`Bench` drives `Poll` without a broker and holds it to its word: contiguous runs, in order, none twice.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from channel_events.envelope import Event
from channel_kit import parking
from channel_kit.database import WORKER, Database, Write
from channel_kit.poll import Poll
from channel_kit.records import Record
from channel_kit.testing.events import partner_event, records

CONSUMER = "test.partner"


async def insert_effects(tx: Write, events: Sequence[Event[Any]]) -> None:
    """A handler that keeps no order and no count: doubled events become doubled rows."""
    await tx.execute(
        "insert into effect select n, a, null from unnest($1::bigint[], $2::uuid[]) t(n, a)",
        [event.aggregateversion for event in events],
        [event.aggregate_id for event in events],
    )


async def effects(database: Database) -> list[tuple[UUID, int]]:
    """(aggregate, version) of every effect, sorted."""
    async with database.read(WORKER) as tx:
        return sorted(
            (row.aggregate_id, row.n) for row in await tx.rows("select aggregate_id, n from effect")
        )


async def nowhere(tx: Write) -> None:
    """A position that is not kept."""


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
            if event.aggregateversion != expected:
                raise AssertionError(f"{event.aggregateversion} came instead of {expected}")
            last[event.aggregate_id] = expected
            if (event.aggregate_id, event.aggregateversion) in self.refuse:
                raise LookupError(f"version {event.aggregateversion} is refused\x00\ud800")
        await insert_effects(tx, events)

    async def settle(
        self, *events: Event[Any] | bytes | None, position: Callable[[Write], Awaitable[None]] | None = None
    ) -> None:
        """Events (or raw bytes) at consecutive offsets."""
        await self.settle_records(records(events), position)

    async def settle_records(
        self, polled: Sequence[Record], position: Callable[[Write], Awaitable[None]] | None = None
    ) -> None:
        """One poll, with its position."""
        await self.poll.settle(self.database, polled, position or nowhere)

    async def redrive(self) -> None:
        """What an operator's redrive brings about."""
        async with self.database.write(WORKER) as tx:
            await parking.ask_redrive(tx, CONSUMER)
        async with self.database.read(WORKER) as reading:
            keys = await parking.to_redrive(reading, CONSUMER)
        await self.poll.redrive(self.database, keys)

    async def effects(self, aggregate_id: UUID) -> list[int]:
        """The versions of an aggregate whose effect is there."""
        async with self.database.read(WORKER) as tx:
            rows = await tx.rows("select n from effect where aggregate_id = $1 order by n", aggregate_id)
        return [row.n for row in rows]

    async def parked(self) -> dict[int, str]:
        """Version and reason of everything that is parked."""
        async with self.database.read(WORKER) as tx:
            rows = await tx.rows("select version, reason from parked where consumer = $1", CONSUMER)
        return {row.version: row.reason for row in rows}


def history(aggregate_id: UUID, versions: int) -> list[Event[Any]]:
    """The first `versions` events of an aggregate."""
    return [partner_event(aggregate_id, version) for version in range(1, versions + 1)]
