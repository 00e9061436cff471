"""The day's orders and what happens to each: placed, paid, shipped, cancelled, given back, deleted.

Pure and seeded: the same seed, number of orders and end give the same sales. Says what happened in the world; how
a platform words it is for `payloads_*`, when it is sent for `plan`. Steps that would lie after the end of the day
have not happened yet. Amounts are minor units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Final, TypeVar

from qudao.day.catalog import ITEMS, SHOPS, ZONE, Item, Shop, platform_sku

T = TypeVar("T")

STORIES: Final = {
    "shipped": 51,
    "paid": 8,
    "unpaid": 7,
    "abandoned": 6,
    "called-off": 7,
    "part-back": 8,
    "all-back": 6,
    "concession": 3,
    "deleted": 2,
    "test": 2,
}
ORDERS_MAX: Final = 90_000  # five digits in the ids
_VAT_PERCENT, _SALES_TAX_PERCENT = 13, 8
_CONCESSION_MINOR = 500


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


def sales(run: Run) -> list[Sale]:
    """The day's orders by number. Shops and stories come in fixed proportions, shuffled."""
    chance = Random(run.seed)
    shops = _shuffled(chance, {shop: shop.share for shop in SHOPS}, run.orders)
    stories = _shuffled(chance, STORIES, run.orders)
    return [
        _sale(run, chance, number, shop, story)
        for number, (shop, story) in enumerate(zip(shops, stories, strict=True), 1)
    ]


def _shuffled(chance: Random, shares: dict[T, int], count: int) -> list[T]:
    whole = sum(shares.values())
    dealt = [each for each, share in shares.items() for _ in range(-(-share * count // whole))]
    chance.shuffle(dealt)
    return dealt[:count]


def _sale(run: Run, chance: Random, number: int, shop: Shop, story: str) -> Sale:
    if shop.platform == "pos":
        story = "all-back" if story == "all-back" else "sold"
    elif story == "test" and shop.platform != "shopify":
        story = "shipped"
    lines = tuple(_lines(run, chance, number, shop))
    freight = 0 if shop.platform == "pos" or chance.random() < 0.5 else 1000
    steps = _steps(run, chance, number, shop, story, lines, freight)
    first = shop.platform in ("shopify", "generic") and chance.random() < 0.3 and bool(steps[-1].back)
    return Sale(shop, number, run.stamp, story, lines, freight, steps, first)


def _lines(run: Run, chance: Random, number: int, shop: Shop) -> list[Line]:
    whole_only = shop.platform == "shopify"
    choice = [item for item in ITEMS if not (whole_only and item.scale)]
    added = shop.currency == "USD"
    lines = []
    for index, item in enumerate(chance.sample(choice, chance.choice((1, 1, 1, 2, 2, 3))), 1):
        quantity = Decimal(chance.choice(item.quantities))
        unit = item.usd if added else item.cny
        gross = int(unit * quantity)
        discount = gross * chance.choice((0, 0, 0, 5, 10)) // 100
        coupon = min(2000, gross // 10) if shop.platform == "generic" and chance.random() < 0.2 else 0
        goods = gross - discount - coupon
        tax = (
            goods * _SALES_TAX_PERCENT // 100
            if added
            else goods * _VAT_PERCENT // (100 + _VAT_PERCENT)
        )
        lines.append(
            Line(
                int(f"{run.stamp[4:]}{number:05}{index:02}"),
                item,
                platform_sku(shop, item),
                quantity,
                unit,
                discount,
                coupon,
                tax,
                added,
            )
        )
    return lines


def _steps(
    run: Run,
    chance: Random,
    number: int,
    shop: Shop,
    story: str,
    lines: Sequence[Line],
    freight: int,
) -> tuple[Step, ...]:
    if shop.platform == "pos":
        return _at_the_till(run, chance, number, story, lines)
    all_of_it = tuple(line.quantity for line in lines)
    at = run.begins_at + timedelta(seconds=int(run.seconds * 0.95 * chance.random()))
    steps = [Step("placed", at)]

    def add(what: str, least: int, most: int, back: Back | None = None, shipped: tuple[Decimal, ...] = ()) -> None:
        # The refund is worked out before its time is known.
        then = steps[-1].at + timedelta(seconds=chance.randint(least, most))
        steps.append(Step(what, then, back and _moved(back, then), shipped))

    if story not in ("unpaid", "abandoned", "deleted"):
        add("paid", 30, 900)
    if story in ("abandoned", "deleted"):
        add("cancelled", 600, 7_200)
    if story == "deleted":
        add("deleted", 600, 3_600)
    if story == "called-off":
        add("cancelled", 300, 3_600, _all_back(run, number, lines, freight, restocked=True))
    if story in ("shipped", "part-back", "all-back", "concession", "test"):
        if shop.platform != "woocommerce" and len(lines) > 1 and chance.random() < 0.4:
            first = (all_of_it[0], *(Decimal(0) for _ in all_of_it[1:]))
            add("shipped", 3_600, 14_400, shipped=first)
            all_of_it = (Decimal(0), *all_of_it[1:])
        add("shipped", 3_600, 28_800, shipped=all_of_it)
        if shop.platform == "woocommerce":
            steps.append(Step("completed", steps[-1].at))
        elif story == "shipped" and chance.random() < 0.5:
            add("completed", 1_800, 14_400)
    if story == "part-back":
        add("refunded", 1_800, 21_600, _part_back(run, chance, number, lines))
    if story == "all-back":
        add("refunded", 1_800, 21_600, _all_back(run, number, lines, freight, restocked=chance.random() < 0.7))
    if story == "concession":
        back = Back(_refund_id(run, number), at, _CONCESSION_MINOR, note="damaged box 包装破损")
        add("refunded", 1_800, 21_600, back)
    return tuple(step for step in steps if step.at <= run.ends_at)


def _at_the_till(run: Run, chance: Random, number: int, story: str, lines: Sequence[Line]) -> tuple[Step, ...]:
    """Yesterday's receipts: everything happens at once, and what is brought back comes later on the same day."""
    opened = run.begins_at.replace(hour=10)
    at = opened + timedelta(seconds=chance.randrange(8 * 3600))
    steps = [Step("placed", at), Step("paid", at), Step("shipped", at, None, tuple(x.quantity for x in lines))]
    steps.append(Step("completed", at))
    if story == "all-back":
        later = at + timedelta(seconds=chance.randint(600, 7_200))
        steps.append(Step("refunded", later, _moved(_all_back(run, number, lines, 0, restocked=True), later)))
    return tuple(steps)


def _refund_id(run: Run, number: int) -> int:
    return int(run.stamp) * 10**6 + 500_000 + number


def _moved(back: Back, at: datetime) -> Back:
    return Back(back.refund_id, at, back.amount_minor, back.lines, back.freight_minor, back.note)


def _all_back(run: Run, number: int, lines: Sequence[Line], freight: int, *, restocked: bool) -> Back:
    parts = tuple(BackLine(at, line.quantity, line.net_minor, restocked) for at, line in enumerate(lines))
    total = sum(part.amount_minor for part in parts) + freight
    return Back(_refund_id(run, number), run.ends_at, total, parts, freight, "changed my mind 不想要了")


def _part_back(run: Run, chance: Random, number: int, lines: Sequence[Line]) -> Back:
    """One unit of one line, or all of it where it is not sold by the unit."""
    index = chance.randrange(len(lines))
    line = lines[index]
    one = Decimal(1) if line.quantity > 1 else line.quantity
    part = BackLine(index, one, int(line.net_minor * one / line.quantity), chance.random() < 0.7)
    return Back(_refund_id(run, number), run.ends_at, part.amount_minor, (part,), 0, "one too many 多买了一件")
