"""Whether the day arrived: what the services say of it, held against what was sold.

Asks over HTTP only, after everything came to rest. Each deviation is one sentence. What must hold inside the
databases is the audit's business, not this one's.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from qudao.client import Client
from qudao.day.catalog import SHOPS
from qudao.day.moments import Day, Delivery, Expected
from qudao.day.play import Played
from qudao.day.stage import Stage

Found = dict[tuple[str, str, str], dict[str, Any]]
"""Orders as order-svc shows them, by platform, shop and the platform's id."""

EXPIRY_SECONDS: Final = 20.0
_WAITING_FLAGS: Final = frozenset({"unbound-shop", "unknown-sku", "refund-before-order"})
# Two clocks of one machine, and a request that was on its way.
_MARGIN: Final = timedelta(seconds=2)


@dataclass
class Verdict:
    """The day as the services tell it. `outcomes` counts stored deliveries by platform and what became of them."""

    orders: Counter[str] = field(default_factory=Counter)
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    repeats_seen: int = 0
    deviations: list[str] = field(default_factory=list)


async def judge(client: Client, day: Day, stage: Stage, played: Played) -> Verdict:
    """Compares what came with what was sent. Raises `Refused` or `Unreachable`."""
    since = played.began_at - _MARGIN
    found = await _orders(client, since)
    verdict = Verdict(deviations=list(played.deviations))
    verdict.orders = Counter(f"{order['lifecycle']}, {order['payment']}" for order in found.values())
    verdict.deviations += compare(day, stage, found)
    await _deliveries(client, since, played, verdict)
    verdict.deviations += await _expired(client, played)
    return verdict


async def _orders(client: Client, since: datetime) -> Found:
    """The orders of the demo's shops that were first heard of since then."""
    found = {}
    for shop in SHOPS:
        async for order in client.pages("order", "/v1/orders", platform=shop.platform, shop_id=shop.shop_id):
            if datetime.fromisoformat(order["created_at"]) < since:
                break
            found[shop.platform, shop.shop_id, order["platform_order_id"]] = order
    return found


def compare(day: Day, stage: Stage, found: Found) -> Iterator[str]:
    """What is wrong with the orders found, a sentence each."""
    expected = {(each.shop.platform, each.shop.shop_id, each.order_id): each for each in day.expected}
    for key in sorted(expected.keys() - found.keys()):
        yield f"order {key} was sent and acknowledged, and is not there"
    for key in sorted(found.keys() - expected.keys()):
        yield f"order {key} is there, and nobody sold it"
    for key in sorted(expected.keys() & found.keys()):
        order, wanted = found[key], _facts(expected[key], stage)
        wrong = {name: (value, order[name]) for name, value in wanted.items() if order[name] != value}
        if wrong:
            told = ", ".join(f"{name} must be {must} and is {is_}" for name, (must, is_) in wrong.items())
            yield f"order {key}: {told}"
        if waiting := _WAITING_FLAGS.intersection(order["flags"]):
            yield f"order {key} still waits: {', '.join(sorted(waiting))}"


def _facts(expected: Expected, stage: Stage) -> dict[str, Any]:
    """What an order must say."""
    return {
        "lifecycle": expected.lifecycle,
        "currency": expected.shop.currency,
        "partner_id": stage.partners[expected.shop.partner],
        "channel": expected.shop.channel,
        "ordered_net_minor": expected.total_minor,
        "paid_minor": expected.paid_minor,
        "refunded_minor": -expected.refunded_minor,
    }


async def _deliveries(client: Client, since: datetime, played: Played, verdict: Verdict) -> None:
    """Every acknowledged message is stored once, and only the poison is in quarantine."""
    shops = {(shop.platform, shop.shop_id) for shop in SHOPS}
    stored = []
    async for delivery in client.pages("order", "/v1/deliveries"):
        if datetime.fromisoformat(delivery["received_at"]) < since:
            break
        if (delivery["platform"], delivery["shop_id"]) in shops:
            stored.append(delivery)
    for platform, tally in played.tallies.items():
        ours = [delivery for delivery in stored if delivery["platform"] == platform]
        outcomes = Counter(str(delivery["outcome"] or delivery["status"]) for delivery in ours)
        verdict.outcomes[platform] = outcomes
        if outcomes["quarantined"] != tally.poison:
            verdict.deviations.append(
                f"{platform}: {outcomes['quarantined']} deliveries are in quarantine, {tally.poison} were unreadable"
            )
        if platform == "pos":  # a file is stored as one delivery for each receipt
            continue
        sent = [each for each in played.history if each.shop.platform == platform and each.nature != "ping"]
        distinct = len({_identity(each) for each in sent})
        verdict.repeats_seen += len(sent) - len(ours)
        if len(ours) != distinct:
            verdict.deviations.append(
                f"{platform}: {distinct} different deliveries were acknowledged, {len(ours)} are stored"
            )
    if verdict.repeats_seen <= 0:
        verdict.deviations.append("no repeated delivery was recognised, though some were sent twice")


def _identity(delivery: Delivery) -> tuple[str, str, bytes]:
    """What makes a delivery the same one when it comes again."""
    if delivery.shop.platform == "generic":
        return delivery.shop.shop_id, delivery.message_id, b""
    return delivery.shop.shop_id, delivery.topic, delivery.body


async def _expired(client: Client, played: Played) -> list[str]:
    """Reservations that nobody came back for hold nothing once their second is over."""
    waiting, deadline = set(played.expiring), time.monotonic() + EXPIRY_SECONDS
    while True:
        for reservation_id in sorted(waiting):
            found = await client.get("inventory", f"/v1/reservations/{reservation_id}")
            if all(line["held"] == "0" and line["committed"] == "0" for line in found["lines"]):
                waiting.remove(reservation_id)
        if not waiting or time.monotonic() > deadline:
            return [
                f"reservation {each} was never released though its time is over" for each in sorted(waiting)
            ]
        await asyncio.sleep(0.5)
