"""Two usual ways to take stock, on the product's own tables and with the rows it writes for one reservation.

`RowLock` is the textbook: lock the row, look, change it, insert, commit. `OneStatement` is the best of one request at
a time: a conditional update and all inserts in one round trip. Both use asyncpg directly, one connection a reserver,
and copy the texts of a reservation that the product made before, so neither pays for making an event.
Called by `bench.paths.stock` only.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg

from channel_kit.database import WORKER, Database
from channel_kit.outbox import SHARDS

Connection = Any
Reserve = Callable[[Connection, str], Awaitable[bool]]

_KEY = """
insert into idempotency (subject, route, key, fingerprint, status, body, expires_at)
values ('twin', '/v1/reservations', $1, $2, 201, $3, now() + interval '7 days') on conflict do nothing
"""
_LOCK = "select on_hand - quarantined - reserved - allocated - safety from stock where sku = $1 and location = 'main' for update"
_TAKE = """
update stock set reserved = reserved + 1, stream_version = stream_version + 1
where sku = $1 and location = 'main' returning stock_id, stream_version
"""
_HEAD = """
insert into reservation (order_id, source, whole, hold_seconds, state, expires_at, stream_version)
values ($1, 'api', true, 900, 'held', now() + interval '900 seconds', 1)
"""
_HOLD = """
insert into hold (order_id, line_no, location, sku, demanded, shipped, restock_due, held, committed, issued, short,
                  expired, restocked, expires_at)
values ($1, 1, 'main', $2, 1, 0, 0, 1, 0, 0, 0, 0, 0, now() + interval '900 seconds')
"""
_EVENTS = """
with added as (
  insert into outbox (event_id, topic, aggregate_type, aggregate_id, aggregate_version, shard, type, headers, payload)
  select event_id, $1, aggregate_type, aggregate_id, version, shard, type, $2::json, payload::json
  from unnest($3::uuid[], $4::text[], $5::uuid[], $6::bigint[], $7::smallint[], $8::text[], $9::text[])
    as t(event_id, aggregate_type, aggregate_id, version, shard, type, payload)
  returning id, shard)
insert into outbox_pending (id, shard) select id, shard from added
"""
_ALL = """
with taken as (
  update stock set reserved = reserved + 1, stream_version = stream_version + 1
  where sku = $1 and location = 'main' and on_hand - quarantined - reserved - allocated - safety >= 1
  returning stock_id, stream_version),
keyed as (
  insert into idempotency (subject, route, key, fingerprint, status, body, expires_at)
  select 'twin', '/v1/reservations', $2, $3, 201, $4, now() + interval '7 days' from taken),
headed as (
  insert into reservation (order_id, source, whole, hold_seconds, state, expires_at, stream_version)
  select $5, 'api', true, 900, 'held', now() + interval '900 seconds', 1 from taken),
held as (
  insert into hold (order_id, line_no, location, sku, demanded, shipped, restock_due, held, committed, issued, short,
                    expired, restocked, expires_at)
  select $5, 1, 'main', $1, 1, 0, 0, 1, 0, 0, 0, 0, 0, now() + interval '900 seconds' from taken),
added as (
  insert into outbox (event_id, topic, aggregate_type, aggregate_id, aggregate_version, shard, type, headers, payload)
  select event_id, $6, aggregate_type, coalesce(aggregate_id, stock_id), coalesce(version, stream_version), shard, type,
         $7::json, payload::json
  from taken cross join unnest($8::uuid[], $9::text[], $10::uuid[], $11::bigint[], $12::smallint[], $13::text[],
                               $14::text[]) as t(event_id, aggregate_type, aggregate_id, version, shard, type, payload)
  returning id, shard)
insert into outbox_pending (id, shard) select id, shard from added
"""


class Texts(NamedTuple):
    """What the product wrote for one reservation: its answer, and its events as (aggregate type, type, payload)."""

    answer: str
    topic: str
    headers: str
    events: tuple[tuple[str, str, str], ...]


async def texts(database: Database, *, stock_event: bool) -> Texts:
    """Copies the texts of the newest reservation. A batch has one event of its stock row, so a twin that stands
    beside a full batch leaves that event out: it writes a little less than the product, never more."""
    async with database.read(WORKER) as tx:
        rows = await tx.rows(
            """
            select distinct on (aggregate_type) aggregate_type, type, payload::text as payload, topic,
                   headers::text as headers
            from outbox where aggregate_type in ('reservation', 'stock') order by aggregate_type, id desc
            """
        )
        answer = await tx.value("select body from idempotency limit 1")
    events = tuple((row.aggregate_type, row.type, row.payload) for row in rows)
    return Texts(answer, rows[0].topic, rows[0].headers, events if stock_event else events[:1])


async def connect(database: Database, count: int) -> list[Connection]:
    """Connections of the service's worker, who may write every table that is written here."""
    url = database.settings.worker_database_url
    if url is None:
        raise ValueError("the database has no address for its worker")
    address = url.get_secret_value().replace("+asyncpg", "")
    return [await asyncpg.connect(address, server_settings={"jit": "off"}) for _ in range(count)]


def row_lock(said: Texts) -> Reserve:
    """SELECT … FOR UPDATE, UPDATE, then the inserts: a transaction a reservation. False when stock is gone."""

    async def reserve(connection: Connection, sku: str) -> bool:
        order_id, key, digest = _identity()
        async with connection.transaction():
            await connection.execute(_KEY, key, digest, said.answer)
            if await connection.fetchval(_LOCK, sku) < 1:
                return False
            taken = await connection.fetchrow(_TAKE, sku)
            await connection.execute(_HEAD, order_id)
            await connection.execute(_HOLD, order_id, sku)
            events = _events(said, order_id, taken["stock_id"], taken["stream_version"])
            await connection.execute(_EVENTS, said.topic, said.headers, *events)
        return True

    return reserve


def one_statement(said: Texts) -> Reserve:
    """A conditional UPDATE and all inserts in one statement. False when stock is gone."""

    async def reserve(connection: Connection, sku: str) -> bool:
        order_id, key, digest = _identity()
        events = _events(said, order_id, None, None)
        done = await connection.execute(
            _ALL, sku, key, digest, said.answer, order_id, said.topic, said.headers, *events
        )
        return bool(done != "INSERT 0 0")

    return reserve


def _identity() -> tuple[UUID, str, bytes]:
    order_id = uuid4()
    return order_id, order_id.hex, hashlib.sha256(order_id.bytes).digest()


def _events(said: Texts, order_id: UUID, stock_id: UUID | None, version: int | None) -> tuple[list[Any], ...]:
    """The columns of the events; the stock row's identity is null where the statement itself finds it."""
    ours = [aggregate == "reservation" for aggregate, _, _ in said.events]
    return (
        [uuid4() for _ in ours],
        [aggregate for aggregate, _, _ in said.events],
        [order_id if own else stock_id for own in ours],
        [1 if own else version for own in ours],
        [order_id.int % SHARDS for _ in ours],
        [kind for _, kind, _ in said.events],
        [payload for _, _, payload in said.events],
    )
