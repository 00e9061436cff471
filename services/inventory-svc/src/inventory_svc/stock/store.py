"""The tables `stock`, `movement` and `refill`: every statement about them, many rows at a time.

Called by `stock.actions` and, for reading, by `stock.routes`. Movements are only ever added.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from channel_kit import arrays
from channel_kit.database import Read, Write
from channel_kit.ids import uuid7
from channel_kit.statements import Statement
from inventory_svc.stock.rules import Movement, Shelf, StockKey

_LEVELS = "stock_id, sku, location, on_hand, reserved, allocated, quarantined, safety, stream_version"


class Level(NamedTuple):
    """A stock row as it is read."""

    stock_id: UUID
    sku: str
    location: str
    on_hand: Decimal
    reserved: Decimal
    allocated: Decimal
    quarantined: Decimal
    safety: Decimal
    stream_version: int


class Recorded(NamedTuple):
    """A movement as it is read."""

    movement_id: UUID
    sku: str
    location: str
    kind: str
    quantity: Decimal
    cause: str
    order_id: UUID | None
    line_no: int | None
    reason: str | None
    recorded_at: datetime


async def lock(tx: Write, keys: Collection[StockKey]) -> dict[StockKey, Shelf]:
    """The shelves of these (sku, location) under lock, in their order; rows that are missing come into being."""
    if not keys:
        return {}
    if shelves := await lock_existing(tx, keys):
        return shelves
    ordered = sorted(keys)
    await tx.execute(
        """
        insert into stock (stock_id, sku, location)
        select stock_id, sku, location
        from unnest($1::uuid[], $2::text[], $3::text[]) with ordinality as key(stock_id, sku, location, n)
        where not exists (select from stock s where s.sku = key.sku and s.location = key.location)
        order by n
        on conflict (sku, location) do nothing
        """,
        [uuid7() for _ in ordered],
        [sku for sku, _ in ordered],
        [location for _, location in ordered],
    )
    return await lock_existing(tx, keys)


async def lock_existing(tx: Write, keys: Collection[StockKey]) -> dict[StockKey, Shelf]:
    """The shelves of these (sku, location) under lock, in their order; none of them where one does not exist.

    All or none, since a row that is made while others are locked would be locked out of order. Rows are never
    deleted, so what the statement counts stays there. An item, the noun below, says its scale on the way.
    """
    ordered = sorted(keys)
    rows = await tx.rows(
        _LOCK, [sku for sku, _ in ordered], [location for _, location in ordered], len(ordered)
    )
    return {(shelf.sku, shelf.location): shelf for shelf in (Shelf(*row) for row in rows)}


_LOCK = """
with key as (select * from unnest($1::text[], $2::text[]) with ordinality as key(sku, location, n))
select stock_id, s.sku, s.location, on_hand, reserved, allocated, quarantined, safety, s.stream_version,
       quantity_scale
from key
join stock s on s.sku = key.sku and s.location = key.location
left join item i on i.sku = s.sku
where $3 = (select count(*) from key join stock using (sku, location))
order by n
for update of s
"""


def save(shelves: Sequence[Shelf]) -> Statement:
    """Writes the levels and stream versions of these rows."""
    rows = [(shelf.stock_id, *shelf.levels, shelf.stream_version) for shelf in shelves]
    return Statement(_SAVE, arrays.columns(rows, _SAVE_TYPES))


_SAVE_TYPES = ("uuid", *("numeric",) * 5, "bigint")
_SAVE = f"""
update stock set on_hand = new.on_hand, reserved = new.reserved, allocated = new.allocated,
  quarantined = new.quarantined, safety = new.safety, stream_version = new.stream_version
from {arrays.unnest(_SAVE_TYPES)}
  as new(stock_id, on_hand, reserved, allocated, quarantined, safety, stream_version)
where stock.stock_id = new.stock_id
"""  # noqa: S608


def record(movements: Sequence[Movement]) -> Statement:
    """Adds movements."""
    ids = sorted(uuid7() for _ in movements)  # their order is the order in which they are shown
    rows = [(movement_id, *movement) for movement_id, movement in zip(ids, movements, strict=True)]
    return Statement(_RECORD, arrays.columns(rows, _RECORD_TYPES))


_RECORD_TYPES = ("uuid", "uuid", "text", "text", "text", "numeric", "text", "uuid", "integer", "text")
_RECORD = f"""
insert into movement (movement_id, stock_id, sku, location, kind, quantity, cause, order_id, line_no, reason)
select * from {arrays.unnest(_RECORD_TYPES)}
"""  # noqa: S608


def mark_refills(keys: Sequence[StockKey]) -> Statement:
    """Says that these shelves may have something for lines that wait.

    Plain rows without a key, so that whoever frees stock never waits for the drain that works them off.
    """
    return Statement(_MARK, arrays.columns(keys, _MARK_TYPES))


_MARK_TYPES = ("text", "text")
_MARK = f"insert into refill (sku, location) select * from {arrays.unnest(_MARK_TYPES)}"  # noqa: S608


async def take_refills(tx: Write, limit: int) -> list[StockKey]:
    """Takes the shelves of up to `limit` marks, oldest first; the marks are gone once this commits."""
    rows = await tx.rows(
        """
        delete from refill where refill_id in (
          select refill_id from refill order by refill_id limit $1 for update skip locked)
        returning sku, location
        """,
        limit,
    )
    return sorted({(row.sku, row.location) for row in rows})


async def opened(tx: Read, stock_ids: Sequence[UUID]) -> dict[UUID, Decimal]:
    """The opening quantity of those rows that had one entered."""
    rows = await tx.rows(
        "select stock_id, quantity from movement where stock_id = any($1::uuid[]) and cause = 'opening'",
        list(stock_ids),
    )
    return {row.stock_id: row.quantity for row in rows}


async def key_of(tx: Read, stock_id: UUID) -> StockKey | None:
    """The (sku, location) of a row."""
    row = await tx.row("select sku, location from stock where stock_id = $1", stock_id)
    return None if row is None else (row.sku, row.location)


async def levels(tx: Read, skus: Sequence[str]) -> list[Level]:
    """All rows of these SKUs, by SKU and location."""
    rows = await tx.rows(
        f"select {_LEVELS} from stock where sku = any($1::text[]) order by sku, location",  # noqa: S608
        list(skus),
    )
    return [Level._make(row) for row in rows]


async def page(
    tx: Read, sku: str | None, location: str | None, after: tuple[str, str] | None, limit: int
) -> list[Level]:
    """Rows after a (sku, location), in that order."""
    rows = await tx.rows(
        f"""
        select {_LEVELS} from stock
        where ($1::text is null or sku = $1) and ($2::text is null or location = $2)
          and ($3::text is null or (sku, location) > ($3, $4::text))
        order by sku, location limit $5
        """,  # noqa: S608
        sku,
        location,
        *(after or (None, None)),
        limit,
    )
    return [Level._make(row) for row in rows]


async def movements(
    tx: Read,
    sku: str | None,
    location: str | None,
    kind: str | None,
    order_id: UUID | None,
    before: UUID | None,
    limit: int,
) -> list[Recorded]:
    """Movements, newest first, before a movement id."""
    rows = await tx.rows(
        """
        select movement_id, sku, location, kind, quantity, cause, order_id, line_no, reason, recorded_at
        from movement
        where ($1::text is null or sku = $1) and ($2::text is null or location = $2)
          and ($3::text is null or kind = $3) and ($4::uuid is null or order_id = $4)
          and ($5::uuid is null or movement_id < $5)
        order by movement_id desc limit $6
        """,
        sku,
        location,
        kind,
        order_id,
        before,
        limit,
    )
    return [Recorded._make(row) for row in rows]
