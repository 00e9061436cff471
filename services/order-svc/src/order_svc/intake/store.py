"""Raw deliveries: recorded once, claimed by the drain, settled."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from channel_kit.database import Read, Row, Write
from order_svc.intake.rules import Delivery


class Incoming(NamedTuple):
    """A verified message on its way into the table. `headers` is JSON text; `body_key` tells bodies of one
    signed id apart and is empty where the key is made of the body anyway."""

    delivery_id: UUID
    platform: str
    shop_id: str
    topic: str
    message_id: str | None
    dedupe_key: bytes
    body_key: bytes
    body_sha256: bytes
    body: bytes
    headers: str
    secret_id: UUID | None
    received_at: datetime


async def record(tx: Write, incoming: Sequence[Incoming]) -> set[UUID]:
    """Stores what is new; returns the ids that were. A repetition, here or before, stores nothing."""
    rows = await tx.rows(
        """
        with t as (
          select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::bytea[],
            $8::bytea[], $9::bytea[], $10::text[], $11::uuid[], $12::timestamptz[])
            t(delivery_id, platform, shop_id, topic, message_id, dedupe_key, body_key, body_sha256, body, headers,
              secret_id, received_at)),
        fresh as (
          insert into delivery_key (platform, shop_id, dedupe_key, body_key, delivery_id)
          select platform, shop_id, dedupe_key, body_key, delivery_id from t
          order by dedupe_key, body_key, shop_id, platform
          on conflict do nothing returning delivery_id)
        insert into delivery (delivery_id, platform, shop_id, topic, message_id, dedupe_key, body_sha256, body, headers,
          secret_id, received_at)
        select t.delivery_id, t.platform, t.shop_id, t.topic, t.message_id, t.dedupe_key, t.body_sha256, t.body,
          t.headers::json, t.secret_id, t.received_at
        from fresh join t using (delivery_id)
        returning delivery_id
        """,
        *(list(column) for column in zip(*incoming, strict=True)),
    )
    return {row.delivery_id for row in rows}


async def seen(tx: Write, connections: Mapping[tuple[str, str], datetime]) -> None:
    """Notes when each (platform, shop) last delivered."""
    keys = sorted(connections)
    await tx.execute(
        """
        with locked as (
          select c.connection_id, t.at from connection c
          join unnest($1::text[], $2::text[], $3::timestamptz[]) t(platform, shop_id, at) using (platform, shop_id)
          order by c.connection_id for update of c)
        update connection c set last_delivery_at = greatest(c.last_delivery_at, locked.at)
        from locked where c.connection_id = locked.connection_id
        """,
        [platform for platform, _ in keys],
        [shop_id for _, shop_id in keys],
        [connections[key] for key in keys],
    )


async def claim(tx: Write, limit: int, bytes_max: int) -> list[Delivery]:
    """The oldest deliveries that nobody works on, up to about `bytes_max` of bodies; locked until the end.

    Whether a signed id came with another body as well is asked here, where both are committed: senders may meet
    in one batch or in two processes at once.
    """
    rows = await tx.rows(
        """
        with oldest as (
          select delivery_id, received_at, octet_length(body) as size from delivery
          where status = 'new' order by received_at, delivery_id limit $1 for update skip locked),
        chosen as (
          select delivery_id, sum(size) over (order by received_at, delivery_id) - size as bytes_before from oldest)
        select d.delivery_id, d.platform, d.shop_id, d.topic, d.body, d.received_at,
          exists (select from delivery_key k where k.dedupe_key = d.dedupe_key and k.shop_id = d.shop_id
                    and k.platform = d.platform and k.delivery_id <> d.delivery_id) as id_reused
        from chosen join delivery d using (delivery_id)
        where chosen.bytes_before < $2 order by d.received_at, d.delivery_id
        """,
        limit,
        bytes_max,
    )
    return [Delivery._make(row) for row in rows]


async def mark_reused(tx: Write, delivery_ids: Sequence[UUID]) -> None:
    """Notes that the signed ids of these deliveries came with another body too."""
    await tx.execute(
        "update delivery set id_reused = true where delivery_id = any($1::uuid[])", list(delivery_ids)
    )


class Settled(NamedTuple):
    delivery_id: UUID
    status: str
    outcome: str | None = None
    reason: str | None = None
    detail: str | None = None
    order_id: UUID | None = None


async def settle(tx: Write, settled: Sequence[Settled]) -> None:
    ordered = sorted(settled)
    await tx.execute(
        """
        update delivery d set status = t.status, outcome = t.outcome, reason = t.reason, detail = t.detail,
          order_id = coalesce(t.order_id, d.order_id), attempts = d.attempts + 1, settled_at = clock_timestamp()
        from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[])
          t(delivery_id, status, outcome, reason, detail, order_id)
        where d.delivery_id = t.delivery_id
        """,
        *(list(column) for column in zip(*ordered, strict=True)),
    )


async def requeue(tx: Write, delivery_ids: Sequence[UUID]) -> list[UUID]:
    """Puts quarantined deliveries before the drain again; returns those that were quarantined."""
    rows = await tx.rows(
        """
        update delivery set status = 'new', reason = null, detail = null
        where delivery_id = any($1::uuid[]) and status = 'quarantined' returning delivery_id
        """,
        list(delivery_ids),
    )
    return [row.delivery_id for row in rows]


async def quarantined(tx: Read, reason: str | None, limit: int) -> list[UUID]:
    rows = await tx.rows(
        """
        select delivery_id from delivery where status = 'quarantined' and ($1::text is null or reason = $1)
        order by delivery_id limit $2
        """,
        reason,
        limit,
    )
    return [row.delivery_id for row in rows]


_COLUMNS = """delivery_id, platform, shop_id, topic, message_id, status, outcome, reason, detail, order_id, id_reused,
  attempts, received_at, settled_at, octet_length(body) as bytes, encode(body_sha256, 'hex') as body_sha256"""


async def page(
    tx: Read, status: str | None, order_id: UUID | None, before: UUID | None, limit: int
) -> Sequence[Row]:
    """Deliveries, newest first."""
    return await tx.rows(
        f"""
        select {_COLUMNS} from delivery
        where ($1::text is null or status = $1) and ($2::uuid is null or order_id = $2)
          and ($3::uuid is null or delivery_id < $3)
        order by delivery_id desc limit $4
        """,  # noqa: S608  a constant list of columns
        status,
        order_id,
        before,
        limit,
    )


async def one(tx: Read, delivery_id: UUID) -> Row | None:
    return await tx.row(
        f"select {_COLUMNS}, body, headers::text as headers from delivery where delivery_id = $1",  # noqa: S608
        delivery_id,
    )


async def counts(tx: Read) -> dict[str, int]:
    """How many deliveries are new, and how many quarantined."""
    row = await tx.row(
        """
        select (select count(*) from delivery where status = 'new') as new,
               (select count(*) from delivery where status = 'quarantined') as quarantined
        """
    )
    return {"new": row.new, "quarantined": row.quarantined} if row else {}


async def backlog_seconds(tx: Read) -> float:
    """How long the oldest delivery has waited for the drain."""
    return float(
        await tx.value(
            """
            select coalesce(extract(epoch from clock_timestamp() - min(received_at)), 0) from delivery where status = 'new'
            """
        )
    )
