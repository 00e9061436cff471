"""Announcing: an event is written in the transaction of the change it tells of, and sent later by the relay.

The writer has locked its aggregate first, so ids are drawn in commit order inside an aggregate; the unique
(aggregate type, id, version) turns a forgotten lock into an error. `stream_version` of an aggregate moves only
together with an announcement, by one each. The exact text that will be sent is stored.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID
from weakref import WeakSet

from pydantic import BaseModel

from channel_events.catalog import CATALOG, encode, envelope_class
from channel_kit import telemetry
from channel_kit.clock import now
from channel_kit.database import Read, Write
from channel_kit.ids import uuid7

SHARDS = 16


class Announcement(NamedTuple):
    """One event to be. `version` is the aggregate's next stream version; `causation_id` None = many causes."""

    type: str
    aggregate_id: UUID
    version: int
    body: BaseModel
    correlation_id: UUID
    causation_id: UUID | None = None


async def announce(tx: Write, items: Sequence[Announcement]) -> None:
    """Stores the events in order and marks them pending.

    Raises ValueError when versions of one aggregate are not consecutive or an event is over 900 KiB (the
    caller should have split it), and the database's unique violation when a version was taken already
    (a bug: the aggregate was not locked).
    """
    if not items:
        return
    last: dict[tuple[str, UUID], int] = defaultdict(int)
    columns: tuple[list[Any], ...] = ([], [], [], [], [], [], [], [], [])
    recorded_at = now()
    for item in items:
        kind = CATALOG[item.type]
        key = (kind.aggregate_type, item.aggregate_id)
        if last[key] and item.version != last[key] + 1:
            raise ValueError(f"{key}: version {item.version} does not follow {last[key]}")
        last[key] = item.version
        event = envelope_class(item.type)(
            id=uuid7(),
            source=f"/qudao/{tx.service}-svc",
            type=item.type,
            subject=str(item.aggregate_id),
            time=recorded_at,
            aggregatetype=kind.aggregate_type,
            aggregateversion=item.version,
            correlationid=item.correlation_id,
            causationid=item.causation_id,
            data=item.body,
        )
        payload = encode(event)
        for column, value in zip(
            columns,
            (
                event.id,
                kind.topic.name,
                kind.aggregate_type,
                item.aggregate_id,
                item.version,
                item.aggregate_id.int % SHARDS,
                item.type,
                json.dumps(telemetry.trace_headers(item.correlation_id)),
                payload,
            ),
            strict=True,
        ):
            column.append(value)
    await tx.execute(
        """
        with added as (
          insert into outbox (event_id, topic, aggregate_type, aggregate_id, aggregate_version, shard, type, headers, payload)
          select event_id, topic, aggregate_type, aggregate_id, aggregate_version, shard, type, headers::json, payload::json
          from unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::bigint[], $6::smallint[], $7::text[], $8::text[],
                      $9::text[]) with ordinality
            as t(event_id, topic, aggregate_type, aggregate_id, aggregate_version, shard, type, headers, payload, n)
          order by n
          returning id, shard)
        insert into outbox_pending (id, shard) select id, shard from added
        """,
        *columns,
    )
    tx.on_commit(_wake)


_wakers: WeakSet[asyncio.Event] = WeakSet()


def wake_with(waker: asyncio.Event) -> None:
    """Registers an event of this process that is set after each commit that announced something.

    The caller keeps it alive; it is forgotten with its owner.
    """
    _wakers.add(waker)


def _wake() -> None:
    for waker in _wakers:
        waker.set()


class Waiting(NamedTuple):
    """What the broker has not acknowledged. Counted up to a bound, so that asking stays cheap in a backlog."""

    rows: int
    oldest_seconds: int


class Republished(NamedTuple):
    """`events` were put back into pending; `last_id` is where to go on, None when there is nothing left."""

    events: int
    last_id: int | None


async def waiting(tx: Read, rows_max: int = 100_000) -> Waiting:
    """How many rows are pending (at most `rows_max` are counted) and how old the oldest is."""
    row = await tx.row(
        """
        select (select count(*) from (select from outbox_pending limit $1) p) as rows,
               coalesce((select extract(epoch from clock_timestamp() - o.created_at)::int8
                         from (select id from outbox_pending order by id limit 1) p join outbox o using (id)), 0) as oldest
        """,
        rows_max,
    )
    return Waiting(0, 0) if row is None else Waiting(row.rows, max(0, row.oldest))


async def republish(tx: Write, *, topic: str | None, after_id: int, limit: int) -> Republished:
    """Puts old rows back into pending, oldest first, for a broker that lost its log; rows that are pending
    already stay as they are."""
    row = await tx.row(
        """
        with looked_at as (
          select id, shard from outbox where id > $1 and ($2::text is null or topic = $2) order by id limit $3),
        added as (
          insert into outbox_pending (id, shard) select id, shard from looked_at on conflict do nothing returning 1)
        select (select count(*) from added) as events, (select max(id) from looked_at) as last_id
        """,
        after_id,
        topic,
        limit,
    )
    if row is None or row.last_id is None:
        return Republished(0, None)
    tx.on_commit(_wake)
    return Republished(row.events, row.last_id)


async def prune(tx: Write, keep_days: int, limit: int = 5_000) -> int:
    """Deletes published rows older than `keep_days`; run as the owner. Returns how many.

    Looks at the oldest `limit` rows only: ids follow time closely enough, and a search by time would read
    the whole table each time there is nothing to do.
    """
    return await tx.execute(
        """
        delete from outbox where id in (
          select o.id from (select id, created_at from outbox order by id limit $2) o
          where o.created_at < clock_timestamp() - make_interval(days => $1)
            and not exists (select from outbox_pending p where p.id = o.id))
        """,
        keep_days,
        limit,
    )
