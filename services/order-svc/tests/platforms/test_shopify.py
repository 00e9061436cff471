"""Shopify orders: money by line, quantities, statuses, topics."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from order_svc.order.values import Components, Deletion, OrderDocument
from order_svc.platforms.contract import Documents, Ignored, Unreadable
from order_svc.platforms.shopify import ADAPTER

Load = Callable[[str], Any]


def read(body: Any, now: datetime, topic: str = "orders/updated") -> Documents | Ignored:
    return ADAPTER.normalise(topic, json.dumps(body).encode(), now)


def order(body: Any, now: datetime, topic: str = "orders/updated") -> OrderDocument:
    documents = read(body, now, topic)
    assert isinstance(documents, Documents)
    (one,) = documents.orders
    return one


def test_each_line_carries_its_bridge_from_list_to_net(load: Load, now: datetime) -> None:
    document = order(load("shopify_order"), now)
    parts = {line.external_id: (line.line_kind, line.components) for line in document.lines}
    assert parts == {
        "15000000000000000001": (
            "product",
            Components(list_minor=20000, promo_minor=-2000, merchant_coupon_minor=-2000, tax_minor=2080),
        ),
        "15000000000000000002": ("product", Components(list_minor=6000, tax_minor=780)),
        "line:3": ("gift_card", Components(list_minor=5000)),
        "6100000001": ("freight", Components(freight_minor=1500, tax_minor=80)),
        "tip": ("tip", Components(list_minor=500)),
    }
    assert document.flags == ()
    assert document.lines[0].components.net_sales_minor == 16000


def test_states_times_and_ids_come_from_stable_fields(load: Load, now: datetime) -> None:
    document = order(load("shopify_order"), now)
    assert (document.platform_order_id, document.number) == ("7012345678901234567", "#LN-2041")
    assert (document.lifecycle, document.payment, document.fulfilment) == (
        "open",
        "partially_refunded",
        "partial",
    )
    assert document.paid_minor == 31940
    assert document.placed_at == document.paid_at == datetime(2026, 2, 3, 2, 15, tzinfo=UTC)
    assert document.shipped_at == datetime(2026, 2, 4, 0, 0, tzinfo=UTC)
    assert document.version == int(datetime(2026, 2, 5, 1, tzinfo=UTC).timestamp()) * 1_000_000
    assert document.refunds_complete is False


def test_quantities_shipped_and_removed(load: Load, now: datetime) -> None:
    body = load("shopify_order")
    body["line_items"][1].update(quantity=3, current_quantity=1)
    first, second, *_ = order(body, now).lines
    # One of the first was refunded, which explains its current quantity; two of the second were edited off.
    assert (first.ordered, first.shipped, first.removed) == (Decimal(2), Decimal(2), Decimal(0))
    assert (second.ordered, second.shipped, second.removed) == (Decimal(3), Decimal(0), Decimal(2))


@pytest.mark.parametrize(
    ("change", "shipped"),
    [
        ({"fulfillment_status": "fulfilled"}, ["2", "1"]),
        ({"fulfillment_status": None}, ["2", "0"]),
        ({"fulfillment_status": "partial"}, ["2", "0"]),
    ],
)
def test_without_fulfilments_the_statuses_say_what_left(
    load: Load, now: datetime, change: dict[str, Any], shipped: list[str]
) -> None:
    body = load("shopify_order") | {"fulfillments": []} | change
    document = order(body, now)
    assert [str(line.shipped) for line in document.lines if line.line_kind == "product"] == shipped
    assert document.shipped_at is None
    assert "shipped-at-not-stated" in document.flags


@pytest.mark.parametrize(
    ("status", "outstanding", "payment", "paid"),
    [
        ("pending", None, "unpaid", 0),
        ("authorized", None, "authorized", 0),
        ("partially_paid", "100.40", "partially_paid", 21900),
        ("partially_paid", None, "partially_paid", 0),
        ("paid", None, "paid", 31940),
        ("refunded", "0.00", "refunded", 31940),
        ("voided", None, "voided", 0),
        ("expired", None, "voided", 0),
        ("PAID", None, "paid", 31940),
        ("on_the_moon", None, "unpaid", 0),
    ],
)
def test_payment(
    load: Load, now: datetime, status: str, outstanding: str | None, payment: str, paid: int
) -> None:
    body = load("shopify_order") | {"financial_status": status, "total_outstanding": outstanding}
    document = order(body, now)
    assert (document.payment, document.paid_minor) == (payment, paid)
    assert ("payment-status-unknown" in document.flags) == (status == "on_the_moon")
    assert (document.paid_at is None) == (paid == 0)


def test_what_was_edited_off_before_payment_was_never_paid(load: Load, now: datetime) -> None:
    body = load("shopify_order") | {
        "financial_status": "paid",
        "refunds": [],
        "current_total_price": "219.00",
    }
    assert order(body, now).paid_minor == 21900


def test_a_total_that_the_lines_do_not_explain(load: Load, now: datetime) -> None:
    document = order(load("shopify_order") | {"total_price": "300.00"}, now)
    adjustment = document.lines[-1]
    assert (adjustment.external_id, adjustment.line_kind, adjustment.ordered) == (
        "adjustment",
        "adjustment",
        Decimal(1),
    )
    assert adjustment.components == Components(list_minor=-1940)
    assert document.flags == ("totals-mismatch",)


def test_prices_that_include_tax_keep_the_tax_inside(load: Load, now: datetime) -> None:
    body = load("shopify_order") | {"taxes_included": True, "total_price": "290.00"}
    first, *_ = order(body, now).lines
    assert first.components.net_minor == 16000
    assert first.components.tax_minor == 2080
    assert first.components.list_minor == 17920


def test_a_tax_that_only_the_header_states_is_split(load: Load, now: datetime) -> None:
    body = load("shopify_order")
    for line in body["line_items"] + body["shipping_lines"]:
        line["tax_lines"] = []
    document = order(body, now)
    assert [line.components.tax_minor for line in document.lines] == [2002, 750, 0, 188, 0]
    assert sum(line.components.net_minor for line in document.lines) == 31940
    assert document.flags == ("tax-apportioned",)


def test_old_discounts_duties_fees_and_a_tip_line(load: Load, now: datetime) -> None:
    body = load("shopify_order")
    body["line_items"][1]["total_discount"] = "6.00"
    body["line_items"][1]["duties"] = [{"id": 4, "price": "3.00", "tax_lines": [{"price": "0.30"}]}]
    body["line_items"][2] = body["line_items"][2] | {
        "gift_card": False,
        "tip": {"payment_gateway": "x"},
        "price": "5.00",
    }
    body["original_total_additional_fees_set"] = {"shop_money": {"amount": "1.50", "currency_code": "CNY"}}
    body["shipping_lines"][0]["discounted_price"] = "10.00"
    kinds = [(line.line_kind, line.components.net_minor) for line in order(body, now).lines]
    assert kinds == [
        ("product", 18080),
        ("product", 6180),
        ("fee", 330),
        ("tip", 500),
        ("freight", 1080),
        ("fee", 150),
        ("adjustment", 5620),
    ]


def test_amounts_fall_back_to_the_shop_side_of_a_set(load: Load, now: datetime) -> None:
    body = load("shopify_order")
    del body["line_items"][0]["price"]
    assert order(body, now).lines[0].components.list_minor == 20000


def test_duplicate_line_ids_are_told_apart_in_order(load: Load, now: datetime) -> None:
    body = load("shopify_order")
    for line in body["line_items"]:
        line["id"] = 5
    assert [line.external_id for line in order(body, now).lines][:3] == ["5", "5#2", "5#3"]


@pytest.mark.parametrize(
    ("topic", "change", "reason"),
    [
        ("orders/create", {"test": True}, "test-order"),
        ("products/update", {}, "topic-not-used"),
        ("fulfillments/create", {}, "topic-not-used"),
        ("carts/update", {}, "topic-not-used"),
        ("customers/redact", {}, "topic-not-used"),
        ("draft_orders/create", {}, "topic-not-used"),
        ("order_transactions/create", {}, "topic-not-used"),
        ("app/uninstalled", {}, "topic-not-used"),
    ],
)
def test_ignored(load: Load, now: datetime, topic: str, change: dict[str, Any], reason: str) -> None:
    assert read(load("shopify_order") | change, now, topic) == Ignored(reason)


@pytest.mark.parametrize(
    ("topic", "body", "reason"),
    [
        ("orders/edited", {"order_edit": {"order_id": 1}}, "topic-not-used"),
        ("orders/risk_assessment_changed", {"order_id": 1, "provider_id": 2}, "topic-not-used"),
        ("", {"id": 1}, "shape-not-known"),
        ("", {"checkouts": [{"id": 1}]}, "shape-not-known"),
        ("", [{"id": 1, "kind": "authorization"}], "shape-not-known"),
    ],
)
def test_bodies_that_are_no_orders(now: datetime, topic: str, body: Any, reason: str) -> None:
    assert read(body, now, topic) == Ignored(reason)


@pytest.mark.parametrize("topic", ["", "orders/create", "ORDERS_CREATE", "orders/partially_refunded"])
@pytest.mark.parametrize(
    "wrap", [lambda o: o, lambda o: {"order": o}, lambda o: [o], lambda o: {"orders": [o]}]
)
def test_wrappers_and_topics_read_alike(
    load: Load, now: datetime, topic: str, wrap: Callable[[Any], Any]
) -> None:
    assert order(wrap(load("shopify_order")), now, topic) == order(load("shopify_order"), now)


def test_a_list_gives_every_order_and_leaves_test_orders_out(load: Load, now: datetime) -> None:
    one, two = load("shopify_order"), load("shopify_order") | {"id": 2, "test": True}
    documents = read([one, two, load("shopify_order") | {"id": 3}], now)
    assert isinstance(documents, Documents)
    assert [each.platform_order_id for each in documents.orders] == ["7012345678901234567", "3"]


def test_a_deletion_is_an_id_alone(load: Load, now: datetime) -> None:
    micros = int(now.timestamp()) * 1_000_000
    assert read({"id": 7}, now, "orders/delete") == Documents(deletions=(Deletion("7", micros),))
    with pytest.raises(Unreadable) as problem:  # the topic is not signed: a real order must not delete itself
        read(load("shopify_order"), now, "orders/delete")
    assert problem.value.code == "shape-does-not-match-topic"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"id": None}, "no-order-id"),
        ({"id": 1.5}, "bad-id"),
        ({"id": "x" * 256}, "id-too-long"),
        ({"currency": None}, "unknown-currency"),
        ({"currency": "XXX"}, "unknown-currency"),
        ({"total_price": "a lot"}, "not-a-number"),
        ({"total_price": True}, "not-a-number"),
        ({"total_price": "1e16"}, "number-out-of-range"),
        ({"total_price": "9" * 5000}, "number-out-of-range"),
        ({"updated_at": "1970-01-01T00:00:00Z"}, "time-out-of-range"),
        ({"updated_at": "9999-12-31T23:59:59Z"}, "time-out-of-range"),
        ({"name": "a\u0000b"}, "nul-in-text"),
        ({"name": "a\ud800b"}, "lone-surrogate"),
        ({"line_items": {"x": 1}}, "not-a-list"),
        ({"line_items": [1]}, "not-an-object"),
        ({"line_items": [{"quantity": "1e15", "price": "1"}]}, "number-out-of-range"),
        ({"line_items": [{"quantity": -1, "price": "1"}]}, "negative-quantity"),
        ({"line_items": [{}] * 2001}, "order-too-large"),
        (
            {"created_at": "yesterday", "processed_at": None, "updated_at": "2026-02-03"},
            "no-order-time",
        ),
    ],
)
def test_unreadable(load: Load, now: datetime, change: dict[str, Any], code: str) -> None:
    with pytest.raises(Unreadable) as problem:
        read(load("shopify_order") | change, now)
    assert problem.value.code == code


def test_a_document_without_lines_is_partial_and_must_not_replace_a_full_one(
    load: Load, now: datetime
) -> None:
    body = load("shopify_order")
    del body["line_items"]
    with pytest.raises(Unreadable) as problem:
        read(body, now)
    assert problem.value.code == "lines-not-stated"


def test_currencies_without_and_with_three_decimals(load: Load, now: datetime) -> None:
    line = {"id": 1, "quantity": 3, "price": "333.5"}
    body = load("shopify_order") | {"line_items": [line], "shipping_lines": [], "total_tip_received": None}
    body |= {"total_price": "1000.5", "total_tax": None, "refunds": []}
    yen = order(body | {"currency": "JPY"}, now)
    assert [each.components.net_minor for each in yen.lines] == [1000]  # half to even, once
    dinar = order(body | {"currency": "KWD"}, now)
    assert [each.components.net_minor for each in dinar.lines] == [1000500]


@pytest.mark.parametrize(
    ("status", "sent", "fulfilment"),
    [
        ("restocked", True, "returned"),
        ("restocked", False, "unfulfilled"),
        ("in_progress", True, "partial"),
        (None, True, "partial"),
        (None, False, "unfulfilled"),
        ("on_hold", True, "on_hold"),
        ("fulfilled", True, "shipped"),
    ],
)
def test_fulfilment(load: Load, now: datetime, status: str | None, sent: bool, fulfilment: str) -> None:
    body = load("shopify_order") | {"fulfillment_status": status}
    if not sent:
        body["line_items"][0]["fulfillment_status"] = None
        body["fulfillments"] = []
    assert order(body, now).fulfilment == fulfilment


def test_goods_that_all_left_are_shipped_whatever_the_word(load: Load, now: datetime) -> None:
    body = load("shopify_order") | {"fulfillment_status": "a new word"}
    body["line_items"] = body["line_items"][:1]
    assert order(body, now).fulfilment == "shipped"


def test_cancelled_and_closed(load: Load, now: datetime) -> None:
    at = "2026-02-06T00:00:00-00:00"
    assert order(load("shopify_order") | {"closed_at": at}, now).lifecycle == "completed"
    cancelled = order(load("shopify_order") | {"closed_at": at, "cancelled_at": at}, now)
    assert (cancelled.lifecycle, cancelled.cancelled_at) == ("cancelled", datetime(2026, 2, 6, tzinfo=UTC))
