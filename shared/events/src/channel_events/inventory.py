"""Bodies of the inventory family: items, listings, reservations and stock rows.

Announced by inventory-svc. Order-svc copies items and listings and reads reservations, insight-svc copies
items and stock. Quantities are states after the transaction, never differences, except `moved`.
"""

from typing import Annotated

from pydantic import Field

from channel_events.values import (
    INTEGER_MAX,
    Code,
    Currency,
    Instant,
    LineNo,
    MinorUnits,
    Quantity,
    Record,
    Text,
)


class ItemBody(Record):
    """A product of ours; aggregate: the item."""

    sku: Code
    name: Text
    category_path: Annotated[tuple[Text, ...], Field(max_length=20)] = ()
    """From the root down."""
    uom: Code
    quantity_scale: Annotated[int, Field(ge=0, le=6)]
    """Digits after the point that a quantity of this item may have."""
    barcodes: Annotated[tuple[Code, ...], Field(max_length=100)] = ()
    unit_cost_minor: MinorUnits | None = None
    currency: Currency | None = None
    """Of the unit cost."""


class ListingBody(Record):
    """What a platform's SKU means; aggregate: the listing."""

    platform: Code
    shop_id: Text
    platform_sku: Text
    sku: Code | None = None
    """Null takes the mapping away."""


class HoldLine(Record):
    """The holds of one order line at one location."""

    line_no: LineNo
    sku: Code | None = None
    location: Code
    demanded: Quantity
    held: Quantity
    committed: Quantity
    issued: Quantity
    short: Quantity
    expired: Quantity
    restocked: Quantity


class ReservationBody(Record):
    """All holds of one order; aggregate: the reservation, which carries the order's id."""

    order_version: Annotated[int, Field(ge=0, le=INTEGER_MAX)]
    """The order's aggregate version the holds answer; 0 where another system reserved without an order."""
    lines: Annotated[tuple[HoldLine, ...], Field(max_length=10_000)]
    state: Code
    expires_at: Instant | None = None
    """The earliest expiry of what is held; null when nothing expires."""


class StockBody(Record):
    """One stock row after a batch; aggregate: the stock row."""

    sku: Code
    location: Code
    on_hand: Quantity
    reserved: Quantity
    allocated: Quantity
    quarantined: Quantity
    safety: Quantity
    available: Quantity
    """What may still be promised."""
    moved: Annotated[dict[Code, Quantity], Field(max_length=50)]
    """What this batch moved, by kind of movement."""
