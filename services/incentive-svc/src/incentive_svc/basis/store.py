"""The table `basis_entry`: every attributed ledger entry, verbatim, whether a plan counts it or not.

Append-only and idempotent by entry id. Sums are made per span of instants, kind and product, so that restating never
reads entries one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from channel_events.order import EntryBody
from channel_kit import arrays
from channel_kit.database import Read, Write
from incentive_svc.basis.values import Amounts, Entry

_COLUMNS = {
    "entry_id": "uuid",
    "order_id": "uuid",
    "line_no": "integer",
    "line_kind": "text",
    "kind": "text",
    "quantity": "numeric",
    "currency": "text",
    "list_minor": "bigint",
    "promo_minor": "bigint",
    "platform_coupon_minor": "bigint",
    "merchant_coupon_minor": "bigint",
    "freight_minor": "bigint",
    "tax_minor": "bigint",
    "platform_fee_minor": "bigint",
    "net_minor": "bigint",
    "tax_included": "boolean",
    "partner_id": "uuid",
    "channel": "text",
    "sku": "text",
    "business_at": "timestamptz",
    "origin_at": "timestamptz",
    "recorded_at": "timestamptz",
    "reverses_entry_id": "uuid",
    "origin_entry_id": "uuid",
    "entry_hash": "text",
}
_NAMES = ", ".join(_COLUMNS)
_TYPES = tuple(_COLUMNS.values())
_APPEND = (
    f"insert into basis_entry ({_NAMES}) select * from {arrays.unnest(_TYPES)} "  # noqa: S608  our own columns
    "on conflict (entry_id) do nothing returning entry_id"
)
_values = attrgetter(*_COLUMNS)
# Two entries cancel out exactly when one reverses the other.
_LIVE = """
  e.reverses_entry_id is null
  and not exists (select from basis_entry r where r.reverses_entry_id = e.entry_id)
"""
_READ = """
  e.entry_id, e.order_id, e.line_no, e.line_kind, e.kind, e.quantity, e.currency, e.net_minor, e.tax_minor,
  e.freight_minor, e.platform_coupon_minor, e.partner_id, e.channel, e.sku, e.business_at, e.origin_at,
  e.reverses_entry_id
"""


@dataclass(frozen=True, slots=True)
class Span:
    """Entries of a partner in one currency whose origin lies in [starts_at, ends_at)."""

    partner_id: UUID
    currency: str
    kinds: frozenset[str]
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Sum:
    """The entries of one span (by its position) that are alike, summed."""

    span: int
    kind: str
    channel: str | None
    sku: str | None
    amounts: Amounts


async def append(tx: Write, entries: Sequence[EntryBody]) -> set[UUID]:
    """Copies entries that have a partner; returns the ids of those that were not there before."""
    rows = sorted(entries, key=lambda entry: entry.entry_id.int)
    return {entry_id for (entry_id,) in await tx.rows(_APPEND, *arrays.columns(map(_values, rows), _TYPES))}


async def months(tx: Read, partner_ids: Sequence[UUID]) -> dict[UUID, list[date]]:
    """The UTC months in which each partner has entries, by the entries' origin."""
    rows = await tx.rows(
        """
        select distinct partner_id, date_trunc('month', origin_at at time zone 'UTC')::date as month
        from basis_entry where partner_id = any($1::uuid[])
        """,
        sorted(set(partner_ids)),
    )
    found: dict[UUID, list[date]] = {}
    for row in rows:
        found.setdefault(row.partner_id, []).append(row.month)
    return found


async def filled(tx: Read, spans: Sequence[Span]) -> set[int]:
    """The positions of the spans that hold any entry."""
    rows = await tx.rows(
        f"""
        select s.n from {_SPANS}
        where exists (select from basis_entry e where {_IN_SPAN})
        """,  # noqa: S608  our own fragments
        *_span_columns(spans),
    )
    return {row.n for row in rows}


async def sums(tx: Read, spans: Sequence[Span]) -> list[Sum]:
    """What each span holds, per kind and product; reversals cancel inside the sums."""
    rows = await tx.rows(
        f"""
        select s.n, e.kind, e.channel, e.sku, sum(e.net_minor) as net, sum(e.tax_minor) as tax,
               sum(e.freight_minor) as freight, sum(e.platform_coupon_minor) as coupon
        from {_SPANS} join basis_entry e on {_IN_SPAN}
        group by s.n, e.kind, e.channel, e.sku
        """,  # noqa: S608  our own fragments
        *_span_columns(spans),
    )
    return [
        Sum(
            row.n,
            row.kind,
            row.channel,
            row.sku,
            Amounts(int(row.net), int(row.tax), int(row.freight), int(row.coupon)),
        )
        for row in rows
    ]


async def live_of_period(tx: Read, partner_id: UUID, starts_at: datetime, ends_at: datetime) -> list[Entry]:
    """The entries of a partner by origin, without those reversed and their reversals, in the order of a statement."""
    rows = await tx.rows(
        f"""
        select {_READ} from basis_entry e
        where e.partner_id = $1 and e.origin_at >= $2 and e.origin_at < $3 and {_LIVE}
        order by e.business_at, e.order_id, e.line_no, e.kind, e.entry_id
        """,  # noqa: S608  our own fragments
        partner_id,
        starts_at,
        ends_at,
    )
    return [_entry(row) for row in rows]


async def paid_orders(tx: Read, order_ids: Sequence[UUID]) -> set[UUID]:
    """Those of these orders for which money is recorded, whenever."""
    rows = await tx.rows(
        f"""
        select distinct e.order_id from basis_entry e
        where e.order_id = any($1::uuid[]) and e.kind = 'paid' and {_LIVE}
        """,  # noqa: S608  our own fragments
        sorted(set(order_ids)),
    )
    return {row.order_id for row in rows}


async def knows_partner(tx: Read, partner_id: UUID) -> bool:
    """Whether any entry of the partner is here and visible."""
    return bool(await tx.value("select exists (select from basis_entry where partner_id = $1)", partner_id))


_SPANS = """
  (select n::integer - 1 as n, partner_id, currency, string_to_array(kinds, ',') as kinds, starts_at, ends_at
   from unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[]) with ordinality
     as t(partner_id, currency, kinds, starts_at, ends_at, n)) s
"""
_IN_SPAN = """
  e.partner_id = s.partner_id and e.origin_at >= s.starts_at and e.origin_at < s.ends_at
  and e.currency = s.currency and e.kind = any(s.kinds)
"""


def _span_columns(spans: Sequence[Span]) -> tuple[list[Any], ...]:
    return (
        [span.partner_id for span in spans],
        [span.currency for span in spans],
        [",".join(sorted(span.kinds)) for span in spans],
        [span.starts_at for span in spans],
        [span.ends_at for span in spans],
    )


def entry_of(body: EntryBody) -> Entry:
    """The entry of an event. ValueError without a partner: such entries are not of this service."""
    if body.partner_id is None:
        raise ValueError(f"entry {body.entry_id} has no partner")
    return _entry(body)


def _entry(row: Any) -> Entry:
    return Entry(
        row.entry_id,
        row.order_id,
        row.line_no,
        row.line_kind,
        row.kind,
        row.quantity,
        row.currency,
        Amounts(row.net_minor, row.tax_minor, row.freight_minor, row.platform_coupon_minor),
        row.partner_id,
        row.channel,
        row.sku,
        row.business_at,
        row.origin_at,
        row.reverses_entry_id,
    )
