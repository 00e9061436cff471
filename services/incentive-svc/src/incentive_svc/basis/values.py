"""The ledger entry as this service keeps it, and which of its amounts a plan counts.

Pure values. An entry is copied verbatim from the order family's events; signs are the ledger's (a refund is
negative, a reversal flips its target). Money is minor units of the entry's own currency.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

AXES: Final = {
    "ordered": frozenset({"ordered", "cancelled", "returned"}),
    "paid": frozenset({"paid", "refunded"}),
}
"""The kinds that a recognition counts. The axes are never added together."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """The gross-to-net components of one entry or of a sum of entries; `net_minor` is what the buyer pays."""

    net_minor: int
    tax_minor: int = 0
    freight_minor: int = 0
    platform_coupon_minor: int = 0

    def basis_minor(self, basis: str) -> int:
        """The part that a plan counts: `net_sales` leaves out tax, freight and the platform's coupons."""
        if basis == "net":
            return self.net_minor
        if basis == "net_sales":
            return self.net_minor - self.tax_minor - self.freight_minor - self.platform_coupon_minor
        raise ValueError(f"unknown basis {basis!r}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One attributed ledger entry, without the columns that nothing here reads."""

    entry_id: UUID
    order_id: UUID
    line_no: int
    line_kind: str
    kind: str
    quantity: Decimal
    currency: str
    amounts: Amounts
    partner_id: UUID
    channel: str | None
    sku: str | None
    business_at: datetime
    origin_at: datetime
    reverses_entry_id: UUID | None = None
