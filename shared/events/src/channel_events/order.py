"""Bodies of the order family: the order as it stands now, what changed, and the ledger entries appended.

One body for every type, so one handler serves the family: inventory works from the snapshot, incentive and
insight copy the entries by id. Announced by order-svc; holds no personal data.
"""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from channel_events.values import (
    Code,
    Currency,
    Instant,
    LineNo,
    MinorUnits,
    Quantity,
    Record,
    Sha256,
    Text,
)

ENTRIES_MAX = 200
"""Entries in one event; more go out as several events with consecutive versions."""

LINES_MAX = 2_500
"""2,000 lines an order, and room for its pseudo-lines."""


class OrderLine(Record):
    """One line of the order, pseudo-lines (freight, tip, adjustment …) included."""

    line_no: LineNo
    line_kind: Code
    platform_sku: Text | None = None
    sku: Code | None = None
    """Our SKU; null while the platform's SKU is not mapped."""
    ordered: Quantity
    cancelled: Quantity
    shipped: Quantity
    returned: Quantity
    restocked: Quantity
    """The part of what came back that may be sold again."""
    net_minor: MinorUnits


class OrderTotals(Record):
    """Sums over all lines, with the ledger's signs: cancelled, returned and refunded are ≤ 0 as a rule."""

    ordered_net_minor: MinorUnits
    cancelled_net_minor: MinorUnits
    returned_net_minor: MinorUnits
    paid_minor: MinorUnits
    refunded_minor: MinorUnits
    net_sales_minor: MinorUnits


class OrderSnapshot(Record):
    """The whole order after this transaction."""

    order_id: UUID
    platform: Code
    shop_id: Text
    platform_order_id: Text
    channel: Code | None = None
    """Null, like the partner, while the shop is not bound."""
    partner_id: UUID | None = None
    currency: Currency
    tax_included: bool
    lifecycle: Code
    payment: Code
    fulfilment: Code
    business_at: Instant
    """When the buyer placed it, by the platform's clock."""
    paid_at: Instant | None = None
    flags: Annotated[tuple[Code, ...], Field(max_length=100)]
    """Why the order needs review; empty when nothing does."""
    totals: OrderTotals
    lines: Annotated[tuple[OrderLine, ...], Field(max_length=LINES_MAX)]


class Transition(Record):
    """A step on one axis: lifecycle, payment, fulfilment, refund or reference."""

    axis: Code
    from_: Code | None = Field(default=None, alias="from")
    """Null when the order was not known before."""
    to: Code
    at: Instant


class EntryBody(Record):
    """One ledger entry, verbatim. Deductions are negative; `net_minor` is the sum of the components."""

    entry_id: UUID
    order_id: UUID
    line_no: LineNo
    line_kind: Code
    kind: Code
    """ordered, cancelled, returned (demand); paid, refunded (cash); shipped; fee. Axes are never added up."""
    quantity: Quantity
    currency: Currency
    list_minor: MinorUnits
    promo_minor: MinorUnits
    platform_coupon_minor: MinorUnits
    merchant_coupon_minor: MinorUnits
    freight_minor: MinorUnits
    tax_minor: MinorUnits
    platform_fee_minor: MinorUnits
    net_minor: MinorUnits
    tax_included: bool
    partner_id: UUID | None = None
    channel: Code | None = None
    sku: Code | None = None
    business_at: Instant
    """When it happened, by the platform's clock."""
    origin_at: Instant
    """When what it undoes happened; equal to `business_at` where it undoes nothing."""
    recorded_at: Instant
    cause_delivery_id: UUID | None = None
    reverses_entry_id: UUID | None = None
    """The entry this one takes back; it keeps kind and times and flips every sign."""
    origin_entry_id: UUID | None = None
    entry_hash: Sha256

    @property
    def net_sales_minor(self) -> int:
        """Net less tax, freight and the coupons the platform paid for."""
        return self.net_minor - self.tax_minor - self.freight_minor - self.platform_coupon_minor


class OrderBody(Record):
    """Data of every order event."""

    order: OrderSnapshot
    transitions: Annotated[tuple[Transition, ...], Field(max_length=100)]
    entries: Annotated[tuple[EntryBody, ...], Field(max_length=ENTRIES_MAX)]
    """The entries this transaction appended."""
