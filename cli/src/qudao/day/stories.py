"""The day's orders and what happens to each: placed, paid, shipped, cancelled, given back, deleted.

Pure and seeded: the same run gives the same sales, however they are sent. Shops and stories come in fixed
proportions. Steps that would lie after the end of the day have not happened yet.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Final, TypeVar

from qudao.day.catalog import ITEMS, SHOPS, Shop, platform_sku
from qudao.day.sales import Back, BackLine, Line, Run, Sale, Step

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
_VAT_PERCENT, _SALES_TAX_PERCENT = 13, 8
_CONCESSION_MINOR = 500


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
        tax = goods * _SALES_TAX_PERCENT // 100 if added else goods * _VAT_PERCENT // (100 + _VAT_PERCENT)
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

    def add(
        what: str, least: int, most: int, back: Back | None = None, shipped: tuple[Decimal, ...] = ()
    ) -> None:
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
        add(
            "refunded", 1_800, 21_600, _all_back(run, number, lines, freight, restocked=chance.random() < 0.7)
        )
    if story == "concession":
        back = Back(_refund_id(run, number), at, _CONCESSION_MINOR, note="damaged box 包装破损")
        add("refunded", 1_800, 21_600, back)
    return tuple(step for step in steps if step.at <= run.ends_at)


def _at_the_till(
    run: Run, chance: Random, number: int, story: str, lines: Sequence[Line]
) -> tuple[Step, ...]:
    """Yesterday's receipts: everything happens at once, and what is brought back comes later on the same day."""
    opened = run.begins_at.replace(hour=10)
    at = opened + timedelta(seconds=chance.randrange(8 * 3600))
    steps = [
        Step("placed", at),
        Step("paid", at),
        Step("shipped", at, None, tuple(x.quantity for x in lines)),
    ]
    steps.append(Step("completed", at))
    if story == "all-back":
        later = at + timedelta(seconds=chance.randint(600, 7_200))
        steps.append(Step("refunded", later, _moved(_all_back(run, number, lines, 0, restocked=True), later)))
    return tuple(steps)


def _refund_id(run: Run, number: int) -> int:
    return int(run.stamp) * 10**6 + 500_000 + number


def _moved(back: Back, at: datetime) -> Back:
    return replace(back, at=at)


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
    return Back(
        _refund_id(run, number), run.ends_at, part.amount_minor, (part,), 0, "one too many 多买了一件"
    )
