"""Shopify refunds, inside an order and on their own topic."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from order_svc.order.values import Refund, RefundLine
from order_svc.platforms.contract import Documents, Ignored, Unreadable
from order_svc.platforms.shopify import ADAPTER

Load = Callable[[str], Any]


def refund(body: Any, now: datetime) -> Refund:
    documents = ADAPTER.normalise("refunds/create", json.dumps(body).encode(), now)
    assert isinstance(documents, Documents)
    (one,) = documents.refunds
    return one


def line(body: Any, index: int = 0) -> Any:
    return body["refund_line_items"][index]


def test_a_refund_inside_an_order_points_at_goods_and_freight(load: Load, now: datetime) -> None:
    documents = ADAPTER.normalise("orders/updated", json.dumps(load("shopify_order")).encode(), now)
    assert isinstance(documents, Documents)
    ((one,),) = (each.refunds for each in documents.orders)
    assert (one.external_id, one.platform_order_id, one.amount_minor) == (
        "900001",
        "7012345678901234567",
        11070,
    )
    # 80.00 + 10.40 for the goods and 15.80 for the freight; 4.50 more went back than they explain.
    assert one.lines == (
        RefundLine("15000000000000000001", Decimal(1), 9040, 1040, None, Decimal(1)),
        RefundLine("6100000001", Decimal(0), 1580, 80, 1500),
        RefundLine(None, Decimal(0), 450),
    )
    assert one.version == documents.orders[0].version
    assert one.reason == "dented tin"


def test_a_refund_on_its_own(load: Load, now: datetime) -> None:
    one = refund(load("shopify_refund"), now)
    assert (one.currency, one.amount_minor, one.detail, one.at_exact) == ("CNY", 7000, 1, True)
    assert one.at == datetime(2026, 2, 6, 4, 0, 1, tzinfo=UTC)
    assert one.lines == (
        RefundLine("15000000000000000002", Decimal(1), 6780, 780, None, Decimal(0)),
        RefundLine("6100000001", Decimal(0), 500, 0, 500),
        RefundLine(None, Decimal(0), -280),
    )


def test_without_transactions_lines_and_adjustments_say_the_amount(load: Load, now: datetime) -> None:
    body = load("shopify_refund")
    del body["transactions"]
    one = refund(body, now)
    assert one.amount_minor == 6780 + 500 - 280
    assert sum(part.amount_minor for part in one.lines) == one.amount_minor


def test_money_that_is_only_on_its_way_is_not_given_back_yet(load: Load, now: datetime) -> None:
    body = load("shopify_refund")
    body["transactions"] = [{"kind": "refund", "status": "pending", "amount": "72.80", "currency": "CNY"}]
    one = refund(body, now)
    assert one.amount_minor == 0
    assert one.lines[-1] == RefundLine(None, Decimal(0), -7280)


def test_a_transaction_in_the_buyers_currency_is_not_read_as_shop_money(load: Load, now: datetime) -> None:
    body = load("shopify_refund")
    body["transactions"] = [{"kind": "refund", "status": "success", "amount": "8.70", "currency": "EUR"}]
    assert refund(body, now).amount_minor == 7000
    body["transactions"][0]["amount_set"] = {"shop_money": {"amount": "66.00", "currency_code": "CNY"}}
    assert refund(body, now).amount_minor == 6600


def test_subtotals_that_hold_their_tax_are_told_by_the_money_given_back(load: Load, now: datetime) -> None:
    body = load("shopify_refund") | {"refund_shipping_lines": [], "order_adjustments": []}
    body["transactions"] = [{"kind": "refund", "status": "success", "amount": "60.00", "currency": "CNY"}]
    assert refund(body, now).lines == (
        RefundLine("15000000000000000002", Decimal(1), 6000, 780, None, Decimal(0)),
    )


@pytest.mark.parametrize(
    ("restock_type", "restock", "restocked"),
    [
        ("return", False, 1),
        ("cancel", False, 1),
        ("no_restock", True, 0),
        ("legacy_restock", True, 1),
        ("legacy_restock", False, 0),
        (None, True, 1),
        ("something_new", True, 0),
    ],
)
def test_restocked(
    load: Load, now: datetime, restock_type: str | None, restock: bool, restocked: int
) -> None:
    body = load("shopify_refund") | {"restock": restock}
    line(body)["restock_type"] = restock_type
    assert refund(body, now).lines[0].restocked == restocked


@pytest.mark.parametrize("transactions", [[], [{"kind": "void", "status": "success", "amount": "67.80"}]])
def test_an_unpaid_line_taken_off_is_no_refund(load: Load, now: datetime, transactions: Any) -> None:
    body = load("shopify_refund") | {
        "transactions": transactions,
        "refund_shipping_lines": [],
        "order_adjustments": [],
    }
    line(body)["restock_type"] = "cancel"
    answer = ADAPTER.normalise("refunds/create", json.dumps(body).encode(), now)
    assert answer == Ignored("refund-without-money")

    # Inside the order it is a removal, which the line then shows.
    order = load("shopify_order") | {"financial_status": "pending", "refunds": [body]}
    order["line_items"][1]["current_quantity"] = 0
    documents = ADAPTER.normalise("orders/edited", json.dumps(order).encode(), now)
    assert isinstance(documents, Documents)
    assert documents.orders[0].refunds == ()
    assert documents.orders[0].lines[1].removed == 1


def test_a_gift_of_money_names_no_line(load: Load, now: datetime) -> None:
    body = load("shopify_refund") | {"refund_line_items": [], "refund_shipping_lines": []}
    body["order_adjustments"] = [{"kind": "refund_discrepancy", "amount": "-70.00", "tax_amount": "0.00"}]
    assert refund(body, now).lines == (RefundLine(None, Decimal(0), 7000),)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"id": None}, "no-refund-id"),
        ({"order_id": None}, "no-order-id"),
        ({"processed_at": None, "created_at": "soon"}, "no-refund-time"),
        ({"refund_line_items": [{"quantity": -1}]}, "negative-quantity"),
        ({"refund_line_items": [{"quantity": 1, "subtotal": "x"}]}, "not-a-number"),
        ({"refund_line_items": [{}] * 2001}, "order-too-large"),
    ],
)
def test_unreadable(load: Load, now: datetime, change: dict[str, Any], code: str) -> None:
    with pytest.raises(Unreadable) as problem:
        refund(load("shopify_refund") | change, now)
    assert problem.value.code == code


def test_a_refund_must_say_its_currency_somewhere(load: Load, now: datetime) -> None:
    body = {"id": 1, "order_id": 2, "created_at": "2026-02-06T12:00:00Z", "refund_line_items": []}
    with pytest.raises(Unreadable) as problem:
        refund(body, now)
    assert problem.value.code == "currency-not-stated"


def test_an_order_under_a_refund_topic_is_not_guessed_at(load: Load, now: datetime) -> None:
    with pytest.raises(Unreadable) as problem:
        ADAPTER.normalise("refunds/create", json.dumps(load("shopify_order")).encode(), now)
    assert problem.value.code == "shape-does-not-match-topic"
