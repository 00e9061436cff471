"""The tables of facts: entries, days, orders, cells, rebate shares, stock, and how fresh each feed is.

Many rows a statement. An entry and a rebate share are taken once (`on conflict do nothing`); an order, a cell and a
stock row keep their newest version; a day only ever gains. The worker writes; readers come through row level
security. Every function that writes sorts first, so that rival batches lock in one order.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from operator import attrgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

from channel_kit import arrays
from channel_kit.database import Read, Write
from insight_svc.fact.values import (
    MEASURES,
    CellFact,
    DailyKey,
    EntryFact,
    Measures,
    OrderFact,
    RebateShare,
    StockFact,
)

_ENTRY_COLUMNS: Final = {
    "entry_id": "uuid",
    "order_id": "uuid",
    "line_no": "integer",
    "line_kind": "text",
    "kind": "text",
    "quantity": "numeric",
    "currency": "text",
    "platform_coupon_minor": "bigint",
    "freight_minor": "bigint",
    "tax_minor": "bigint",
    "net_minor": "bigint",
    "partner_id": "uuid",
    "channel": "text",
    "sku": "text",
    "business_at": "timestamptz",
    "origin_at": "timestamptz",
    "recorded_at": "timestamptz",
    "reverses_entry_id": "uuid",
    "entry_hash": "text",
}
_ORDER_COLUMNS: Final = {
    "order_id": "uuid",
    "version": "bigint",
    "platform": "text",
    "shop_id": "text",
    "platform_order_id": "text",
    "partner_id": "uuid",
    "channel": "text",
    "currency": "text",
    "placed_on": "date",
    "paid_on": "date",
    "lifecycle": "text",
    "payment": "text",
    "fulfilment": "text",
    "paid_minor": "bigint",
    "refunded_minor": "bigint",
    "net_sales_minor": "bigint",
}
_CELL_COLUMNS: Final = {
    "cell_id": "uuid",
    "version": "bigint",
    "plan_id": "uuid",
    "plan_version": "bigint",
    "partner_id": "uuid",
    "period_start_on": "date",
    "period_end_on": "date",
    "currency": "text",
    "basis_minor": "bigint",
    "accrued_minor": "bigint",
}
_SHARE_COLUMNS: Final = {
    "cell_id": "uuid",
    "version": "bigint",
    "position": "integer",
    "day": "date",
    "currency": "text",
    "partner_id": "uuid",
    "channel": "text",
    "sku": "text",
    "rebate_minor": "bigint",
}
_STOCK_COLUMNS: Final = {
    "stock_id": "uuid",
    "version": "bigint",
    "sku": "text",
    "location": "text",
    "on_hand": "numeric",
    "reserved": "numeric",
    "allocated": "numeric",
    "quarantined": "numeric",
    "safety": "numeric",
    "available": "numeric",
}
_KEY_COLUMNS: Final = {
    "day": "date",
    "currency": "text",
    "partner_id": "uuid",
    "channel": "text",
    "sku": "text",
}


def _insert(table: str, columns: Mapping[str, str], conflict: str) -> str:
    rows = arrays.unnest(tuple(columns.values()))
    return f"insert into {table} ({', '.join(columns)}) select * from {rows} on conflict {conflict}"  # noqa: S608  our own names


def _newest(table: str, key: str, columns: Mapping[str, str]) -> str:
    """Insert, or overwrite when the version is newer."""
    rest = [name for name in columns if name != key]
    changes = ", ".join(f"{name} = excluded.{name}" for name in rest)
    return _insert(
        table, columns, f"({key}) do update set {changes} where {table}.version < excluded.version"
    )


_FACT_COLUMNS: Final = {**_ENTRY_COLUMNS, "business_on": "date", "origin_on": "date"}
_SUM_COLUMNS: Final = {**_KEY_COLUMNS, **dict.fromkeys(MEASURES, "numeric")}
_ADD_ENTRIES: Final = _insert(
    "entry_fact",
    _FACT_COLUMNS,
    "(entry_id) do nothing returning entry_id",
)
_ADD_SHARES: Final = _insert(
    "rebate_fact",
    _SHARE_COLUMNS,
    "(cell_id, version, position) do nothing returning cell_id, version, position",
)
_SAVE_CELLS: Final = _newest("cell_fact", "cell_id", _CELL_COLUMNS)
_SAVE_STOCK: Final = _newest("stock_fact", "stock_id", _STOCK_COLUMNS)
_ADD_TO_DAYS: Final = _insert(
    "daily_fact",
    # Sums of 10^15 outgrow bigint, and a platform's fact is never refused.
    _SUM_COLUMNS,
    "(day, currency, partner_id, channel, sku) do update set "
    + ", ".join(f"{name} = daily_fact.{name} + excluded.{name}" for name in MEASURES),
)


_of_entry = attrgetter(*_ENTRY_COLUMNS)
_of_sums = attrgetter(*MEASURES)


def _columns(rows: Iterable[Sequence[Any]], columns: Mapping[str, str]) -> list[str | list[Any]]:
    return arrays.columns(rows, tuple(columns.values()))


async def add_entries(tx: Write, facts: Sequence[EntryFact]) -> set[UUID]:
    """Store entries; returns the ids of those that were not there yet."""
    if not facts:
        return set()
    rows = sorted(facts, key=lambda fact: fact.entry.entry_id.int)
    values = [(*_of_entry(row.entry), row.business_on, row.origin_on) for row in rows]
    return {entry_id for (entry_id,) in await tx.rows(_ADD_ENTRIES, *_columns(values, _FACT_COLUMNS))}


async def save_orders(tx: Write, facts: Sequence[OrderFact]) -> None:
    """Keep the newest version of each order; one fact an order."""
    if not facts:
        return
    rows = sorted(facts, key=lambda fact: fact.order_id.int)
    values = [(*row[: len(_ORDER_COLUMNS)], json.dumps(row.flags), json.dumps(row.skus)) for row in rows]
    await tx.execute(_SAVE_ORDERS, *_columns(values, _LISTED_COLUMNS))


# PostgreSQL has no array of arrays of different lengths, so the two lists travel as JSON texts.
_LISTED_COLUMNS: Final = {**_ORDER_COLUMNS, "flags": "text", "skus": "text"}


def _save_orders() -> str:
    names = ", ".join(_ORDER_COLUMNS)
    changes = ", ".join(f"{name} = excluded.{name}" for name in [*_ORDER_COLUMNS, "flags", "skus"][1:])
    lists = ", ".join(f"array(select json_array_elements_text({name}::json))" for name in ("flags", "skus"))
    return (
        f"insert into order_fact ({names}, flags, skus) select {names}, {lists} "  # noqa: S608  our own names
        f"from {arrays.unnest(tuple(_LISTED_COLUMNS.values()))} as fact ({', '.join(_LISTED_COLUMNS)}) "
        f"on conflict (order_id) do update set {changes} where order_fact.version < excluded.version"
    )


_SAVE_ORDERS: Final = _save_orders()


async def save_cells(tx: Write, facts: Sequence[CellFact]) -> None:
    """Keep the newest version of each cell; one fact a cell."""
    if facts:
        rows = sorted(facts, key=lambda fact: fact.cell_id.int)
        await tx.execute(_SAVE_CELLS, *_columns(rows, _CELL_COLUMNS))


async def add_shares(tx: Write, shares: Sequence[RebateShare]) -> set[tuple[UUID, int, int]]:
    """Store shares of accruals; returns (cell, version, position) of those that were not there yet."""
    if not shares:
        return set()
    rows = sorted(shares, key=lambda part: (part.cell_id, part.version, part.position))
    stored = await tx.rows(_ADD_SHARES, *_columns(rows, _SHARE_COLUMNS))
    return {(row.cell_id, row.version, row.position) for row in stored}


async def save_stock(tx: Write, facts: Sequence[StockFact]) -> None:
    """Keep the newest version of each stock row; one fact a row."""
    if facts:
        rows = sorted(facts, key=lambda fact: fact.stock_id.int)
        await tx.execute(_SAVE_STOCK, *_columns(rows, _STOCK_COLUMNS))


async def add_to_days(tx: Write, days: Mapping[DailyKey, Measures]) -> None:
    """Add the measures to their days, in lock order."""
    if days:
        keys = sorted(days, key=DailyKey.order)
        await tx.execute(
            _ADD_TO_DAYS, *_columns([(*key, *_of_sums(days[key])) for key in keys], _SUM_COLUMNS)
        )


class Freshness(NamedTuple):
    """How far one feed has come: the newest event handled, and when it was."""

    consumer: str
    last_event_at: datetime
    handled_at: datetime


async def note_freshness(tx: Write, consumer: str, last_event_at: datetime) -> None:
    """Note that `consumer` handled events up to this time. The last statement of a poll: all pods share the row."""
    await tx.execute(
        """
        insert into feed_freshness (consumer, last_event_at, handled_at) values ($1, $2, clock_timestamp())
        on conflict (consumer) do update
        set last_event_at = greatest(feed_freshness.last_event_at, excluded.last_event_at),
            handled_at = excluded.handled_at
        where feed_freshness.last_event_at < excluded.last_event_at
        """,
        consumer,
        last_event_at,
    )


async def freshness(tx: Read) -> list[Freshness]:
    """The feeds that have handled anything yet, by name."""
    rows = await tx.rows("select consumer, last_event_at, handled_at from feed_freshness order by consumer")
    return [Freshness(row.consumer, row.last_event_at, row.handled_at) for row in rows]


class DaysWanted(NamedTuple):
    """Which days: both ends included; None does not restrict."""

    from_on: date
    to_on: date
    partner_id: UUID | None = None
    channel: str | None = None
    sku: str | None = None
    currency: str | None = None


async def days(
    tx: Read, wanted: DaysWanted, after: Sequence[str] | None, limit: int
) -> list[tuple[DailyKey, Measures]]:
    """Rows of days in the order of `DailyKey.order`, after the one whose order is `after`."""
    rows = await tx.rows(
        f"""
        select day, currency, partner_id, channel, sku, {", ".join(MEASURES)}
        from daily_fact
        where day between $1 and $2
          and ($3::uuid is null or partner_id = $3)
          and ($4::text is null or channel = $4)
          and ($5::text is null or sku = $5)
          and ($6::text is null or currency = $6)
          and ($7::text[] is null or (
            to_char(day, 'YYYY-MM-DD') collate "C", currency collate "C", coalesce(partner_id::text, '') collate "C",
            coalesce(channel, '') collate "C", coalesce(sku, '') collate "C")
            > (($7::text[])[1], ($7::text[])[2], ($7::text[])[3], ($7::text[])[4], ($7::text[])[5]))
        order by day, currency collate "C", coalesce(partner_id::text, '') collate "C",
          coalesce(channel, '') collate "C", coalesce(sku, '') collate "C"
        limit $8
        """,  # noqa: S608  our own names
        *wanted,
        None if after is None else list(after),
        limit,
    )
    return [
        (DailyKey(row.day, row.currency, row.partner_id, row.channel, row.sku), measures(tuple(row)[5:]))
        for row in rows
    ]


def measures(values: Sequence[Any]) -> Measures:
    """The measures of a row that selected `MEASURES` in their order."""
    named: dict[str, Any] = {
        name: value if name.endswith("_units") else int(value)
        for name, value in zip(MEASURES, values, strict=True)
    }
    return Measures(**named)
