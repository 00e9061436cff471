"""What a hold is: the facts an order line brings, and what stock gave it.

Pure values, frozen, exact decimals. For every line, demanded = held + committed + issued + short + expired; the
table's CHECK says the same. `rules` decides them, `store` keeps them, `reservation` makes them for other systems.
They are tuples: a batch makes several of each line, and a tuple is made, changed and compared in a quarter of the
time of a frozen dataclass.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

ZERO = Decimal(0)


class Want(NamedTuple):
    """What a line should be: the facts of its order, never of the stock."""

    platform_sku: str | None
    sku: str | None
    demanded: Decimal
    shipped: Decimal = ZERO
    restock_due: Decimal = ZERO


class Hold(NamedTuple):
    """One order line at one location."""

    order_id: UUID
    line_no: int
    location: str
    platform_sku: str | None = None
    sku: str | None = None
    """Null while nobody knows what the platform's SKU means; then all of the demand is short."""
    demanded: Decimal = ZERO
    shipped: Decimal = ZERO
    """What left by the platform's word; `issued` is what left by ours."""
    restock_due: Decimal = ZERO
    """What came back for sale by the platform's word; `restocked` is what stock took in."""
    held: Decimal = ZERO
    committed: Decimal = ZERO
    issued: Decimal = ZERO
    short: Decimal = ZERO
    expired: Decimal = ZERO
    restocked: Decimal = ZERO
    expires_at: datetime | None = None

    @property
    def want(self) -> Want:
        """What was wanted last: settling it again is what a refill does."""
        return Want(self.platform_sku, self.sku, self.demanded, self.shipped, self.restock_due)

    @property
    def waiting(self) -> Decimal:
        """The part of `short` that has not left yet; the rest went out without us having had it."""
        return self.short - (self.shipped - self.issued)


class Terms(NamedTuple):
    """How firm an order's claims are. `expires_at` is for claims that begin now; a running one keeps its own."""

    firm: bool
    expires_at: datetime | None


class Target(NamedTuple):
    """A line as it is, and what it should be."""

    line: Hold
    want: Want

    def settled(self, terms: Terms) -> bool:
        """Whether stock need not be looked at. A short line waits for the refill, not for the next message."""
        line = self.line
        if line.want != self.want or (line.sku is None and line.short != line.demanded):
            return False
        if line.sku is None:
            return True
        if terms.firm:
            return not (line.held or line.expired or line.expires_at)
        return not line.committed and (line.expires_at is not None or not line.waiting)


class Discrepancy(NamedTuple):
    """How far stock is from what the platform says of a line; zero closes it."""

    order_id: UUID
    line_no: int
    location: str
    sku: str
    kind: str
    quantity: Decimal


class Reservation(NamedTuple):
    """The head of all holds of one order, or of one request of another system."""

    order_id: UUID
    source: str
    order_version: int = 0
    platform: str | None = None
    shop_id: str | None = None
    partner_id: UUID | None = None
    channel: str | None = None
    firm: bool = False
    whole: bool = False
    hold_seconds: int | None = None
    """How long another system asked to hold; null where the channel's setting decides."""
    state: str = "none"
    expires_at: datetime | None = None
    stream_version: int = 0
    created_at: datetime | None = None
    """The age by which those who wait are served."""


class Windows(NamedTuple):
    """How long an unpaid claim holds stock, in seconds."""

    default: int
    by_channel: Mapping[str, int]

    def terms(self, head: Reservation, now: datetime) -> Terms:
        """The terms of a reservation's claims that begin now."""
        if head.firm:
            return Terms(True, None)
        seconds = head.hold_seconds or self.by_channel.get(head.channel or "", self.default)
        return Terms(False, now + timedelta(seconds=seconds))
