"""A signed order's way into the ledger, on a real PostgreSQL: recorded once, drained, posted, announced."""

import json
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest

Make = Callable[..., dict[str, Any]]
NUMBER = "820982911946154508"


async def test_a_paid_order_becomes_entries_that_add_up(shop: Any, order: Make) -> None:
    answer = await shop.post("orders/create", order())
    assert answer.status_code == 200, answer.text
    await shop.drain()
    by_kind = {(e["kind"], e["line_no"]): e["net_minor"] for e in await shop.entries(NUMBER)}
    assert by_kind == {("ordered", 1): 18000, ("ordered", 2): 1000, ("paid", 1): 18000, ("paid", 2): 1000}
    query = {"platform_order_id": "#1001", "shop_id": shop.shop_id}
    found = (await shop.http.get("/v1/orders", params=query)).json()["items"][0]
    assert found["net_sales_minor"] == 18000 - 2071
    assert found["flags"] == ["unbound-shop", "unknown-sku"]


async def test_every_order_of_arrival_ends_the_same(shop: Any, order: Make, refund: Make) -> None:
    moments: list[tuple[str, Callable[[int], dict[str, Any]]]] = [
        ("orders/create", lambda n: order(n, paid=False)),
        ("orders/paid", lambda n: order(n, updated="2026-03-02T10:05:00+08:00")),
        (
            "orders/fulfilled",
            lambda n: order(
                n, updated="2026-03-02T15:00:00+08:00", shipped=2, fulfillment_status="fulfilled"
            ),
        ),
        ("refunds/create", lambda n: refund(n)),
    ]
    results = []
    for number, arrival in enumerate(permutations(moments), start=1000):
        for topic, make in arrival:
            await shop.post(topic, make(number))
        await shop.drain()
        kept = ("line_no", "kind", "quantity", "net_minor", "tax_minor", "business_at", "origin_at")
        entries = await shop.entries(str(number))
        results.append(sorted(tuple(str(entry[name]) for name in kept) for entry in entries))
    assert all(result == results[0] for result in results)
    assert results[0][[r[1] for r in results[0]].index("returned")][:4] == ("1", "returned", "-1", "-9000")


async def test_a_refund_of_an_unknown_order_waits_shows_and_is_posted_when_the_order_comes(
    shop: Any, order: Make, refund: Make
) -> None:
    await shop.post("refunds/create", refund())
    await shop.drain()
    order_id = await shop.order_id(NUMBER)
    waiting = (await shop.http.get(f"/v1/orders/{order_id}")).json()
    assert (waiting["flags"], waiting["lifecycle"], waiting["lines"]) == (["refund-before-order"], None, [])
    causes = (await shop.http.get("/v1/exceptions")).json()["orders"]
    assert [cause["code"] for cause in causes if cause["shop_id"] == shop.shop_id] == ["refund-before-order"]
    assert await shop.rows("select 1 from outbox where aggregate_id = $1", order_id) == []
    await shop.post("orders/create", order(shipped=2))
    await shop.drain()
    assert "refunded" in {entry["kind"] for entry in await shop.entries(NUMBER)}


async def test_a_refund_for_another_shops_order_id_touches_its_own_shop_only(
    shop: Any, connect: Any, order: Make, refund: Make
) -> None:
    other = await connect("shopify")
    await shop.post("orders/create", order())
    await other.post("refunds/create", refund())
    await shop.drain()
    assert {entry["kind"] for entry in await shop.entries(NUMBER)} == {"ordered", "paid"}
    assert (await other.entries(NUMBER)) == []


async def test_announced_events_carry_the_entries_and_count_from_one(
    shop: Any, order: Make, refund: Make
) -> None:
    await shop.post("orders/create", order())
    await shop.drain()
    await shop.post("refunds/create", refund())
    await shop.drain()
    rows = await shop.rows(
        "select type, aggregate_version, payload::text as payload from outbox where aggregate_id = $1 order by id",
        await shop.order_id(NUMBER),
    )
    assert [(row.type.split(".")[2], row.aggregate_version) for row in rows] == [
        ("placed", 1),
        ("refunded", 2),
    ]
    first, second = (json.loads(row.payload)["data"]["entries"] for row in rows)
    assert [entry["kind"] for entry in first] == ["ordered", "ordered", "paid", "paid"]
    assert [entry["kind"] for entry in second] == ["cancelled", "refunded"]


async def test_more_than_two_hundred_entries_go_out_in_parts_with_consecutive_versions(
    connect: Any, generic: Make
) -> None:
    shop = await connect("generic")
    lines = [
        {
            "line_id": str(n),
            "kind": "product",
            "sku": f"SKU-{n}",
            "quantity": "1",
            "shipped": "1",
            "total": "1.00",
        }
        for n in range(150)
    ]
    await shop.post("", generic("MANY", total="150.00", lines=lines))
    await shop.drain()
    rows = await shop.rows(
        "select aggregate_version, payload::text as payload from outbox where aggregate_id = $1 order by id",
        await shop.order_id("MANY"),
    )
    parts = [json.loads(row.payload)["data"] for row in rows]
    assert [row.aggregate_version for row in rows] == [1, 2, 3]
    assert [len(part["entries"]) for part in parts] == [200, 200, 50]
    assert [len(part["transitions"]) > 0 for part in parts] == [True, False, False]
    assert len({entry["entry_id"] for part in parts for entry in part["entries"]}) == 450


async def test_a_snapshot_too_large_for_an_event_is_quarantined_by_name_and_its_neighbours_are_not(
    connect: Any, generic: Make
) -> None:
    shop = await connect("generic")
    lines = [
        {"line_id": str(n), "kind": "product", "sku": "茶" * 240 + str(n), "quantity": "1", "total": "1.00"}
        for n in range(1_500)
    ]
    await shop.post("", generic("BEFORE"))
    wide = json.dumps(generic("WIDE", total="1500.00", lines=lines), ensure_ascii=False).encode()
    await shop.post("", wide)
    await shop.post("", generic("AFTER"))
    await shop.drain()
    assert [(row.status, row.reason) for row in await shop.deliveries()] == [
        ("applied", None),
        ("quarantined", "order-too-large"),
        ("applied", None),
    ]


@pytest.mark.parametrize("amount", ["1000000000000000.00", "9999999999999.99"])
async def test_amounts_beyond_the_ledger_are_quarantined_by_name(
    connect: Any, generic: Make, amount: str
) -> None:
    shop = await connect("generic")
    line = {
        "line_id": "1",
        "kind": "product",
        "quantity": "1",
        "total": amount,
        "merchant_coupon": "-9999999999999.00",
    }
    await shop.post("", generic("HUGE", total=amount, lines=[line]))
    await shop.drain()
    [row] = await shop.deliveries()
    assert row.status == "quarantined"
    assert row.reason in ("number-out-of-range", "amount-out-of-bounds", "bad-value")
