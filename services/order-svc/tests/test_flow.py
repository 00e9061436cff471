"""A signed order's way into the ledger, on a real PostgreSQL: recorded once, drained, posted, announced."""

import json
from collections.abc import Callable
from itertools import permutations
from typing import Any

import httpx
import pytest

Make = Callable[..., dict[str, Any]]


async def _entries(
    http: httpx.AsyncClient, platform_order_id: str = "820982911946154508"
) -> list[dict[str, object]]:
    found = (await http.get("/v1/orders", params={"platform_order_id": platform_order_id})).json()["items"]
    assert len(found) == 1, found
    answer = await http.get(f"/v1/orders/{found[0]['order_id']}/entries")
    return [entry for entry in answer.json()["entries"] if entry["live"]]


async def test_a_paid_order_becomes_entries_that_add_up(shop: Any, order: Make, refund: Make) -> None:
    answer = await shop.post("orders/create", order())
    assert answer.status_code == 200, answer.text
    await shop.drain()
    entries = await _entries(shop.http)
    by_kind = {(e["kind"], e["line_no"]): e["net_minor"] for e in entries}
    assert by_kind == {("ordered", 1): 18000, ("ordered", 2): 1000, ("paid", 1): 18000, ("paid", 2): 1000}
    found = (await shop.http.get("/v1/orders", params={"platform_order_id": "#1001"})).json()["items"][0]
    assert found["net_sales_minor"] == 18000 - 2071
    assert found["flags"] == ["unbound-shop", "unknown-sku"]


async def test_the_same_body_again_changes_nothing(shop: Any, order: Make, refund: Make) -> None:
    for _ in range(5):
        assert (await shop.post("orders/create", order())).status_code == 200
        await shop.drain()
    assert len(await shop.rows("select 1 from delivery")) == 1
    assert len(await shop.rows("select 1 from ledger_entry")) == 4
    assert len(await shop.rows("select 1 from outbox")) == 1


async def test_every_order_of_arrival_ends_the_same(shop: Any, order: Make, refund: Make) -> None:
    moments = [
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
    for number, arrival in enumerate(permutations(moments)):
        for topic, make in arrival:
            await shop.post(topic, make(1000 + number))
            await shop.drain()
        entries = await _entries(shop.http, str(1000 + number))
        kept = ("line_no", "kind", "quantity", "net_minor", "tax_minor", "business_at", "origin_at")
        results.append(sorted(tuple(str(e[name]) for name in kept) for e in entries))
    assert all(result == results[0] for result in results)
    assert results[0][[r[1] for r in results[0]].index("returned")][:4] == ("1", "returned", "-1", "-9000")


async def test_a_refund_of_an_unknown_order_waits_and_shows(shop: Any, order: Make, refund: Make) -> None:
    await shop.post("refunds/create", refund())
    await shop.drain()
    found = (await shop.http.get("/v1/orders", params={"platform_order_id": "820982911946154508"})).json()[
        "items"
    ][0]
    assert found["flags"] == ["refund-before-order"]
    causes = (await shop.http.get("/v1/exceptions")).json()["orders"]
    assert [cause["code"] for cause in causes] == ["refund-before-order"]
    assert await shop.rows("select 1 from outbox") == []


async def test_announced_events_carry_the_entries(shop: Any, order: Make, refund: Make) -> None:
    await shop.post("orders/create", order())
    await shop.drain()
    [row] = await shop.rows("select type, aggregate_version, payload::text as payload from outbox")
    event = json.loads(row.payload)
    assert (row.type, row.aggregate_version) == ("channel.order.placed.v1", 1)
    assert [entry["kind"] for entry in event["data"]["entries"]] == ["ordered", "ordered", "paid", "paid"]


async def test_a_tampered_body_stores_nothing(shop: Any, order: Make, refund: Make) -> None:
    raw = json.dumps(order()).encode()
    answer = await shop.post("orders/create", raw)
    signature = answer.request.headers["x-shopify-hmac-sha256"]
    before = len(await shop.rows("select 1 from delivery"))
    refused = await shop.http.post(
        "/webhooks/shopify/main",
        content=raw.replace(b"190.00", b"190.01"),
        headers={"x-shopify-topic": "orders/create", "x-shopify-hmac-sha256": signature},
    )
    assert (refused.status_code, refused.json()["code"]) == (401, "signature-refused")
    assert len(await shop.rows("select 1 from delivery")) == before


async def test_poison_is_quarantined_and_answered_with_success(shop: Any, order: Make, refund: Make) -> None:
    assert (await shop.post("orders/create", b'{"id": 1, "line_items": [')).status_code == 200
    await shop.post("orders/create", order())
    await shop.drain()
    rows = await shop.rows("select status, reason from delivery order by delivery_id")
    assert [row.status for row in rows] == ["quarantined", "applied"]
    listed = (await shop.http.get("/v1/deliveries", params={"status": "quarantined"})).json()["items"]
    assert listed[0]["reason"] == rows[0].reason


@pytest.mark.parametrize(("size", "status"), [(2 * 1024 * 1024, 200), (2 * 1024 * 1024 + 1, 413)])
async def test_the_size_cap(shop: Any, size: int, status: int) -> None:
    assert (await shop.post("orders/create", b"[" + b" " * (size - 2) + b"]")).status_code == status
