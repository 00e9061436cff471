"""Bindings, listings, items and contracts that arrive while orders stream in: nobody is left unjoined.

Whatever meets whatever first, in the end every order belongs to its partner, every line to its SKU, every hold to
its shelf, and every cell holds all of it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from .deployment import Deployment
from .letters import order_body
from .shops import MONTH, Trade

Make = Callable[..., Awaitable[Any]]
ORDERS = 24
BASIS = {"shopify": 30_973, "woocommerce": 10_000, "generic": 7_580}
TINS = {"shopify": 3, "woocommerce": 2, "generic": 2}


async def _stream(sold: Trade, chance: random.Random) -> list[str]:
    """Orders in bursts of one to four, so that batches of every size meet the changes."""
    sent: list[str] = []
    while len(sent) < ORDERS:
        burst = [order_body(sold.shop.platform, sold.platform_sku) for _ in range(chance.randint(1, 4))]
        await asyncio.gather(*(sold.shop.sent(body, topic) for _, body, topic in burst))
        sent += [order_id for order_id, _, _ in burst]
        await asyncio.sleep(chance.uniform(0, 0.03))
    return sent


async def _tell(sold: Trade, chance: random.Random) -> None:
    """Binding, item and listing, stock and contract, in an order of chance and at moments of chance."""

    async def item_and_listing() -> None:
        await sold.register()
        await asyncio.sleep(chance.uniform(0, 0.1))
        await asyncio.gather(sold.list_as(sold.platform_sku), sold.receive("1000"))

    async def rebind() -> None:
        await sold.bind()
        # The same shop for the same partner on another channel and back: attribution moves twice under traffic.
        for channel in ("store", "online"):
            await asyncio.sleep(chance.uniform(0, 0.15))
            sold.channel = channel
            await sold.bind(replace=True)

    steps = [item_and_listing, rebind, sold.contract]
    chance.shuffle(steps)

    async def later(step: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(chance.uniform(0, 0.4))
        await step()

    await asyncio.gather(*(later(step) for step in steps))


@pytest.mark.parametrize("seed", [1, 2])
async def test_changes_that_race_with_orders_leave_none_unjoined(
    stack: Deployment, trade: Make, seed: int
) -> None:
    chance = random.Random(seed)
    trades: list[Trade] = []
    for platform in ("shopify", "woocommerce", "generic", "shopify"):
        sold: Trade = await trade(platform, ready=False, contract=False)
        sold.platform_sku = f"theirs-{sold.sku}"
        trades.append(sold)
    telling = asyncio.gather(*(_tell(sold, random.Random(chance.random())) for sold in trades))
    sent = await asyncio.gather(*(_stream(sold, random.Random(chance.random())) for sold in trades))
    await telling
    await stack.audit_clean(120)
    raced = await stack.value(
        "order",
        "select count(*) from outbox o join order_head h on h.order_id = o.aggregate_id where h.shop_id = any($1) "
        "and o.type = any(array['channel.order.attributed.v1', 'channel.order.resolved.v1'])",
        [sold.shop.shop_id for sold in trades],
    )
    assert raced > len(trades), "the changes must have met orders that were there before them"
    for sold, orders in zip(trades, sent, strict=True):
        shop = sold.shop
        rows = await stack.rows(
            "order",
            "select h.partner_id::text as partner, h.channel, h.flags, l.sku, count(*) as n from order_head h "
            "join order_line l using (order_id) where h.platform = $1 and h.shop_id = $2 and l.line_kind = 'product' "
            "group by 1, 2, 3, 4",
            shop.platform,
            shop.shop_id,
        )
        assert [tuple(row.values()) for row in rows] == [
            (sold.partner_id, "online", [], sold.sku, len(orders))
        ]
        [shelf] = await stack.get("inventory", f"/v1/stock/{sold.sku}")
        assert shelf["allocated"] == str(TINS[shop.platform] * len(orders))
        statement = await sold.statement()
        assert statement["period"]["start_on"] == MONTH
        assert statement["basis_minor"] == BASIS[shop.platform] * len(orders)
        assert statement["accrued_minor"] == statement["rebate_minor"]
