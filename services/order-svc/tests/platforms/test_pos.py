"""Rows of a point-of-sale file: receipts, returns, verdicts, reprocessing."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from order_svc.order.values import Components, RefundLine
from order_svc.platforms.contract import Documents, Ignored, Unreadable
from order_svc.platforms.pos import ADAPTER, Row, Upload, encode_receipt, rows_to_documents

ZONE = "Asia/Shanghai"


def row(**change: str) -> Row:
    return {
        "store": "S01",
        "business_date": "2026-02-01",
        "time": "21:05",
        "terminal": "T3",
        "receipt": "000412",
        "line": "1",
        "sku": "TEA-01",
        "title": "茶",
        "quantity": "2",
        "unit_price": "30.00",
        "discount": "6.00",
        "tax": "6.21",
        "total": "54.00",
        "currency": "CNY",
        "payment": "cash",
    } | change


def upload(*rows: Row, now: datetime, currency: str = "") -> Upload:
    return rows_to_documents(rows, time_zone=ZONE, received_at=now, currency=currency)


def test_a_receipt_is_paid_shipped_and_finished_at_its_own_time(now: datetime) -> None:
    result = upload(row(), row(line="2", sku="CUP", quantity="0.5", total="", discount="", tax=""), now=now)
    assert result.verdicts == ("ok", "ok")
    (receipt,) = result.receipts
    assert (receipt.store, receipt.platform_order_id, receipt.rows) == ("S01", "2026-02-01/T3/000412", (0, 1))
    (order,) = receipt.documents.orders
    at = datetime(2026, 2, 1, 13, 5, tzinfo=UTC)
    assert order.placed_at == order.paid_at == order.shipped_at == order.completed_at == at
    assert (order.lifecycle, order.payment, order.fulfilment) == ("completed", "paid", "shipped")
    assert [line.components for line in order.lines] == [
        Components(list_minor=5379, merchant_coupon_minor=-600, tax_minor=621),
        Components(list_minor=1500),
    ]
    assert [(line.ordered, line.shipped) for line in order.lines] == [
        (2, 2),
        (Decimal("0.5"), Decimal("0.5")),
    ]
    assert (order.paid_minor, order.tax_included, order.flags) == (6900, True, ())


def test_rows_of_many_receipts_may_be_interleaved(now: datetime) -> None:
    rows = [row(), row(receipt="2"), row(line="2"), row(store="S02"), row(business_date="20260202")]
    result = upload(*rows, now=now)
    assert [(each.store, each.platform_order_id, each.rows) for each in result.receipts] == [
        ("S01", "2026-02-01/T3/000412", (0, 2)),
        ("S01", "2026-02-01/T3/2", (1,)),
        ("S02", "2026-02-01/T3/000412", (3,)),
        ("S01", "2026-02-02/T3/000412", (4,)),
    ]


def test_the_stored_body_reads_again_to_the_same_documents(now: datetime) -> None:
    (receipt,) = upload(row(), row(line="2"), now=now).receipts
    later = now + timedelta(days=9)
    for topic in ("receipt", ""):
        assert ADAPTER.normalise(topic, receipt.raw, later) == receipt.documents
    assert ADAPTER.normalise("orders/create", receipt.raw, later) == Ignored("topic-not-used")


def test_a_later_upload_wins_unless_the_file_counts_revisions(now: datetime) -> None:
    def version(at: datetime, **change: str) -> int:
        (receipt,) = upload(row(**change), now=at).receipts
        return receipt.documents.orders[0].version

    assert version(now + timedelta(seconds=1)) > version(now) > 0
    assert version(now, revision="3") == version(now + timedelta(days=1), revision="3") == 3


def test_a_return_is_a_refund_of_the_receipt_it_was_sold_on(now: datetime) -> None:
    back = {"quantity": "-1", "total": "-27.00", "tax": "-3.10", "original_line": "1"}
    rows = [
        row(receipt="900", line="1", original_receipt="000412", **back),
        row(receipt="900", line="2", original_receipt="2026-01-31/T1/77", **back | {"total": ""}),
        row(receipt="900", line="3", sku="CUP"),
    ]
    result = upload(*rows, now=now)
    assert result.verdicts == ("ok", "ok", "ok")
    (receipt,) = result.receipts
    assert [order.platform_order_id for order in receipt.documents.orders] == ["2026-02-01/T3/900"]
    assert [(each.platform_order_id, each.amount_minor) for each in receipt.documents.refunds] == [
        ("2026-02-01/T3/000412", 2700),
        ("2026-01-31/T1/77", 2400),  # 1 × 30.00 less the discount of 6.00
    ]
    first = receipt.documents.refunds[0]
    assert first.lines == (RefundLine("1", Decimal(1), 2700, 310, None, Decimal(1)),)
    assert len({each.external_id for each in receipt.documents.refunds}) == 2
    assert first.at == datetime(2026, 2, 1, 13, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"business_date": "01/02/2026"}, "bad-date"),
        ({"business_date": "2026-02-30"}, "bad-date"),
        ({"business_date": "1970-01-01"}, "time-out-of-range"),
        ({"business_date": ""}, "bad-date"),
        ({"time": "25:00"}, "bad-time"),
        ({"time": "noon"}, "bad-time"),
        ({"terminal": " "}, "receipt-not-stated"),
        ({"receipt": ""}, "receipt-not-stated"),
        ({"receipt": "9" * 256}, "id-too-long"),
        ({"receipt": "9" * 250}, "id-too-long"),
        ({"quantity": ""}, "quantity-not-stated"),
        ({"quantity": "0"}, "quantity-not-stated"),
        ({"quantity": "two"}, "not-a-number"),
        ({"quantity": "２"}, "not-a-number"),
        ({"quantity": "1e15"}, "number-out-of-range"),
        ({"total": "", "unit_price": ""}, "amount-not-stated"),
        ({"total": "54,00"}, "not-a-number"),
        ({"total": "-54.00"}, "negative-amount"),
        ({"total": "1e20"}, "number-out-of-range"),
        ({"tax": "x"}, "not-a-number"),
        ({"discount": "x"}, "not-a-number"),
        ({"title": "a\x00"}, "nul-in-text"),
        ({"revision": "1.5"}, "bad-revision"),
        ({"quantity": "-1"}, "return-without-original"),
        ({"quantity": "-1", "original_receipt": "7"}, "return-without-original-line"),
        ({"currency": ""}, "currency-not-stated"),
        ({"currency": "RMB"}, "unknown-currency"),
    ],
)
def test_verdicts(now: datetime, change: dict[str, str], verdict: str) -> None:
    result = upload(row(**change), row(receipt="2"), now=now)
    assert result.verdicts == (verdict, "ok")
    assert [each.platform_order_id for each in result.receipts] == ["2026-02-01/T3/2"]


def test_a_receipt_is_taken_whole_or_not_at_all(now: datetime) -> None:
    result = upload(row(), row(line="2", total="x"), row(line="3"), now=now)
    assert result.verdicts == ("receipt-refused", "not-a-number", "receipt-refused")
    assert result.receipts == ()
    mixed = upload(row(), row(line="2", currency="JPY"), now=now)
    assert mixed.verdicts == ("several-currencies", "several-currencies")


def test_a_default_currency_and_a_missing_time(now: datetime) -> None:
    (receipt,) = upload(row(currency="", time=""), now=now, currency="CNY").receipts
    (order,) = receipt.documents.orders
    assert order.placed_at == datetime(2026, 2, 1, 4, 0, tzinfo=UTC)
    assert order.flags == ("time-not-stated",)


def test_lines_without_a_number_are_told_apart_by_position(now: datetime) -> None:
    (receipt,) = upload(row(line=""), row(line=""), now=now).receipts
    assert [line.external_id for line in receipt.documents.orders[0].lines] == ["line:1", "line:2"]


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../../etc/passwd", "a\x00b", "x" * 5000])
def test_an_unknown_zone(now: datetime, zone: str) -> None:
    result = rows_to_documents([row()], time_zone=zone, received_at=now)
    assert result.receipts == ()
    assert result.verdicts[0] in {"unknown-time-zone", "nul-in-text"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[]", "not-an-object"),
        (b"{}", "no-rows"),
        (b'{"rows": 1}', "not-a-list"),
        (b'{"rows": [{}]}', "bad-date"),
    ],
)
def test_bodies_that_are_no_receipt(now: datetime, body: bytes, code: str) -> None:
    with pytest.raises(Unreadable) as problem:
        ADAPTER.normalise("receipt", body, now)
    assert problem.value.code == code


def test_a_body_of_two_receipts_is_refused(now: datetime) -> None:
    raw = encode_receipt([row(), row(receipt="2")], time_zone=ZONE, received_at=now)
    with pytest.raises(Unreadable) as problem:
        ADAPTER.normalise("receipt", raw, now)
    assert problem.value.code == "several-receipts"


def test_unknown_columns_do_not_change_the_body(now: datetime) -> None:
    plain: Any = encode_receipt([row()], time_zone=ZONE, received_at=now)
    assert plain == encode_receipt([row(cashier="Li")], time_zone=ZONE, received_at=now)
    assert isinstance(ADAPTER.normalise("receipt", plain, now), Documents)
