"""The day as a list of moments: what is sent when, twice, in the wrong order, spoilt or forged.

Pure and seeded: the same run gives the same day, byte for byte. Shares are exact, so that a small day has its
duplicates too. Everything is sorted by when it is sent; the player then sends many at a time.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from types import ModuleType
from typing import Final, TypeVar

from qudao.day import catalog, payloads_generic, payloads_pos, payloads_shopify, payloads_woocommerce, stories
from qudao.day.catalog import CONNECTED, ITEMS, MAIN, Shop
from qudao.day.letters import Letter
from qudao.day.moments import (
    Bind,
    Day,
    Delivery,
    Expected,
    MapSkus,
    Moment,
    Receive,
    Reserve,
    Rotate,
    Upload,
)
from qudao.day.sales import ORDERS_MAX, Run, Sale

T = TypeVar("T")

PLATFORMS: Final[dict[str, ModuleType]] = {
    "shopify": payloads_shopify,
    "woocommerce": payloads_woocommerce,
    "generic": payloads_generic,
    "pos": payloads_pos,
}
REPEATED_PERCENT: Final = 10
REORDERED_PERCENT: Final = 5
TAMPERED_PERCENT: Final = 2
POISON_PERCENT: Final = 1
IGNORED_PERCENT: Final = 2
STALE_SECONDS: Final = 900
_OLD_SECRET_PERCENT = 20
_ENDS = ("release", "commit", "issue", "expire")

# When, as a share of the day: first two thirds without the late shop's binding and the late SKUs.
_ROTATION, _BINDING, _MAPPING, _RECEIPT = 0.45, 0.55, 0.65, 0.6
_UPLOADS = (("first", 0.4), ("again", 0.5), ("corrected", 0.75))


@dataclass(frozen=True, slots=True)
class _Sent:
    """A letter of an order with the moment it is sent; `place` breaks ties."""

    sale: Sale
    letter: Letter
    at: datetime
    place: int


def plan(run: Run) -> Day:
    """The day of a run. Raises ValueError for a number of orders it cannot number."""
    if not 1 <= run.orders <= ORDERS_MAX:
        raise ValueError(f"play 1 to {ORDERS_MAX} orders")
    sold = stories.sales(run)
    # A chance of its own: what is sold does not hang on how it is sent.
    chance = Random(f"{run.seed} post")
    sent, reordered = _reordered(chance, [one for sale in sold for one in _first_sent(sale)])
    timed: list[tuple[datetime, int, Moment]] = []

    def at(when: datetime, moment: Moment) -> None:
        timed.append((min(when, run.ends_at), len(timed), moment))

    for one in sorted(sent, key=lambda one: (one.at, one.sale.number, one.place)):
        at(one.at, _delivery(one.sale.shop, one.letter, _nature(one.sale), _id(one.sale)))
    for when, moment in _disturbances(run, chance, sent):
        at(when, moment)
    timed = [(when, number, _signed_before(chance, run, when, moment)) for when, number, moment in timed]
    for when, moment in _house(run, chance, sold):
        at(when, moment)
    opening, morning, noon = _stock(sold)
    at(_share(run, _RECEIPT), Receive("noon", noon))
    in_order = sorted(timed, key=lambda each: each[:2])
    moments = (Receive("morning", morning), *(moment for _, _, moment in in_order))
    return Day(run, run.begins_at, opening, moments, _expected(sold), reordered)


def _first_sent(sale: Sale) -> list[_Sent]:
    if sale.shop.platform == "pos":
        return []
    letters: list[Letter] = PLATFORMS[sale.shop.platform].letters(sale)
    sent = [_Sent(sale, letter, letter.at, place) for place, letter in enumerate(letters)]
    if sale.refund_first:
        sent = [
            replace(one, at=sale.placed_at, place=-1) if one.letter.carries == "refund" else one
            for one in sent
        ]
    return sent


def _reordered(chance: Random, sent: Sequence[_Sent]) -> tuple[list[_Sent], int]:
    """Some neighbours of one order change places; how many pairs did."""
    result = list(sent)
    pairs = [at for at in range(len(sent) - 1) if sent[at].sale.number == sent[at + 1].sale.number]
    chosen = _some(chance, pairs, REORDERED_PERCENT)
    for at in chosen:
        one, other = result[at], result[at + 1]
        result[at] = replace(one, at=other.at, place=other.place)
        result[at + 1] = replace(other, at=one.at, place=one.place)
    return result, len(chosen)


def _disturbances(run: Run, chance: Random, sent: Sequence[_Sent]) -> list[tuple[datetime, Moment]]:
    """What is sent beside the orders: repetitions, forgeries, spoilt bodies, other topics, a ping."""
    found: list[tuple[datetime, Moment]] = []
    for one in _some(chance, sent, REPEATED_PERCENT):
        again = _delivery(one.sale.shop, one.letter, _nature(one.sale), _id(one.sale))
        later = one.at + timedelta(seconds=chance.randint(1, 7_200))
        found.append((later, replace(again, repeated=True)))
    for number, one in enumerate(_some(chance, sent, TAMPERED_PERCENT)):
        found.append((one.at, _tampered(one, stale=number % 3 == 0)))
    whole = [one for one in sent if one.letter.carries == "order" and one.sale.story != "test"]
    for number, one in enumerate(_some(chance, whole, POISON_PERCENT)):
        letter = replace(
            one.letter,
            body=_spoilt(one.letter.body, number),
            message_id=f"{one.letter.message_id}_{number}",
        )
        found.append((one.at, _delivery(one.sale.shop, letter, "poison")))
    for number in range(max(len(CONNECTED), len(sent) * IGNORED_PERCENT // 100)):
        shop = CONNECTED[number % len(CONNECTED)]
        sender = PLATFORMS[shop.platform]
        when = _share(run, chance.random())
        letter = sender.other(chance.choice(sender.IGNORED_TOPICS), number, run.stamp, when)
        found.append((when, _delivery(shop, letter, "ignored")))
    hello = Letter("", payloads_woocommerce.PING, "", run.begins_at)
    found.append((run.begins_at, _delivery(catalog.OVERSEAS, hello, "ping")))
    return found


def _tampered(one: _Sent, *, stale: bool) -> Delivery:
    """A forgery: another body under a true signature, or a true one that is too old where time is signed."""
    delivery = _delivery(one.sale.shop, one.letter, "tampered")
    if stale and one.sale.shop.platform == "generic":
        return replace(delivery, age_seconds=STALE_SECONDS)
    return replace(delivery, body=one.letter.body[:-1] + b',"paid":"0.01"}', signed=one.letter.body)


def _spoilt(body: bytes, number: int) -> bytes:
    """A body that its sender signed and that nobody can read: cut off, in another encoding, in no currency."""
    ways: tuple[Callable[[bytes], bytes], ...] = (
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw.decode().encode("gb18030"),
        lambda raw: raw.replace(b'"currency":"', b'"currency":"X'),
    )
    return ways[number % len(ways)](body)


def _house(run: Run, chance: Random, sold: Sequence[Sale]) -> list[tuple[datetime, Moment]]:
    """What the brand itself does during the day."""
    found: list[tuple[datetime, Moment]] = [
        (_share(run, _ROTATION), Rotate(catalog.ROTATED)),
        (_share(run, _BINDING), Bind(catalog.BOUND_LATE)),
        (_share(run, _MAPPING), MapSkus(tuple(catalog.listings(late=True)))),
    ]
    till = [sale for sale in sold if sale.shop == catalog.TILL]
    for nature, share in _UPLOADS if till else ():
        raw = payloads_pos.file(till, corrected=nature == "corrected")
        found.append(
            (_share(run, share), Upload(catalog.TILL, f"hubin-{run.stamp}-{nature}.csv", raw, nature))
        )
    for number in range(max(len(_ENDS), run.orders // 25)):
        then = _ENDS[number % len(_ENDS)]
        items = chance.sample(ITEMS, chance.choice((1, 2)))
        lines = tuple((item.sku, MAIN, Decimal(chance.choice(item.quantities))) for item in items)
        seconds = 1 if then == "expire" else 3_600
        reserve = Reserve(f"reserve-{number:04}", lines, seconds, chance.random() < 0.5, then)
        found.append((_share(run, 0.1 + 0.8 * chance.random()), reserve))
    return found


def _signed_before(chance: Random, run: Run, when: datetime, moment: Moment) -> Moment:
    """For a while after its rotation, a platform signs some deliveries with the old secret."""
    if not isinstance(moment, Delivery) or moment.shop != catalog.ROTATED or when < _share(run, _ROTATION):
        return moment
    return replace(moment, old_secret=chance.randrange(100) < _OLD_SECRET_PERCENT)


Stock = tuple[tuple[str, str, Decimal], ...]


def _stock(sold: Sequence[Sale]) -> tuple[Stock, Stock, Stock]:
    """What lies there before the day, comes in the morning and at noon: enough, or too little of what is scarce."""
    demand: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for sale in sold:
        for line in sale.lines:
            demand[line.item.sku, sale.shop.location] += line.quantity
    parts: tuple[list[tuple[str, str, Decimal]], ...] = ([], [], [])
    for (sku, location), quantity in sorted(demand.items()):
        shares = (20, 15, 35) if catalog.SKUS[sku].scarce and location == MAIN else (30, 100, 20)
        for part, share in zip(parts, shares, strict=True):
            # Whole units, and at least one.
            part.append((sku, location, Decimal(int(quantity * share / 100) + 1)))
    opening, morning, noon = parts
    return tuple(opening), tuple(morning), tuple(noon)


def _expected(sold: Sequence[Sale]) -> tuple[Expected, ...]:
    ends = [sale.last() for sale in sold if sale.story != "test"]
    return tuple(
        Expected(
            end.sale.shop,
            _id(end.sale),
            end.lifecycle,
            end.sale.total_minor,
            end.paid_minor,
            end.refunded_minor,
        )
        for end in ends
    )


def _delivery(shop: Shop, letter: Letter, nature: str, order_id: str | None = None) -> Delivery:
    return Delivery(shop, letter.topic, letter.body, letter.message_id, nature, order_id)


def _nature(sale: Sale) -> str:
    """A test order is told of like any other; it must leave no trace."""
    return "test" if sale.story == "test" else "order"


def _id(sale: Sale) -> str:
    order_id: str = PLATFORMS[sale.shop.platform].order_id(sale)
    return order_id


def _some(chance: Random, whole: Sequence[T], percent: int) -> list[T]:
    """That share of a list, one at least, in its order."""
    count = min(len(whole), max(1, len(whole) * percent // 100))
    return [whole[at] for at in sorted(chance.sample(range(len(whole)), count))]


def _share(run: Run, share: float) -> datetime:
    return run.begins_at + timedelta(seconds=int(run.seconds * share))
