"""The ledger's table: entries are added and read, never changed; each waits in `ledger_unsealed` for its block."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from channel_kit.database import Read, Row, Write
from order_svc.ledger.values import Entry, Wanted
from order_svc.order.values import Components

COLUMNS = """e.entry_id, e.order_id, e.line_no, e.line_kind, e.kind, e.quantity, e.currency, e.list_minor, e.promo_minor,
  e.platform_coupon_minor, e.merchant_coupon_minor, e.freight_minor, e.tax_minor, e.platform_fee_minor, e.net_minor,
  e.tax_included, e.partner_id, e.channel, e.sku, e.business_at, e.origin_at, e.recorded_at, e.cause_delivery_id,
  e.reverses_entry_id, e.origin_entry_id, e.entry_hash"""
_COMPONENTS = Components.__struct_fields__


def entry(row: Row) -> Entry:
    """A row with COLUMNS as a value."""
    return Entry(
        row.entry_id,
        row.order_id,
        Wanted(
            row.line_no,
            row.line_kind,
            row.kind,
            row.quantity,
            Components(*(getattr(row, name) for name in _COMPONENTS)),
            row.currency,
            row.tax_included,
            row.partner_id,
            row.channel,
            row.sku,
            row.business_at,
            row.origin_at,
        ),
        row.recorded_at,
        row.cause_delivery_id,
        row.reverses_entry_id,
        row.origin_entry_id,
    )


async def live(tx: Read, order_ids: Sequence[UUID]) -> dict[UUID, list[Entry]]:
    """The entries of these orders that no reversal has taken back, in the order they were recorded."""
    rows = await tx.rows(
        f"""
        select {COLUMNS} from ledger_entry e
        where e.order_id = any($1::uuid[]) and e.reverses_entry_id is null
          and not exists (select from ledger_entry r where r.reverses_entry_id = e.entry_id)
        order by e.order_id, e.entry_id
        """,  # noqa: S608  a constant list of columns
        list(order_ids),
    )
    found: dict[UUID, list[Entry]] = {}
    for row in rows:
        found.setdefault(row.order_id, []).append(entry(row))
    return found


async def append(tx: Write, entries: Sequence[Entry]) -> None:
    """Adds entries and puts them before the sealer. Raises the database's check violations."""
    if not entries:
        return
    await tx.execute(
        """
        with added as (
          insert into ledger_entry (entry_id, order_id, line_no, line_kind, kind, quantity, currency,
            list_minor, promo_minor, platform_coupon_minor, merchant_coupon_minor, freight_minor, tax_minor,
            platform_fee_minor, net_minor, tax_included, partner_id, channel, sku, business_at, origin_at, recorded_at,
            cause_delivery_id, reverses_entry_id, origin_entry_id, entry_hash)
          select entry_id, order_id, line_no, line_kind, kind, quantity::numeric, currency,
            list_minor, promo_minor, platform_coupon_minor, merchant_coupon_minor, freight_minor, tax_minor,
            platform_fee_minor, net_minor, tax_included, partner_id, channel, sku, business_at, origin_at, recorded_at,
            cause_delivery_id, reverses_entry_id, origin_entry_id, entry_hash
          from unnest($1::ledger_entry_row[])
          returning entry_id)
        insert into ledger_unsealed (entry_id) select entry_id from added
        """,
        [_row(each) for each in entries],
    )


def _row(entry: Entry) -> tuple[Any, ...]:
    """An entry as the database's `ledger_entry_row`."""
    facts, money = entry.wanted, entry.wanted.components
    return (
        entry.entry_id,
        entry.order_id,
        facts.line_no,
        facts.line_kind,
        facts.kind,
        str(facts.quantity),
        facts.currency,
        *money.parts,
        money.net_minor,
        facts.tax_included,
        facts.partner_id,
        facts.channel,
        facts.sku,
        facts.business_at,
        facts.origin_at,
        entry.recorded_at,
        entry.cause_delivery_id,
        entry.reverses_entry_id,
        entry.origin_entry_id,
        entry.entry_hash,
    )
