"""What an order of the day is, as plain values: its lines, its steps, and how it stands after each of them.

Pure. Says what happened in the world: `stories` makes it up, `payloads_*` word it as each platform does. Amounts
are minor units.
"""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Final

from qudao.day.catalog import ZONE, Item, Shop

ORDERS_MAX: Final = 90_000  # five digits in the ids


@dataclass(frozen=True, slots=True)
class Run:
    """One day. `ends_at` is aware and has no fraction of a second; it is part of every id of the day."""

    seed: int
    orders: int
    ends_at: datetime

    @property
    def stamp(self) -> str:
        return self.ends_at.astimezone(ZONE).strftime("%y%m%d%H%M%S")

    @property
    def begins_at(self) -> datetime:
        """Eight in the morning of the day before."""
        yesterday = self.ends_at.astimezone(ZONE).date() - timedelta(days=1)
        return datetime.combine(yesterday, time(8), ZONE)

    @property
    def seconds(self) -> int:
        return int((self.ends_at - self.begins_at).total_seconds())


@dataclass(frozen=True, slots=True)
class Line:
    """One product on an order. `tax_minor` is inside the price, or comes on top when `tax_added`."""

    line_id: int
    item: Item
    platform_sku: str
    quantity: Decimal
    unit_minor: int
    discount_minor: int
    platform_coupon_minor: int
    tax_minor: int
    tax_added: bool

    @property
    def gross_minor(self) -> int:
        return int(self.unit_minor * self.quantity)

    @property
    def goods_minor(self) -> int:
        """What it costs after deductions, an added tax apart."""
        return self.gross_minor - self.discount_minor - self.platform_coupon_minor

    @property
    def net_minor(self) -> int:
        """What the buyer pays."""
        return self.goods_minor + (self.tax_minor if self.tax_added else 0)


@dataclass(frozen=True, slots=True)
class BackLine:
    """What is given back of the line at `index`."""

    index: int
    quantity: Decimal
    amount_minor: int
    restocked: bool


@dataclass(frozen=True, slots=True)
class Back:
    """Money given back. `amount_minor` beyond the lines and the freight names no line."""

    refund_id: int
    at: datetime
    amount_minor: int
    lines: tuple[BackLine, ...] = ()
    freight_minor: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened. `shipped` are quantities by line."""

    what: str
    at: datetime
    back: Back | None = None
    shipped: tuple[Decimal, ...] = ()


@dataclass(frozen=True, slots=True)
class Sale:
    """An order with its whole life so far. `number` counts the day's orders from 1."""

    shop: Shop
    number: int
    stamp: str
    story: str
    lines: tuple[Line, ...]
    freight_minor: int
    steps: tuple[Step, ...]
    refund_first: bool = False

    @property
    def total_minor(self) -> int:
        return sum(line.net_minor for line in self.lines) + self.freight_minor

    @property
    def placed_at(self) -> datetime:
        return self.steps[0].at

    def states(self) -> list["State"]:
        """The order after each of its steps."""
        return [State(self, self.steps[: at + 1]) for at in range(len(self.steps))]

    def last(self) -> "State":
        return State(self, self.steps)


@dataclass(frozen=True, slots=True)
class State:
    """An order at one moment of its life."""

    sale: Sale
    steps: tuple[Step, ...]

    @property
    def at(self) -> datetime:
        return self.steps[-1].at

    def when(self, what: str) -> datetime | None:
        """When that happened first; None when it has not."""
        return next((step.at for step in self.steps if step.what == what), None)

    @property
    def paid_at(self) -> datetime | None:
        return self.when("paid")

    @property
    def paid_minor(self) -> int:
        return self.sale.total_minor if self.paid_at else 0

    @property
    def backs(self) -> tuple[Back, ...]:
        return tuple(step.back for step in self.steps if step.back)

    @property
    def refunded_minor(self) -> int:
        return sum(back.amount_minor for back in self.backs)

    @property
    def payment(self) -> str:
        """unpaid, paid, partially_refunded or refunded."""
        if not self.paid_at:
            return "unpaid"
        if not self.refunded_minor:
            return "paid"
        return "refunded" if self.refunded_minor >= self.paid_minor else "partially_refunded"

    @property
    def shipments(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.shipped)

    def shipped(self, index: int) -> Decimal:
        return sum((step.shipped[index] for step in self.shipments), Decimal(0))

    @property
    def fulfilment(self) -> str:
        """unfulfilled, partial or shipped."""
        if not self.shipments:
            return "unfulfilled"
        whole = all(self.shipped(index) == line.quantity for index, line in enumerate(self.sale.lines))
        return "shipped" if whole else "partial"

    @property
    def lifecycle(self) -> str:
        """open, completed, cancelled or deleted."""
        for what, word in (("deleted", "deleted"), ("cancelled", "cancelled"), ("completed", "completed")):
            if self.when(what):
                return word
        return "open"


def money(minor: int) -> str:
    """A decimal string with two places, as every currency of the demo has."""
    return f"{'-' if minor < 0 else ''}{abs(minor) // 100}.{abs(minor) % 100:02}"
