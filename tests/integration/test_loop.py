"""One signed order through the whole house: ledger, holds, accrual, statement and figures agree to the cent.

The numbers are worked by hand. The line: 3 × 128.00 − 34.00 = 350.00, of which 40.27 are tax, so net sales are
309.73; the freight of 12.00 counts for nothing. The plan pays 2 % on 200.00 and 5 % on the rest: 4.00 + 5.4865,
rounded once to 9.49. One tin comes back for 116.67, 13.42 of it tax: net sales fall by 103.25 to 206.48, and the
rebate to 4.00 + 0.324 = 4.32.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from .deployment import Deployment, new_id, qudao, until_equal
from .letters import generic_order, shopify_order, shopify_refund, woocommerce_order
from .shops import Trade

Make = Callable[..., Awaitable[Any]]

ORDERED = {("ordered", 1): 35_000, ("ordered", 2): 1_200, ("paid", 1): 35_000, ("paid", 2): 1_200}


async def _net_by_kind(stack: Deployment, order: Any) -> dict[tuple[str, int], int]:
    found = await stack.get("order", f"/v1/orders/{order['order_id']}/entries")
    return {(e["kind"], e["line_no"]): e["net_minor"] for e in found["entries"] if e["live"]}


async def test_a_signed_order_is_the_same_everywhere_within_a_second(stack: Deployment, trade: Make) -> None:
    seconds = []
    for _ in range(3):  # the quickest counts: what else runs on this machine is not what is measured
        sold, order_id = await trade(), new_id()
        began = time.monotonic()
        await sold.shop.sent(shopify_order(order_id, sold.sku), "orders/create")
        await sold.agreed(order_id, 30_973, 949)
        seconds.append(time.monotonic() - began)
    assert min(seconds) < 1.0, seconds

    order = await sold.shop.order(order_id)
    assert await _net_by_kind(stack, order) == ORDERED
    assert (order["partner_id"], order["channel"], order["flags"]) == (sold.partner_id, "online", [])
    assert (order["paid_minor"], order["net_sales_minor"]) == (36_200, 30_973)
    assert await sold.holds(order) == [("1", "3", "0", "3", "0", "0", "0", "0")]
    [shelf] = await stack.get("inventory", f"/v1/stock/{sold.sku}")
    assert (shelf["on_hand"], shelf["allocated"], shelf["available"]) == ("50", "3", "47")
    statement = await sold.statement()
    lines = {(line["kind"], line["line_no"]): line["rebate_minor"] for line in statement["lines"]["items"]}
    assert lines == {("paid", 1): 949, ("paid", 2): 0}
    assert [(part["from_minor"], part["to_minor"]) for part in statement["slices"]] == [
        (0, 20_000),
        (20_000, 30_973),
    ]
    assert statement["exact_minor"] == "948.65"
    figures = await sold.figures()
    assert (figures["orders"], figures["units"], figures["aov"]) == (1, "3", 30_973)


async def test_the_same_body_again_changes_nothing(stack: Deployment, trade: Make) -> None:
    sold, order_id = await trade(), new_id()
    body = shopify_order(order_id, sold.sku)
    await sold.shop.sent(body, "orders/create")
    await stack.audit_clean()
    before = await stack.contents()
    for _ in range(5):
        await sold.shop.sent(body, "orders/create")
    await stack.audit_clean()
    assert await stack.contents() == before


async def test_a_refund_gives_back_goods_money_and_rebate(stack: Deployment, trade: Make) -> None:
    sold, order_id = await trade(), new_id()
    await sold.shop.sent(shopify_order(order_id, sold.sku), "orders/create")
    await sold.shop.sent(
        shopify_order(order_id, sold.sku, updated="2026-03-03T15:00:00+08:00", shipped=3), "orders/fulfilled"
    )
    await sold.shop.sent(shopify_refund(order_id, new_id()), "refunds/create")
    await sold.agreed(order_id, 20_648, 432)
    order = await sold.shop.order(order_id)
    assert await _net_by_kind(stack, order) == {
        **ORDERED,
        ("shipped", 1): 0,
        ("returned", 1): -11_667,
        ("refunded", 1): -11_667,
    }
    await until_equal(lambda: sold.holds(order), [("1", "3", "0", "0", "3", "0", "0", "1")])
    [shelf] = await stack.get("inventory", f"/v1/stock/{sold.sku}")
    assert (shelf["on_hand"], shelf["allocated"], shelf["reserved"]) == ("48", "0", "0")


async def _ending(sold: Trade, order_id: object) -> dict[str, Any]:
    """How a trade with one order ended, without what is its own: ids, names, the number of steps."""
    await sold.deployment.audit_clean()
    order, statement = await sold.shop.settled(order_id), await sold.statement()
    shelf = (await sold.deployment.get("inventory", f"/v1/stock/{sold.sku}"))[0]
    said = (
        "lifecycle",
        "payment",
        "fulfilment",
        "flags",
        "channel",
        "net_sales_minor",
        "paid_minor",
        "refunded_minor",
    )
    return {
        "order": {name: order[name] for name in said},
        "entries": await sold.live_entries(order),
        "holds": await sold.holds(order),
        "cell": [statement[name] for name in ("basis_minor", "rebate_minor", "accrued_minor", "exact_minor")],
        "stock": [shelf[name] for name in ("on_hand", "reserved", "allocated", "available")],
        "figures": await sold.figures(),
    }


async def test_refund_before_its_order_ends_the_same_as_after(trade: Make) -> None:
    endings = []
    for order_of_arrival in ((0, 1, 2), (2, 0, 1), (2, 1, 0)):
        sold, order_id = await trade(), new_id()
        letters = [
            (shopify_order(order_id, sold.sku), "orders/create"),
            (
                shopify_order(order_id, sold.sku, updated="2026-03-03T15:00:00+08:00", shipped=3),
                "orders/fulfilled",
            ),
            (shopify_refund(order_id, order_id + 1), "refunds/create"),
        ]
        for number in order_of_arrival:
            await sold.shop.sent(*letters[number])
            await sold.deployment.taken_in()  # each by itself, never two in one batch
        endings.append(await _ending(sold, order_id))
    assert endings[0] == endings[1] == endings[2]
    assert endings[0]["cell"][:3] == [20_648, 432, 432]


async def test_an_order_before_its_shop_and_sku_are_known_ends_as_if_they_had_been_there(
    stack: Deployment, trade: Make
) -> None:
    early, late = await trade(), await trade(ready=False)
    ids = [new_id(), new_id()]
    early.platform_sku = late.platform_sku = "青山 01"
    await early.list_as(early.platform_sku)
    await stack.audit_clean()
    for sold, order_id in zip((early, late), ids, strict=True):
        await sold.shop.sent(shopify_order(order_id, sold.platform_sku), "orders/create")
    waiting = await late.shop.settled(ids[1])
    assert (waiting["partner_id"], waiting["flags"], waiting["needs_review"]) == (
        None,
        ["unbound-shop", "unknown-sku"],
        True,
    )
    shown = (await stack.get("order", "/v1/exceptions"))["orders"]
    causes = {each["code"]: each for each in shown if each["shop_id"] == late.shop.shop_id}
    assert set(causes) == {"unbound-shop", "unknown-sku"}
    assert causes["unknown-sku"]["subject"] == late.platform_sku
    assert causes["unbound-shop"]["examples"] == [waiting["order_id"]]
    assert late.shop.shop_id not in {e["shop_id"] for e in shown if e["shop_id"] == early.shop.shop_id}

    await late.bind()
    await late.register()
    await late.receive()
    await late.list_as(late.platform_sku)
    endings = [await _ending(early, ids[0]), await _ending(late, ids[1])]
    assert endings[0] == endings[1]
    assert endings[1]["cell"][:3] == [30_973, 949, 949]
    left = [
        e for e in (await stack.get("order", "/v1/exceptions"))["orders"] if e["shop_id"] == late.shop.shop_id
    ]
    assert left == []


async def test_the_other_platforms_end_in_the_same_ledger(stack: Deployment, trade: Make) -> None:
    """WooCommerce: 100.00 without tax. Generic: 80.00 − 9.20 tax + 5.00 that the platform pays for itself."""
    for platform, body, topic, basis, rebate in (
        ("woocommerce", woocommerce_order, "order.created", 10_000, 200),
        ("generic", generic_order, "", 7_580, 152),
    ):
        sold, number = await trade(platform), new_id()
        order_id: Any = f"SO/{number}" if platform == "generic" else number
        await sold.shop.sent(body(order_id, sold.sku), topic)
        await sold.agreed(order_id, basis, rebate)
        order = await sold.shop.order(order_id)
        assert await sold.holds(order) == [("1", "2", "0", "2", "0", "0", "0", "0")]


async def test_the_command_line_says_the_same(stack: Deployment, trade: Make) -> None:
    await stack.audit_clean()
    audit = qudao(stack.stack.data, "audit", "--json")
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert '"clean": true' in audit.stdout
    status = qudao(stack.stack.data, "status", "--json")
    assert status.returncode == 0, status.stdout + status.stderr
