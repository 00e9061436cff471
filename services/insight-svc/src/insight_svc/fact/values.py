"""The values of facts: the key and the measures of a day, and the facts they are summed from.

Pure. Money is minor units of the row's currency with the ledger's own signs (what undoes is negative);
quantities are exact decimals and count product lines only. Read by `fact` itself and by `kpi`.
"""

from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from channel_events.order import EntryBody
from channel_events.values import Quantity

ORDER_CONSUMER: Final = "insight.order"
"""The feed that brings entries and orders: figures are as fresh as it is."""

PRODUCT: Final = "product"
"""The line kind whose quantities are units; the others (freight, tip, adjustment …) carry money only."""

ZERO: Final = Decimal(0)


class DailyKey(NamedTuple):
    """One day of one partner, channel, SKU and currency; None is "not known" and a value of its own."""

    day: date
    currency: str
    partner_id: UUID | None
    channel: str | None
    sku: str | None

    def order(self) -> tuple[str, ...]:
        """The one order in which rows of days are locked."""
        return (
            self.day.isoformat(),
            self.currency,
            str(self.partner_id or ""),
            self.channel or "",
            self.sku or "",
        )


@dataclass(slots=True)
class Measures:
    """What is added up per `DailyKey`.

    Counts named by an axis are of live entries: an entry counts 1, its reversal −1, so a corrected entry counts
    once. The cohort is by the day the order was placed, everything else by the day the thing happened.
    """

    entries: int = 0
    """Every ledger entry, reversals included."""
    demand_entries: int = 0
    cash_entries: int = 0
    goods_entries: int = 0
    product_entries: int = 0
    """Live entries on product lines, of any axis."""
    cohort_entries: int = 0
    rebate_entries: int = 0
    """Shares of accruals."""
    ordered_units: Quantity = ZERO
    cancelled_units: Quantity = ZERO
    returned_units: Quantity = ZERO
    shipped_units: Quantity = ZERO
    cohort_shipped_units: Quantity = ZERO
    cohort_returned_units: Quantity = ZERO
    ordered_net_sales_minor: int = 0
    cancelled_net_sales_minor: int = 0
    returned_net_sales_minor: int = 0
    paid_net_sales_minor: int = 0
    refunded_net_sales_minor: int = 0
    paid_net_minor: int = 0
    refunded_net_minor: int = 0
    fee_minor: int = 0
    rebate_minor: int = 0


MEASURES: Final = tuple(field.name for field in fields(Measures))


class EntryFact(NamedTuple):
    """A ledger entry with its two days in the enterprise's zone."""

    entry: EntryBody
    business_on: date
    origin_on: date


class OrderFact(NamedTuple):
    """An order as its newest event tells it; amounts as they stand in the ledger."""

    order_id: UUID
    version: int
    platform: str
    shop_id: str
    platform_order_id: str
    partner_id: UUID | None
    channel: str | None
    currency: str
    placed_on: date
    paid_on: date | None
    """The day of the first payment; None while there is none."""
    lifecycle: str
    payment: str
    fulfilment: str
    paid_minor: int
    refunded_minor: int
    net_sales_minor: int
    flags: tuple[str, ...]
    skus: tuple[str | None, ...]
    """Distinct SKUs of its product lines; None stands for those not mapped yet."""


class CellFact(NamedTuple):
    """A rebate cell as its newest accrual tells it."""

    cell_id: UUID
    version: int
    plan_id: UUID
    plan_version: int
    partner_id: UUID
    period_start_on: date
    period_end_on: date
    currency: str
    basis_minor: int
    accrued_minor: int


class RebateShare(NamedTuple):
    """The part of an accrual that falls on one channel and SKU; the shares of an accrual sum to its delta."""

    cell_id: UUID
    version: int
    position: int
    day: date
    currency: str
    partner_id: UUID
    channel: str | None
    sku: str | None
    rebate_minor: int


class StockFact(NamedTuple):
    """A stock row as its newest event tells it."""

    stock_id: UUID
    version: int
    sku: str
    location: str
    on_hand: Decimal
    reserved: Decimal
    allocated: Decimal
    quarantined: Decimal
    safety: Decimal
    available: Decimal
