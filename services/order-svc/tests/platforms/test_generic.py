"""The published contract: what a document becomes, what is refused and where."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from order_svc.order.values import Components, Deletion, OrderDocument, Refund, RefundLine
from order_svc.platforms.contract import Documents, Ignored, Unreadable
from order_svc.platforms.generic import ADAPTER

Load = Callable[[str], Any]


def read(body: Any, now: datetime) -> Documents | Ignored:
    return ADAPTER.normalise("", json.dumps(body).encode(), now)


def order(body: Any, now: datetime) -> OrderDocument:
    documents = read(body, now)
    assert isinstance(documents, Documents)
    (one,) = documents.orders
    return one


def refusal(body: Any, now: datetime) -> tuple[str, str]:
    with pytest.raises(Unreadable) as problem:
        read(body, now)
    return problem.value.code, problem.value.detail.partition(": ")[0]


def test_an_order(load: Load, now: datetime) -> None:
    document = order(load("generic_order"), now)
    goods, freight, fee = document.lines
    assert goods.components == Components(
        list_minor=27000,
        promo_minor=-3000,
        platform_coupon_minor=-1200,
        merchant_coupon_minor=-2000,
        tax_minor=1200,
    )
    assert goods.components.net_sales_minor == 22000
    assert (goods.ordered, goods.shipped, goods.removed) == (Decimal(3), Decimal(2), Decimal(0))
    assert (goods.platform_sku, goods.title) == ("SKU-红茶-01", "红茶")
    assert freight.components == Components(freight_minor=940, tax_minor=60)
    assert fee.components == Components(platform_fee_minor=-1150)
    assert (document.paid_minor, document.version, document.version_text) == (23000, 4, "4")
    assert document.shipped_at == datetime(2026, 3, 1, 10, 0, 0, 250_000, tzinfo=UTC)
    assert document.flags == ()


def test_platform_fees_are_no_part_of_the_buyers_total(load: Load, now: datetime) -> None:
    body = load("generic_order")
    body["data"]["lines"][0] |= {"list": "282.00"}
    del body["data"]["lines"][0]["platform_coupon"]
    document = order(body, now)
    assert [line.line_kind for line in document.lines] == ["product", "freight", "platform_fee"]
    assert sum(line.components.net_minor for line in document.lines) == 23000 - 1150
    assert document.flags == ("line-mismatch",)


def test_a_refund_inside_an_order_and_on_its_own(load: Load, now: datetime) -> None:
    (inside,) = order(load("generic_order"), now).refunds
    assert inside == Refund(
        "R-1",
        "SO-2026/000117",
        "CNY",
        6000,
        datetime(2026, 3, 2, 4, tzinfo=UTC),
        (RefundLine("1", Decimal(1), 5500, 300, None, Decimal(1)), RefundLine(None, Decimal(0), 500)),
        version=4,
        reason="late",
    )
    documents = read(load("generic_refund"), now)
    assert isinstance(documents, Documents)
    (alone,) = documents.refunds
    assert alone.lines == (RefundLine("2", Decimal(0), 1000, 60, 940), RefundLine(None, Decimal(0), 1000))
    assert alone.version % 1_000_000 == 123_456


def test_a_deletion_counts_by_the_senders_own_version_where_there_is_one(load: Load, now: datetime) -> None:
    body = load("generic_order_deleted")
    assert read(body, now) == Documents(deletions=(Deletion("SO-2026/000117", 9),))
    del body["data"]["sequence"]
    micros = int(now.timestamp()) * 1_000_000
    assert read(body, now) == Documents(deletions=(Deletion("SO-2026/000117", micros),))


@pytest.mark.parametrize(
    ("change", "paid", "at"),
    [
        ({"payment": "unpaid", "paid": None}, 0, None),
        ({"payment": "paid", "paid": None}, 23000, "stated"),
        ({"payment": "partially_paid", "paid": "0.005"}, 0, "stated"),
        ({"payment": "partially_paid", "paid": "0.015"}, 2, "stated"),
        ({"payment": "paid", "paid": None, "paid_at": None}, 23000, "placed"),
    ],
)
def test_paid(load: Load, now: datetime, change: dict[str, Any], paid: int, at: str | None) -> None:
    body = load("generic_order")
    body["data"] |= change
    document = order(body, now)
    assert document.paid_minor == paid
    assert ("paid-at-not-stated" in document.flags) == (at == "placed")
    assert (document.paid_at == document.placed_at) == (at == "placed")


def test_other_types_and_drafts_are_ignored(load: Load, now: datetime) -> None:
    assert read(load("generic_order") | {"type": "qudao.order.v2"}, now) == Ignored("type-not-used")
    draft = load("generic_order")
    draft["data"]["lifecycle"] = "draft"
    assert read(draft, now) == Ignored("draft-order")


REMOVED = object()


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        ("/type", REMOVED, "missing-field"),
        ("/timestamp", REMOVED, "missing-field"),
        ("/timestamp", "2026-03-01T02:00:05", "bad-value"),
        ("/timestamp", "2026-02-30T02:00:05Z", "bad-value"),
        ("/data", [], "wrong-type"),
        ("/data/order_id", None, "missing-field"),
        ("/data/order_id", 7, "wrong-type"),
        ("/data/order_id", " ", "bad-value"),
        ("/data/order_id", "x" * 256, "bad-value"),
        ("/data/order_id", "a\u0000", "nul-in-text"),
        ("/data/currency", "cny", "bad-value"),
        ("/data/currency", "ＣＮＹ", "bad-value"),
        ("/data/total", 230, "wrong-type"),
        ("/data/total", "230,00", "bad-value"),
        ("/data/total", "1e3", "bad-value"),
        ("/data/total", "+1", "bad-value"),
        ("/data/total", " 1", "bad-value"),
        ("/data/total", "１", "bad-value"),
        ("/data/total", "1\n", "bad-value"),
        ("/data/paid", "-1", "bad-value"),
        ("/data/sequence", 0, "bad-value"),
        ("/data/sequence", 2**63, "bad-value"),
        ("/data/sequence", 1.0, "wrong-type"),
        ("/data/sequence", True, "wrong-type"),
        ("/data/sequence", "4", "wrong-type"),
        ("/data/lifecycle", "Open", "bad-value"),
        ("/data/payment", "free", "bad-value"),
        ("/data/fulfilment", 1, "wrong-type"),
        ("/data/tax_included", "true", "wrong-type"),
        ("/data/placed_at", 1772366400, "wrong-type"),
        ("/data/placed_at", "1970-01-01T00:00:00Z", "time-out-of-range"),
        ("/data/lines", REMOVED, "missing-field"),
        ("/data/lines", {}, "wrong-type"),
        ("/data/lines/1", "x", "wrong-type"),
        ("/data/lines/0/kind", "lottery", "bad-value"),
        ("/data/lines/0/quantity", "-1", "bad-value"),
        ("/data/lines/0/quantity", "1.0000001", "bad-value"),
        ("/data/lines/0/removed", "4", "bad-value"),
        ("/data/lines/0/promotion", "30.00", "bad-value"),
        ("/data/lines/0/total", "-0.01", "bad-value"),
        ("/data/lines/2/total", "11.50", "bad-value"),
        ("/data/refunds/0/amount", "-60.00", "bad-value"),
        ("/data/refunds/0/at", REMOVED, "missing-field"),
        ("/data/refunds/0/lines/0/quantity", REMOVED, "missing-field"),
    ],
)
def test_refusals_point_at_the_field(load: Load, now: datetime, path: str, value: Any, code: str) -> None:
    body = load("generic_order")
    *parents, last = [int(step) if step.isdigit() else step for step in path.split("/")[1:]]
    target = body
    for step in parents:
        target = target[step]
    if value is REMOVED:
        del target[last]
    else:
        target[last] = value
    assert refusal(body, now) == (code, path)


def test_a_part_payment_must_say_how_much(load: Load, now: datetime) -> None:
    body = load("generic_order")
    body["data"] |= {"payment": "partially_paid", "paid": None}
    assert refusal(body, now) == ("missing-field", "/data/paid")


@pytest.mark.parametrize("body", [[], "x", 1, None, True])
def test_a_body_that_is_no_object(now: datetime, body: Any) -> None:
    with pytest.raises(Unreadable) as problem:
        read(body, now)
    assert problem.value.code == "not-an-object"


def test_too_many_lines(load: Load, now: datetime) -> None:
    body = load("generic_order")
    body["data"]["lines"] = [body["data"]["lines"][0]] * 2001
    assert refusal(body, now) == ("order-too-large", "/data/lines")
