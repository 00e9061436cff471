"""The tables `reservation`, `hold` and `discrepancy`: every statement about them, many rows at a time.

Called by the actions and routes of `hold` and `reservation`. A reservation's row is the lock of all its holds:
nobody changes a hold without having it.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from channel_kit import arrays
from channel_kit.database import Read, Write
from channel_kit.statements import Statement
from inventory_svc.hold.values import Discrepancy, Hold, Reservation
from inventory_svc.stock.rules import StockKey

_HEAD = (
    "order_id, source, order_version, platform, shop_id, partner_id, channel, firm, whole, hold_seconds, state, "
    "expires_at, stream_version"
)
_HEAD_TYPES = (
    *("uuid", "text", "bigint", "text", "text", "uuid", "text", "boolean", "boolean", "integer", "text"),
    *("timestamptz", "bigint"),
)
_LINE = (
    "order_id, line_no, location, platform_sku, sku, demanded, shipped, restock_due, held, committed, issued, "
    "short, expired, restocked, expires_at"
)
_LINE_TYPES = ("uuid", "integer", "text", "text", "text", *("numeric",) * 9, "timestamptz", "uuid")


async def place(tx: Write, heads: Sequence[tuple[UUID, str, str]]) -> None:
    """Makes sure that each order (id, platform, shop) has a head to lock, in the order of ids."""
    await tx.execute(_PLACE, *arrays.columns(sorted(heads, key=lambda head: head[0].int), _PLACE_TYPES))


_PLACE_TYPES = ("uuid", "text", "text")
_PLACE = f"""
insert into reservation (order_id, platform, shop_id, source)
select order_id, platform, shop_id, 'order'
from {arrays.unnest(_PLACE_TYPES)} with ordinality as t(order_id, platform, shop_id, n)
order by n
on conflict (order_id) do nothing
"""  # noqa: S608


async def lock(tx: Write, order_ids: Collection[UUID]) -> dict[UUID, Reservation]:
    """The heads under lock, in the order of their ids."""
    rows = await tx.rows(
        f"""
        select {_HEAD}, created_at from reservation
        where order_id = any($1::uuid[]) order by order_id for update
        """,  # noqa: S608
        list(order_ids),
    )
    return {head.order_id: head for head in map(Reservation._make, rows)}


def insert(heads: Sequence[Reservation]) -> Statement:
    """Adds heads that have an id of their own."""
    return Statement(_INSERT, arrays.columns([head[: len(_HEAD_TYPES)] for head in heads], _HEAD_TYPES))


_INSERT = f"insert into reservation ({_HEAD}) select * from {arrays.unnest(_HEAD_TYPES)}"  # noqa: S608


def save(heads: Sequence[Reservation]) -> Statement:
    """Writes heads that are locked."""
    return Statement(_SAVE, arrays.columns([head[: len(_HEAD_TYPES)] for head in heads], _HEAD_TYPES))


_SAVE = f"""
update reservation set {", ".join(f"{name} = new.{name}" for name in _HEAD.split(", ")[2:])}
from {arrays.unnest(_HEAD_TYPES)} as new({_HEAD})
where reservation.order_id = new.order_id
"""  # noqa: S608


async def lines(tx: Read, order_ids: Collection[UUID]) -> dict[UUID, dict[int, Hold]]:
    """The holds of these reservations, by line."""
    rows = await tx.rows(
        f"select {_LINE} from hold where order_id = any($1::uuid[]) order by order_id, line_no",  # noqa: S608
        list(order_ids),
    )
    found: dict[UUID, dict[int, Hold]] = {}
    for hold in map(Hold._make, rows):
        found.setdefault(hold.order_id, {})[hold.line_no] = hold
    return found


def insert_lines(holds: Sequence[tuple[Hold, UUID | None]]) -> Statement:
    """Adds holds, each with the partner that may see it."""
    return Statement(
        _INSERT_LINES, arrays.columns([(*hold, partner) for hold, partner in holds], _LINE_TYPES)
    )


_INSERT_LINES = f"insert into hold ({_LINE}, partner_id) select * from {arrays.unnest(_LINE_TYPES)}"  # noqa: S608


def save_lines(holds: Sequence[tuple[Hold, UUID | None]]) -> Statement:
    """Adds or overwrites holds, each with the partner that may see it."""
    return Statement(_SAVE_LINES, insert_lines(holds).args)


_SAVE_LINES = f"""
{_INSERT_LINES}
on conflict (order_id, line_no, location) do update
set {", ".join(f"{name} = excluded.{name}" for name in _LINE.split(", ")[3:])}, partner_id = excluded.partner_id
"""


def save_discrepancies(found: Sequence[Discrepancy]) -> Statement:
    """Opens, changes or closes (quantity zero) discrepancies; the last word on each counts."""
    latest = {each[:5]: each for each in found}
    return Statement(_SAVE_DISCREPANCIES, arrays.columns(latest.values(), _DISCREPANCY_TYPES))


_DISCREPANCY_TYPES = ("uuid", "integer", "text", "text", "text", "numeric")
_SAVE_DISCREPANCIES = f"""
insert into discrepancy (order_id, line_no, location, sku, kind, quantity)
select * from {arrays.unnest(_DISCREPANCY_TYPES)}
on conflict (order_id, line_no, sku, location, kind) do update
set quantity = excluded.quantity, changed_at = clock_timestamp()
"""  # noqa: S608


async def short(tx: Read, shelves: Sequence[StockKey], limit: int) -> list[UUID]:
    """The order of each line that waits for these shelves, longest first; at most `limit` lines."""
    rows = await tx.rows(
        """
        select h.order_id
        from unnest($1::text[], $2::text[]) as shelf(sku, location)
        join hold h on h.sku = shelf.sku and h.location = shelf.location and h.short > 0
        join reservation r on r.order_id = h.order_id
        order by r.created_at, h.order_id, h.line_no
        limit $3
        """,
        [key[0] for key in shelves],
        [key[1] for key in shelves],
        limit,
    )
    return [row.order_id for row in rows]


async def lapsed(tx: Read, limit: int) -> list[UUID]:
    """Reservations with a claim whose time is over by the database's clock."""
    rows = await tx.rows(
        """
        select order_id from hold where expires_at is not null and expires_at <= now()
        order by expires_at limit $1
        """,
        limit,
    )
    return sorted({row.order_id for row in rows})


async def now(tx: Read) -> datetime:
    """When this transaction began, by the database's clock, which alone decides what has expired."""
    moment: datetime = await tx.value("select now()")
    return moment


async def waiting_for_listings(tx: Read, listing_ids: Sequence[UUID]) -> list[UUID]:
    """Orders with unmapped lines that one of these listings speaks of."""
    rows = await tx.rows(
        """
        select distinct h.order_id
        from listing l
        join hold h on h.platform_sku = l.platform_sku and h.sku is null
        join reservation r on r.order_id = h.order_id and r.shop_id = l.shop_id and r.platform = l.platform
        where l.listing_id = any($1::uuid[])
        """,
        list(listing_ids),
    )
    return [row.order_id for row in rows]


async def waiting_for_items(tx: Read, item_ids: Sequence[UUID]) -> list[UUID]:
    """Orders with unmapped lines whose platform SKU is the SKU of one of these items."""
    rows = await tx.rows(
        """
        select distinct h.order_id
        from item i join hold h on h.platform_sku = i.sku and h.sku is null
        where i.item_id = any($1::uuid[])
        """,
        list(item_ids),
    )
    return [row.order_id for row in rows]


async def get(tx: Read, order_id: UUID) -> Reservation | None:
    """One head, as far as the reader may see it."""
    row = await tx.row(f"select {_HEAD}, created_at from reservation where order_id = $1", order_id)  # noqa: S608
    return None if row is None else Reservation._make(row)


async def page(
    tx: Read,
    order_id: UUID | None,
    sku: str | None,
    only: str | None,
    after: tuple[UUID, int] | None,
    limit: int,
) -> list[Hold]:
    """Holds after an (order, line); `only` is "short", "unmapped" or "expired"."""
    rows = await tx.rows(
        f"""
        select {_LINE} from hold
        where ($1::uuid is null or order_id = $1) and ($2::text is null or sku = $2)
          and case $3::text when 'short' then short > 0 and sku is not null when 'unmapped' then sku is null
                            when 'expired' then expired > 0 else true end
          and ($4::uuid is null or (order_id, line_no) > ($4, $5::bigint))
        order by order_id, line_no limit $6
        """,  # noqa: S608
        order_id,
        sku,
        only,
        *(after or (None, None)),
        limit,
    )
    return [Hold._make(row) for row in rows]


async def discrepancies(tx: Read, after: tuple[Any, ...] | None, limit: int) -> list[Discrepancy]:
    """Open discrepancies after an (order, line, location, sku, kind)."""
    rows = await tx.rows(
        """
        select order_id, line_no, location, sku, kind, quantity from discrepancy
        where quantity <> 0
          and ($1::uuid is null
               or (order_id, line_no, location, sku, kind) > ($1, $2::bigint, $3::text, $4::text, $5::text))
        order by order_id, line_no, location, sku, kind limit $6
        """,
        *(after or (None,) * 5),
        limit,
    )
    return [Discrepancy._make(row) for row in rows]
