"""Golden entries, worked out by hand, and the corners where platforms' facts do not fit."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import count
from uuid import UUID

import pytest
from msgspec.structs import replace

from order_svc.ledger.rules import Book, Facts, post
from order_svc.ledger.values import Entry, Wanted
from order_svc.order.values import Components, Line, OrderDocument, Refund, RefundLine

PLACED = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
PAID = PLACED + timedelta(minutes=5)
LATER = PLACED + timedelta(days=3)
ORDER = UUID(int=1)
ONE = Decimal(1)


def line(
    name: str, net: int, ordered: int = 1, *, kind: str = "product", shipped: int = 0, removed: int = 0
) -> Line:
    part = {"freight": "freight_minor", "platform_fee": "platform_fee_minor"}.get(kind, "list_minor")
    return Line(
        name,
        kind,
        Decimal(ordered),
        Components(**{part: net}),
        platform_sku=f"sku-{name}",
        shipped=Decimal(shipped),
        removed=Decimal(removed),
    )


def order(*lines: Line, paid: int | None = None, **stated: object) -> OrderDocument:
    total = sum(each.components.net_minor for each in lines if each.line_kind != "platform_fee")
    document = OrderDocument(
        "9", "CNY", 1, "open", "paid", "unfulfilled", PLACED, lines, total if paid is None else paid, PAID
    )
    return replace(document, **stated)


def refund(amount: int, *lines: RefundLine, at: datetime = LATER, name: str = "r") -> Refund:
    return Refund(name, "9", "CNY", amount, at, lines)


def rows(
    document: OrderDocument, *refunds: Refund, **known: object
) -> list[tuple[int, str, Decimal | int, int]]:
    book = Book(Facts(document, refunds, **known))  # type: ignore[arg-type]
    return [(row.line_no, row.kind, row.quantity, row.components.net_minor) for row in book.entries]


def flags(document: OrderDocument, *refunds: Refund) -> set[str]:
    return Book(Facts(document, refunds)).flags


def test_two_lines_worth_ten_and_twenty_add_thirty() -> None:
    """V8: a loop that adds its running total would say forty."""
    paid = [net for _, kind, _, net in rows(order(line("a", 10), line("b", 20))) if kind == "paid"]
    assert (paid, sum(paid)) == ([10, 20], 30)


def test_a_tenth_shared_by_three_equal_lines_is_four_three_three() -> None:
    """V12, as a payment."""
    document = order(line("a", 100), line("b", 100), line("c", 100), paid=10)
    assert [net for _, kind, _, net in rows(document) if kind == "paid"] == [4, 3, 3]


def test_an_unshipped_unit_that_is_paid_back_is_cancelled_at_its_ordered_value() -> None:
    back = RefundLine("a", ONE, 40)
    assert rows(order(line("a", 100, 2)), refund(40, back)) == [
        (1, "ordered", 2, 100),
        (1, "cancelled", -1, -50),
        (1, "paid", 0, 100),
        (1, "refunded", 0, -40),
    ]


def test_the_same_refund_is_a_return_once_the_final_head_says_shipped() -> None:
    back = RefundLine("a", ONE, 40, restocked=ONE)
    assert rows(order(line("a", 100, 2, shipped=2)), refund(40, back)) == [
        (1, "ordered", 2, 100),
        (1, "shipped", 2, 0),
        (1, "returned", -1, -40),
        (1, "paid", 0, 100),
        (1, "refunded", 0, -40),
    ]


def test_a_refund_of_a_cancelled_order_is_not_counted_twice_on_demand() -> None:
    closed = order(line("a", 100, 2), line("b", 10, kind="freight"), lifecycle="cancelled", cancelled_at=PAID)
    for given in (
        refund(110),
        refund(110, RefundLine("a", Decimal(2), 100), RefundLine(None, Decimal(0), 10)),
    ):
        found = rows(closed, given)
        assert sum(net for _, kind, _, net in found if kind in ("ordered", "cancelled", "returned")) == 0
        assert sum(net for _, kind, _, net in found if kind in ("paid", "refunded")) == 0


def test_an_earlier_concession_on_units_cancelled_later_is_not_subtracted_twice() -> None:
    """20 off at first, then the unit itself for the other 80: demand is nothing, not minus twenty."""
    concession = refund(20, RefundLine("a", Decimal(0), 20), at=PAID, name="first")
    unit = refund(80, RefundLine("a", ONE, 80), name="second")
    found = rows(order(line("a", 100)), concession, unit)
    assert [net for _, kind, _, net in found if kind in ("ordered", "cancelled", "returned")] == [100, -100]


def test_freight_of_a_parcel_that_left_was_earned() -> None:
    document = order(
        line("a", 100, 2, shipped=1), line("f", 10, kind="freight"), lifecycle="cancelled", cancelled_at=LATER
    )
    assert [(no, q, net) for no, kind, q, net in rows(document) if kind == "cancelled"] == [(1, -1, -50)]


def test_freight_that_is_called_shipped_while_no_goods_left_was_not_earned() -> None:
    document = order(line("a", 100), line("f", 10, kind="freight", shipped=1), lifecycle="cancelled")
    found = rows(document)
    assert [(no, net) for no, kind, _, net in found if kind == "cancelled"] == [(1, -100), (2, -10)]
    assert "shipped" not in {kind for _, kind, _, _ in found}


def test_shipping_taken_off_by_an_edit_is_cancelled_although_the_parcel_left() -> None:
    document = order(line("a", 100, shipped=1), line("f", 10, kind="freight", removed=1))
    assert [(no, q, net) for no, kind, q, net in rows(document) if kind == "cancelled"] == [(2, -1, -10)]


def test_a_platforms_fee_is_never_cancelled_nor_paid_back() -> None:
    document = order(line("a", 100), line("p", -7, kind="platform_fee"), lifecycle="cancelled")
    found = rows(document, refund(5, RefundLine("p", ONE, 5)))
    assert [row for row in found if row[0] == 2] == [(2, "fee", 0, -7)]
    assert "refund-of-unknown-line" in flags(document, refund(5, RefundLine("p", ONE, 5)))


def test_a_line_of_no_quantity_is_cancelled_with_its_order_and_only_then() -> None:
    document = order(line("a", 100, 0))
    assert [row for row in rows(document) if row[1] == "cancelled"] == []
    closed = replace(document, lifecycle="cancelled")
    assert [row for row in rows(closed, refund(100)) if row[1] in ("cancelled", "returned")] == [
        (1, "cancelled", 0, -100)
    ]


def test_more_given_back_than_a_line_cost_spreads_and_then_belongs_to_no_line() -> None:
    document = order(line("a", 100, shipped=1), line("b", 50, shipped=1))
    found = rows(document, refund(170, RefundLine("a", Decimal(0), 170)))
    assert [(no, net) for no, kind, _, net in found if kind == "returned"] == [(1, -100), (2, -50), (0, -20)]
    assert [(no, net) for no, kind, _, net in found if kind == "refunded"] == [(1, -100), (2, -50), (0, -20)]


def test_money_kept_back_stands_on_the_adjustment_line() -> None:
    document = order(line("a", 100, shipped=1))
    given = refund(90, RefundLine("a", ONE, 100), RefundLine(None, Decimal(0), -10))
    assert [row for row in rows(document, given) if row[1] in ("returned", "refunded")] == [
        (1, "returned", -1, -100),
        (0, "returned", 0, 10),
        (1, "refunded", 0, -100),
        (0, "refunded", 0, 10),
    ]


def test_more_paid_than_the_lines_cost_stands_on_the_adjustment_line() -> None:
    document = order(line("a", 100), paid=130)
    assert [row for row in rows(document) if row[1] == "paid"] == [(1, "paid", 0, 100), (0, "paid", 0, 30)]
    assert flags(document) == {"over-paid"}


def test_a_bare_refund_goes_over_what_earlier_ones_left() -> None:
    document = order(line("a", 90, shipped=1), line("b", 10, shipped=1))
    named = refund(90, RefundLine("a", ONE, 90), name="named")
    found = rows(document, named, refund(10, at=PAID, name="bare"))
    assert [(no, net) for no, kind, _, net in found if kind == "refunded"] == [(1, -90), (2, -10)]
    assert [(no, net) for no, kind, _, net in found if kind == "returned"] == [(1, -90), (2, -10)]


def test_a_deduction_line_is_given_back_with_the_goods_it_lowered() -> None:
    document = order(line("a", 100, shipped=1), line("credit", -20, kind="fee"))
    found = rows(document, refund(80))
    assert [(no, net) for no, kind, _, net in found if kind == "refunded"] == [(1, -100), (2, 20)]


def test_a_refund_of_nearly_free_goods_does_not_blow_up_its_components() -> None:
    """List 1,000.00 less a platform's coupon of 999.99: a mistaken refund of 100.00 is no million of coupons."""
    gift = replace(line("a", 0, shipped=1), components=Components(100_000, platform_coupon_minor=-99_999))
    book = Book(Facts(order(gift), (refund(10_000, RefundLine("a", ONE, 10_000)),)))
    money = [row.components for row in book.entries if row.kind == "refunded"]
    assert [part.platform_coupon_minor for part in money] == [99_999, 0]
    assert [part.net_minor for part in money] == [-1, -9_999]


def test_goods_paid_for_by_the_platform_alone_are_net_sales() -> None:
    gift = replace(line("a", 0), components=Components(100, platform_coupon_minor=-100))
    paid = [row.components for row in Book(Facts(order(gift))).entries if row.kind == "paid"]
    assert [(money.net_minor, money.net_sales_minor) for money in paid] == [(0, 100)]
    unpaid = Book(Facts(order(gift, payment="unpaid"))).entries
    assert [row.kind for row in unpaid] == ["ordered"]


def test_returning_half_of_what_the_platform_paid_for_takes_half_of_it_off() -> None:
    gift = replace(line("a", 0, 2, shipped=2), components=Components(100, platform_coupon_minor=-100))
    book = Book(Facts(order(gift), (refund(0, RefundLine("a", ONE, 0)),)))
    sales = {row.kind: row.components.net_sales_minor for row in book.entries}
    assert (sales["paid"], sales["refunded"], sales["returned"]) == (100, -50, -50)


def test_a_refund_keeps_the_tax_it_names_and_shares_the_rest() -> None:
    goods = replace(line("a", 0, 2, shipped=2), components=Components(120, -20, tax_minor=13))
    book = Book(Facts(order(goods), (refund(57, RefundLine("a", ONE, 57, tax_minor=7)),)))
    money = next(row.components for row in book.entries if row.kind == "refunded")
    assert (money.net_minor, money.tax_minor, money.list_minor, money.promo_minor) == (-57, -7, -60, 10)


def test_the_tax_of_a_refund_that_is_half_a_cancellation_is_halved_on_the_return() -> None:
    goods = replace(line("a", 0, 2, shipped=1), components=Components(174, tax_minor=26))
    book = Book(Facts(order(goods), (refund(200, RefundLine("a", Decimal(2), 200, tax_minor=26)),)))
    returned = next(row for row in book.entries if row.kind == "returned")
    money = returned.components
    assert [returned.quantity, money.net_minor, money.tax_minor] == [-1, -100, -13]


def test_a_refund_of_one_unit_cancelled_and_one_returned_is_halved_between_them() -> None:
    found = rows(order(line("a", 100, 2, shipped=1)), refund(80, RefundLine("a", Decimal(2), 80)))
    assert [(kind, q, net) for _, kind, q, net in found if kind in ("cancelled", "returned")] == [
        ("cancelled", -1, -50),
        ("returned", -1, -40),
    ]


def test_a_unit_restocked_because_it_was_cancelled_is_not_restocked_again() -> None:
    """One unit never left, one came back broken: nothing goes on the shelf."""
    cancelled = refund(50, RefundLine("a", ONE, 50, restocked=ONE), at=PAID, name="cancelled")
    broken = refund(50, RefundLine("a", ONE, 50), name="broken")
    [outcome] = Book(Facts(order(line("a", 100, 2, shipped=1)), (cancelled, broken))).outcomes
    assert [outcome.cancelled, outcome.returned, outcome.restocked] == [1, 1, 0]


def test_units_cancelled_by_a_refund_keep_its_time_unless_the_order_closed_before() -> None:
    back = refund(50, RefundLine("a", ONE, 50))
    document = order(line("a", 100, 2))
    found = {row.business_at for row in Book(Facts(document, (back,))).entries if row.kind == "cancelled"}
    assert found == {LATER}
    closed = replace(document, lifecycle="cancelled", cancelled_at=PAID)
    found = {row.business_at for row in Book(Facts(closed, (back,))).entries if row.kind == "cancelled"}
    assert found == {PAID}


def test_a_deletion_cancels_what_never_left_at_the_time_we_heard_of_it() -> None:
    found = Book(Facts(order(line("a", 100, 2, shipped=1)), (), LATER)).entries
    [row] = [row for row in found if row.kind == "cancelled"]
    assert [row.quantity, row.business_at] == [-1, LATER]


def _posted(live: Sequence[Entry], should: Sequence[Wanted], start: int) -> list[Entry]:
    ids = count(start)
    return list(post(ORDER, live, should, cause=None, at=LATER, identify=lambda: UUID(int=next(ids))).entries)


def test_posting_the_same_again_appends_nothing() -> None:
    should = Book(Facts(order(line("a", 100)), (refund(10),))).entries
    live = _posted([], should, 100)
    assert _posted(live, should, 200) == []


def test_an_entry_that_changed_takes_its_undoing_rows_along() -> None:
    before = Book(Facts(order(line("a", 100, shipped=1)), (refund(10),))).entries
    live = _posted([], before, 100)
    after = Book(Facts(order(line("a", 100, shipped=1)), (refund(10),), partner_id=UUID(int=5))).entries
    posted = _posted(live, after, 200)
    assert [entry.wanted.kind for entry in posted if entry.reverses_entry_id] == [e.wanted.kind for e in live]
    added = {entry.wanted.kind: entry for entry in posted if not entry.reverses_entry_id}
    assert added["refunded"].origin_entry_id == added["paid"].entry_id
    assert added["returned"].origin_entry_id == added["ordered"].entry_id


def test_a_refund_points_to_the_payment_it_undoes_exactly_while_there_is_one() -> None:
    """Its own content is the same before, with and after the payment: only what it undoes comes and goes."""
    unpaid = order(line("a", 100, shipped=1), paid=0)
    bare = refund(10)
    without = Book(Facts(unpaid, (bare,))).entries
    before = refund(100, at=PAID, name="before")
    within = Book(Facts(replace(unpaid, paid_minor=130), (before, bare))).entries

    def undone(live: Sequence[Entry]) -> tuple[UUID | None, UUID | None]:
        rows = {e.wanted.kind: e for e in live if e.wanted.line_no == 0 and e.wanted.kind != "returned"}
        paid = rows.get("paid")
        return paid.entry_id if paid else None, rows["refunded"].origin_entry_id

    live: list[Entry] = []
    for number, should in enumerate((without, within, without), start=1):
        posted = _posted(live, should, number * 100)
        gone = {entry.reverses_entry_id for entry in posted}
        live = [e for e in [*live, *posted] if e.entry_id not in gone and not e.reverses_entry_id]
        paid, origin = undone(live)
        assert origin == paid
        assert (paid is None) == (should is without)


@pytest.mark.parametrize("removed", [1, 3])
def test_an_edit_cannot_take_off_what_has_left(removed: int) -> None:
    document = order(line("a", 100, 3, shipped=3, removed=removed))
    assert [row for row in rows(document) if row[1] == "cancelled"] == []
    assert flags(document) == {"removed-after-shipping"}


def test_the_hash_of_an_entry_is_that_of_its_columns_as_compact_json() -> None:
    money = Components(10_000, -500, 0, -250, 0, 1_300)
    at = datetime(2026, 3, 2, 10, 0, 0, 70_001, tzinfo=timezone(timedelta(hours=8)))
    about = ("CNY", True, UUID(int=3), '线上 "A\\B"\n\x1f\x7f\u2028')
    fact = Wanted(2, "product", "returned", Decimal("-1.500000"), money, *about, "A/é", at, PAID)
    entry = Entry(UUID(int=1), UUID(int=2), fact, at, UUID(int=4), None, UUID(int=5))
    ids = [f"00000000-0000-0000-0000-{number:012}" for number in range(6)]
    micros, paid = str(int(at.timestamp()) * 1_000_000 + 70_001), str(int(PAID.timestamp()) * 1_000_000)
    columns = [
        ids[1],
        ids[2],
        2,
        "product",
        "returned",
        "-1.5",
        "CNY",
        10_000,
        -500,
        0,
        -250,
        0,
        1_300,
        0,
        True,
    ]
    columns += [ids[3], about[3], "A/é", micros, paid, micros, ids[4], None, ids[5]]
    text = json.dumps(columns, ensure_ascii=False, separators=(",", ":"))
    assert entry.entry_hash == hashlib.sha256(text.encode()).hexdigest()
