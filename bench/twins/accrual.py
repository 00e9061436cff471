"""The plain way to keep running sums: one upsert a line, each committed by itself, by asyncpg directly.

Copies the entry into the product's `basis_entry` and adds its net sales to one row a partner and month. It works out
no rebate, keeps no steps and announces nothing: less than the product does, line for line. Called by
`bench.paths.accrual` only.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import UUID

import asyncpg

from channel_events.order import EntryBody
from channel_kit.database import OWNER, WORKER, Database

_COLUMNS = (
    *(
        "entry_id",
        "order_id",
        "line_no",
        "line_kind",
        "kind",
        "quantity",
        "currency",
        "list_minor",
        "promo_minor",
    ),
    *("platform_coupon_minor", "merchant_coupon_minor", "freight_minor", "tax_minor", "platform_fee_minor"),
    *("net_minor", "tax_included", "partner_id", "channel", "sku", "business_at", "origin_at", "recorded_at"),
    *("reverses_entry_id", "origin_entry_id", "entry_hash"),
)
_TABLE = """
create table plain_sum (
  partner_id uuid not null,
  period_start date not null,
  currency text not null,
  basis_minor bigint not null,
  primary key (partner_id, period_start, currency)
)
"""
_LINE = f"""
with new as (
  insert into basis_entry ({", ".join(_COLUMNS)}) values ({", ".join(f"${n}" for n in range(1, len(_COLUMNS) + 1))})
  on conflict (entry_id) do nothing
  returning partner_id, kind, currency, origin_at, net_minor, tax_minor, freight_minor, platform_coupon_minor)
insert into plain_sum (partner_id, period_start, currency, basis_minor)
select partner_id, date_trunc('month', origin_at at time zone 'Asia/Shanghai')::date, currency,
       net_minor - tax_minor - freight_minor - platform_coupon_minor
from new where kind in ('paid', 'refunded')
on conflict (partner_id, period_start, currency) do update
set basis_minor = plain_sum.basis_minor + excluded.basis_minor
"""  # noqa: S608  our own columns


async def connect(database: Database) -> Any:
    """Makes the table of sums; a connection of the service's worker."""
    async with database.write(OWNER) as tx:
        await tx.execute(_TABLE)
        await tx.execute("grant select, insert, update on plain_sum to incentive_worker")
    url = database.settings.worker_database_url
    if url is None:
        raise ValueError("the database has no address for its worker")
    return await asyncpg.connect(url.get_secret_value().replace("+asyncpg", ""))


async def add(connection: Any, entries: Sequence[EntryBody]) -> None:
    """One statement and one commit a line."""
    for entry in entries:
        await connection.execute(_LINE, *(getattr(entry, name) for name in _COLUMNS))


async def sums(database: Database) -> dict[tuple[UUID, date], int]:
    """What each partner's months add up to, minor units."""
    async with database.read(WORKER) as tx:
        rows = await tx.rows("select partner_id, period_start, basis_minor from plain_sum")
    return {(row.partner_id, row.period_start): row.basis_minor for row in rows}
