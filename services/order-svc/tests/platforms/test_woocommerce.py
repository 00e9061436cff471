"""WooCommerce orders, embedded refunds and refund resources."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from order_svc.order.values import Components, Deletion, OrderDocument, RefundLine
from order_svc.platforms.contract import Documents, Ignored, Unreadable
from order_svc.platforms.woocommerce import ADAPTER, decoded_secret

Load = Callable[[str], Any]


def read(body: Any, now: datetime, topic: str = "order.updated") -> Documents | Ignored:
    return ADAPTER.normalise(topic, json.dumps(body).encode(), now)


def order(body: Any, now: datetime, topic: str = "order.updated") -> OrderDocument:
    documents = read(body, now, topic)
    assert isinstance(documents, Documents)
    (one,) = documents.orders
    return one


def test_lines_round_once_and_add_up_to_the_total(load: Load, now: datetime) -> None:
    document = order(load("woocommerce_order"), now)
    parts = {line.external_id: (line.line_kind, line.components) for line in document.lines}
    assert parts == {
        "31": ("product", Components(list_minor=7563, merchant_coupon_minor=-840, tax_minor=1277)),
        "32": ("product", Components(list_minor=630, tax_minor=120)),
        "33": ("freight", Components(freight_minor=412, tax_minor=78)),
        "34": ("fee", Components(list_minor=-500)),
        "35": ("fee", Components(list_minor=510)),
    }
    assert document.lines[1].ordered == Decimal("1.5")
    assert [line.platform_sku for line in document.lines][:2] == ["BLANKET-01", "4711"]
    assert document.flags == ("cod",)


def test_times_are_utc_and_completion_ships_all_goods(load: Load, now: datetime) -> None:
    document = order(load("woocommerce_order"), now)
    assert document.placed_at == datetime(2026, 1, 10, 17, 30, tzinfo=UTC)
    assert document.paid_at == datetime(2026, 1, 10, 17, 31, tzinfo=UTC)
    assert document.shipped_at == document.completed_at == datetime(2026, 1, 12, 8, tzinfo=UTC)
    assert [line.shipped for line in document.lines] == [Decimal(1), Decimal("1.5"), 0, 0, 0]
    assert (document.lifecycle, document.payment, document.fulfilment) == (
        "completed",
        "partially_refunded",
        "shipped",
    )
    assert document.paid_minor == 9250
    assert document.version == int(datetime(2026, 1, 14, 9, 0, 5, tzinfo=UTC).timestamp()) * 1_000_000


def test_refunds_are_bare_totals_and_complete(load: Load, now: datetime) -> None:
    document = order(load("woocommerce_order"), now)
    (refund,) = document.refunds
    assert (refund.external_id, refund.amount_minor, refund.detail, refund.at_exact) == (
        "5125",
        1250,
        0,
        False,
    )
    assert refund.at == datetime(2026, 1, 14, 9, 0, 5, tzinfo=UTC)
    assert document.refunds_complete is True
    without = load("woocommerce_order")
    del without["refunds"]
    assert order(without, now).refunds_complete is False


@pytest.mark.parametrize(
    ("change", "triple", "flags"),
    [
        ({"status": "pending", "date_paid_gmt": None}, ("open", "unpaid", "unfulfilled"), ()),
        ({"status": "on-hold", "date_paid_gmt": ""}, ("open", "unpaid", "unfulfilled"), ()),
        ({"status": "processing"}, ("open", "paid", "unfulfilled"), ()),
        ({"status": "wc-processing"}, ("open", "paid", "unfulfilled"), ()),
        (
            {"status": "processing", "date_paid_gmt": None},
            ("open", "paid", "unfulfilled"),
            ("paid-at-not-stated",),
        ),
        ({"status": "cancelled", "date_paid_gmt": None}, ("cancelled", "unpaid", "unfulfilled"), ()),
        ({"status": "failed", "date_paid_gmt": None}, ("cancelled", "unpaid", "unfulfilled"), ()),
        ({"status": "trash"}, ("cancelled", "paid", "unfulfilled"), ()),
        ({"status": "refunded"}, ("cancelled", "refunded", "unfulfilled"), ("refunds-not-stated",)),
        ({"status": "at-the-tailor"}, ("open", "paid", "unfulfilled"), ("status-unknown",)),
        ({"status": "completed"}, ("completed", "paid", "shipped"), ("shipped-at-not-stated",)),
    ],
)
def test_status(
    load: Load, now: datetime, change: dict[str, Any], triple: tuple[str, str, str], flags: tuple[str, ...]
) -> None:
    body = load("woocommerce_order") | {"date_completed_gmt": None, "refunds": [], "payment_method": "card"}
    document = order(body | change, now)
    assert (document.lifecycle, document.payment, document.fulfilment) == triple
    assert document.flags == flags
    assert document.source_status == change["status"]
    assert document.paid_minor == (9250 if document.payment != "unpaid" else 0)


def test_a_refunded_order_that_was_completed_stays_completed(load: Load, now: datetime) -> None:
    body = load("woocommerce_order") | {"status": "refunded", "refunds": [{"id": 1, "total": "-92.50"}]}
    document = order(body, now)
    assert (document.lifecycle, document.payment, document.fulfilment) == ("completed", "refunded", "shipped")
    assert document.flags == ("cod",)


@pytest.mark.parametrize("status", ["draft", "auto-draft", "checkout-draft"])
def test_drafts_are_no_orders(load: Load, now: datetime, status: str) -> None:
    body = load("woocommerce_order") | {"status": status, "line_items": [], "date_created_gmt": None}
    assert read(body, now) == Ignored("draft-order")


def test_numbers_as_text_and_text_as_numbers_read_alike(load: Load, now: datetime) -> None:
    other = load("woocommerce_order")
    other["id"], other["total"] = str(other["id"]), 92.5
    for line in other["line_items"]:
        line["id"], line["quantity"] = str(line["id"]), str(line["quantity"])
    other["line_items"][1]["sku"] = "4711"
    assert order(other, now) == order(load("woocommerce_order"), now)


def test_a_document_without_its_stamps(load: Load, now: datetime) -> None:
    document = order(load("woocommerce_order") | {"date_modified_gmt": None}, now)
    assert (document.version, document.refunds[0].version) == (0, 0)
    gmt = dict.fromkeys(("date_created_gmt", "date_paid_gmt", "date_completed_gmt", "date_modified_gmt"))
    local = order(load("woocommerce_order") | gmt, now)
    assert local.placed_at == datetime(2026, 1, 10, 18, 30, tzinfo=UTC)
    assert "time-zone-assumed" in local.flags


@pytest.mark.parametrize("wrap", [lambda o: o, lambda o: {"data": o}, lambda o: [o]])
@pytest.mark.parametrize("topic", ["", "order.created", "order.restored", "Order.Refunded"])
def test_wrappers_and_topics_read_alike(
    load: Load, now: datetime, topic: str, wrap: Callable[[Any], Any]
) -> None:
    assert order(wrap(load("woocommerce_order")), now, topic) == order(load("woocommerce_order"), now)


def test_deletion(load: Load, now: datetime) -> None:
    deletion = Deletion("9", int(now.timestamp()) * 1_000_000)
    assert read({"id": 9}, now, "order.deleted") == Documents(deletions=(deletion,))
    with pytest.raises(Unreadable) as problem:
        read(load("woocommerce_order"), now, "order.deleted")
    assert problem.value.code == "shape-does-not-match-topic"


@pytest.mark.parametrize("topic", ["product.updated", "customer.created", "coupon.deleted", "action.wc_x"])
def test_other_topics_are_ignored(load: Load, now: datetime, topic: str) -> None:
    assert read(load("woocommerce_order"), now, topic) == Ignored("topic-not-used")


def test_a_refund_resource_names_lines_and_freight(load: Load, now: datetime) -> None:
    documents = read(load("woocommerce_refund"), now, "")
    assert isinstance(documents, Documents)
    (refund,) = documents.refunds
    assert (refund.external_id, refund.platform_order_id, refund.amount_minor) == ("5125", "5120", 1250)
    assert (refund.detail, refund.at_exact) == (1, True)
    assert refund.lines == (
        RefundLine("32", Decimal("0.5"), 250, 40),
        RefundLine("33", Decimal(0), 490, 78, 412),
        RefundLine(None, Decimal(0), 510),
    )


def test_a_refund_resource_finds_its_order_in_its_links(load: Load, now: datetime) -> None:
    body = load("woocommerce_refund") | {"parent_id": 0}
    body["_links"] = {"up": [{"href": "https://shop.example.test/wp-json/wc/v3/orders/5120"}]}
    documents = read([body, body | {"id": 5126}], now, "")
    assert isinstance(documents, Documents)
    assert [(each.external_id, each.platform_order_id) for each in documents.refunds] == [
        ("5125", "5120"),
        ("5126", "5120"),
    ]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"currency": None}, "currency-not-stated"),
        ({"id": 0}, "no-refund-id"),
        ({"parent_id": None}, "no-order-id"),
        ({"date_created_gmt": None}, "no-refund-time"),
        ({"amount": "12,50"}, "not-a-number"),
    ],
)
def test_unreadable_refunds(load: Load, now: datetime, change: dict[str, Any], code: str) -> None:
    with pytest.raises(Unreadable) as problem:
        read(load("woocommerce_refund") | change, now, "")
    assert problem.value.code == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"id": 0}, "no-order-id"),
        ({"currency": "€"}, "unknown-currency"),
        ({"line_items": [{"quantity": "two"}]}, "not-a-number"),
        ({"line_items": [{"quantity": "-2"}]}, "negative-quantity"),
        ({"line_items": [{"quantity": float("inf")}]}, "not-json"),
        ({"date_modified_gmt": "1999-01-01T00:00:00"}, "time-out-of-range"),
        ({"line_items": [{}] * 2001}, "order-too-large"),
        ({"line_items": [{}] * 1990 + [{"id": 1}] * 11}, "order-too-large"),
    ],
)
def test_unreadable(load: Load, now: datetime, change: dict[str, Any], code: str) -> None:
    with pytest.raises(Unreadable) as problem:
        read(load("woocommerce_order") | change, now)
    assert problem.value.code == code


def test_a_line_below_zero_is_a_credit_not_a_sale(load: Load, now: datetime) -> None:
    body = load("woocommerce_order")
    body["line_items"][1].update(total="-6.30", subtotal="-6.30", total_tax="0")
    document = order(body, now)
    line = document.lines[1]
    assert (line.line_kind, line.components.net_minor) == ("fee", -630)
    assert line.shipped == 0


def test_the_secret_is_decoded_as_the_platform_does() -> None:
    assert decoded_secret("a&amp;b&lt;c&gt;&quot;&#039;&#x27;&apos;") == "a&b<c>\"'''"
    assert decoded_secret("&amp;lt; &copy; &eacute; &#65;") == "&lt; &copy; &eacute; &#65;"
