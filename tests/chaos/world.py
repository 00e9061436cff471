"""What happens in the world during a run, and what the books must say of it in the end. Pure and seeded.

The day of the command line's demo, with its redelivered, reordered, forged and unreadable messages, is the bulk of it;
between its moments stand commands of other systems. What each order must come to is taken from what was sold, not from
what was sent, and never from the code that reads it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from random import Random
from typing import Any, Final, NamedTuple

from qudao.day import stories
from qudao.day.catalog import MAIN, Shop
from qudao.day.letters import body as in_json
from qudao.day.moments import Day, Delivery, Moment
from qudao.day.plan import PLATFORMS, plan
from qudao.day.sales import Run, Sale

ENDS_AT: Final = datetime(2026, 3, 10, 3, 0, tzinfo=UTC)
COMMAND_EVERY: Final = 12  # moments
CANARIES: Final = Shop("generic", "chaos-canary", "QINGLAN-STORES", "private-domain", "CNY", MAIN, 0)
CANARY_MINOR: Final = 8_800
_SKU: Final = "JASMINE-100"


@dataclass(frozen=True, slots=True)
class Command:
    """A request of another system. With `key` it may be sent twice, and is, now and then: `twice`."""

    op: str
    service: str
    method: str
    path: str
    key: str
    body: Mapping[str, Any] | None = None
    twice: bool = False


Event = Moment | Command


class OrderKey(NamedTuple):
    """How an order is known outside."""

    platform: str
    shop_id: str
    order_id: str


Sums = Mapping[str, tuple[Decimal | None, int | None]]
"""By kind of entry: units of products, and money without the platform's fees. None = nothing is claimed."""


@dataclass(frozen=True, slots=True)
class World:
    """Everything that will happen, in order, and how each order must stand afterwards."""

    day: Day
    events: tuple[Event, ...]
    orders: Mapping[OrderKey, Sums]


def world(seed: int, orders: int) -> World:
    """The world of a run."""
    run = Run(seed, orders, ENDS_AT)
    day = plan(run)
    sold = {_key(sale): sums(sale) for sale in stories.sales(run) if sale.story != "test"}
    return World(day, tuple(_events(seed, day)), sold)


def canary(number: int) -> tuple[OrderKey, bytes]:
    """A small paid order whose way into the ledger is timed, and its body."""
    order_id = f"canary-{number:05}"
    line = {"line_id": "1", "kind": "product", "sku": _SKU, "quantity": "1", "total": "88.00", "tax": "0"}
    at = "2026-03-10T08:00:00+08:00"
    data = {
        "order_id": order_id,
        "sequence": 1,
        "currency": "CNY",
        "lifecycle": "open",
        "payment": "paid",
        "fulfilment": "unfulfilled",
        "placed_at": at,
        "paid_at": at,
        "tax_included": True,
        "total": "88.00",
        "lines": [line],
    }
    said = {"type": "qudao.order.v1", "timestamp": at, "data": data}
    return OrderKey(CANARIES.platform, CANARIES.shop_id, order_id), in_json(said)


def canary_sums() -> Sums:
    return {"ordered": (Decimal(1), CANARY_MINOR), "paid": (Decimal(0), CANARY_MINOR)}


def sums(sale: Sale) -> Sums:
    """What the entries of an order must come to, by what happened to it."""
    end = sale.last()
    units = sum((line.quantity for line in sale.lines), Decimal(0))
    shipped = sum((end.shipped(index) for index in range(len(sale.lines))), Decimal(0))
    back = sum((part.quantity for each in end.backs for part in each.lines), Decimal(0))
    closed = end.lifecycle in ("cancelled", "deleted")
    goods: dict[str, tuple[Decimal | None, int | None]] = {
        "shipped": (shipped, 0),
        "cancelled": (-(units - shipped) if closed else Decimal(0), None),
        "returned": (-back if shipped else Decimal(0), None),
    }
    if sale.shop.platform == "woocommerce" and end.backs:
        goods = {}  # it says an amount, and neither what came back nor, from then on, what went out
    return {
        "ordered": (units, sale.total_minor),
        "paid": (Decimal(0), end.paid_minor),
        "refunded": (Decimal(0), -end.refunded_minor),
        **goods,
    }


def _key(sale: Sale) -> OrderKey:
    return OrderKey(sale.shop.platform, sale.shop.shop_id, PLATFORMS[sale.shop.platform].order_id(sale))


def _events(seed: int, day: Day) -> Iterator[Event]:
    chance = Random(f"{seed} commands")
    number = 0
    for place, moment in enumerate(day.moments):
        yield moment
        if place % COMMAND_EVERY == 0:
            number += 1
            yield _command(chance, number)


def _command(chance: Random, number: int) -> Command:
    """One of each kind in turn."""
    key, twice = f"chaos-command-{number:06}", chance.random() < 0.1
    lines = [{"sku": _SKU, "location": MAIN, "quantity": str(chance.randint(1, 3))}]
    if number % 5 == 0:
        service, path = chance.choice((("incentive", "/v1/accruals"), ("insight", _KPIS)))
        return Command("read", service, "GET", path, key)
    if number % 5 == 1:
        wish = {"lines": lines, "hold_seconds": 3_600, "fulfil": "partial"}
        return Command("reserve", "inventory", "POST", "/v1/reservations", key, wish, twice)
    if number % 5 == 2:
        partner = {"code": key, "name": f"Partner {number}", "kind": "reseller"}
        return Command("register", "partner", "POST", "/v1/partners", key, partner, twice)
    op, path = ("receive", "/v1/receipts") if number % 5 == 3 else ("adjust", "/v1/adjustments")
    return Command(op, "inventory", "POST", path, key, {"lines": lines, "reason": key}, twice)


_KPIS = "/v1/insight/kpis?from=2026-03-01&to=2026-03-31"


def identity(delivery: Delivery) -> str:
    """The name of a delivery in the history: the same when the same message comes again."""
    marks = f"{delivery.topic}\0{delivery.message_id}\0".encode() + delivery.body
    return f"{delivery.shop.platform}/{delivery.shop.shop_id}/{sha256(marks).hexdigest()[:20]}"
