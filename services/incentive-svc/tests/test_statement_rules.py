"""Statements: the split over lines, and a reason for everything that is or is not paid."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channel_kit.money import apportion
from incentive_svc.accrual.rules import Book
from incentive_svc.basis.rules import Period
from incentive_svc.basis.values import Amounts, Entry
from incentive_svc.plan.values import Plan, Terms
from incentive_svc.reference.values import Contract
from incentive_svc.statement.rules import compose, explain_left_out, explain_line, split
from incentive_svc.statement.values import Statement, amount_text, percent_text

PARTNER, PLAN = UUID(int=9), UUID(int=1)
MAY = Period(date(2026, 5, 1), date(2026, 6, 1))


def entry(number: int, net: int, **given: Any) -> Entry:
    fields: dict[str, Any] = {
        "entry_id": UUID(int=number),
        "order_id": UUID(int=1000 + number),
        "line_no": 1,
        "line_kind": "product",
        "kind": "paid",
        "quantity": Decimal(1),
        "currency": "CNY",
        "amounts": Amounts(net),
        "partner_id": PARTNER,
        "channel": "online",
        "sku": "A",
        "business_at": datetime(2026, 5, 3, tzinfo=UTC),
        "origin_at": datetime(2026, 5, 3, tzinfo=UTC),
    }
    return Entry(**(fields | given))


def contract(
    *codes: str, zone: str = "Asia/Shanghai", start: datetime = datetime(2020, 1, 1, tzinfo=UTC)
) -> Contract:
    return Contract(UUID(int=5), 1, PARTNER, start, None, zone, frozenset(codes))


def statement(
    terms: Terms | None,
    *entries: Entry,
    paid: frozenset[UUID] = frozenset(),
    contracts: tuple[Contract, ...] = (contract("P1"),),
) -> Statement:
    plan = Plan(PLAN, "P1", "A plan", (terms,) if terms else ())
    return compose(
        partner_id=PARTNER,
        plan=plan,
        period=MAY,
        time_zone="Asia/Shanghai",
        entries=entries,
        paid_orders=paid | {e.order_id for e in entries if e.kind == "paid"},
        book=Book(contracts, [plan]),
        cell=None,
    )


def left_out(found: Statement) -> dict[int, str]:
    return {left.entry.entry_id.int: explain_left_out(found, left).code for left in found.left_out}


def test_v12_three_equal_lines_share_ten() -> None:
    assert split(10, [1, 1, 1]) == [4, 3, 3]


@given(total=st.integers(0, 10**9), weights=st.lists(st.integers(0, 10**6), min_size=1, max_size=20))
def test_split_is_the_kits_for_weights_without_signs(total: int, weights: list[int]) -> None:
    if sum(weights):
        assert split(total, weights) == apportion(total, weights)


@given(total=st.integers(0, 10**9), weights=st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=20))
def test_parts_sum_to_the_whole_and_are_off_by_less_than_one(total: int, weights: list[int]) -> None:
    whole = sum(weights)
    if whole <= 0:
        with pytest.raises(ValueError, match="nothing to split"):
            split(total, weights)
        return
    parts = split(total, weights)
    assert sum(parts) == total
    assert all(
        abs(part * whole - total * weight) < whole for part, weight in zip(parts, weights, strict=True)
    )
    assert all(part == 0 for part, weight in zip(parts, weights, strict=True) if weight == 0)


def test_lines_say_why_this_much(build: Any) -> None:
    sale = entry(1, 2_113_000, amounts=Amounts(2_113_000, 13_000, 1_000, -1_000))
    refund = entry(2, -100_000, kind="refunded")
    found = statement(build.make_terms(), sale, refund)
    assert (found.basis_minor, found.rebate_minor) == (2_000_000, 100_000)
    assert [(line.basis_minor, line.rebate_minor) for line in found.lines] == [
        (2_100_000, 105_000),
        (-100_000, -5_000),
    ]
    formula, slices, share = explain_line(found, found.lines[0])
    assert formula.code == "basis-net-sales"
    assert formula.sentence == (
        "The plan counts net sales: 21,000.00 CNY = net 21,130.00 CNY less tax 130.00 CNY, freight 10.00 CNY "
        "and platform coupon -10.00 CNY."
    )
    assert slices.params == {
        "slices": [{"tier": 2, "rate_ppm": 50_000, "from_minor": 0, "to_minor": 2_000_000}]
    }
    assert share.params["effective_rate_ppm"] == 50_000
    assert "1,050.00 CNY of the rebate of 1,000.00 CNY" in share.sentence
    assert found.summary.code == "pays"


def test_below_the_first_paying_tier_says_how_much_is_missing(build: Any) -> None:
    found = statement(build.make_terms(), entry(1, 999_900))
    assert [line.rebate_minor for line in found.lines] == [0]
    assert found.summary.code == "below-first-paying-tier"
    assert found.summary.params["missing_minor"] == 100
    assert "is 1.00 CNY short of the first tier that pays, 3 % from 10,000.00 CNY" in found.summary.sentence
    assert [e.code for e in explain_line(found, found.lines[0])] == [
        "basis-net-sales",
        "below-first-paying-tier",
    ]


def test_refunds_beyond_sales_split_nothing(build: Any) -> None:
    found = statement(build.make_terms(), entry(1, 100), entry(2, -300, kind="refunded"))
    assert found.summary.code == "basis-not-positive"
    assert [line.rebate_minor for line in found.lines] == [0, 0]


@pytest.mark.parametrize(
    ("rows", "net", "code"), [(((0, 0),), 500, "no-paying-tier"), (((0, 1),), 500, "rounds-to-zero")]
)
def test_other_zeros(build: Any, rows: tuple[tuple[int, int], ...], net: int, code: str) -> None:
    assert statement(build.make_terms(tiers=build.tiers(*rows)), entry(1, net)).summary.code == code


def test_what_is_left_out_has_a_reason(build: Any) -> None:
    terms = build.make_terms(channels=frozenset({"online"}), skus=frozenset({"A"}))
    found = statement(
        terms,
        entry(1, 2_000_000),
        entry(2, 100, currency="USD"),
        entry(3, 100, channel="store"),
        entry(4, 100, sku=None),
        entry(5, 100, kind="ordered"),
        entry(6, 0, kind="shipped"),
        entry(7, -3, kind="fee"),
    )
    assert left_out(found) == {
        2: "other-currency",
        3: "channel-not-in-plan",
        4: "sku-not-in-plan",
        5: "not-yet-paid",
    }
    assert [line.entry.entry_id.int for line in found.lines] == [1]
    assert (
        explain_left_out(found, found.left_out[2]).sentence == "The plan does not count the product unknown."
    )


def test_demand_of_a_paid_order_is_not_told_twice(build: Any) -> None:
    order = UUID(int=77)
    found = statement(
        build.make_terms(), entry(1, 500, order_id=order), entry(2, 500, order_id=order, kind="ordered")
    )
    assert left_out(found) == {}


def test_a_cancelled_unpaid_order_is_not_waited_for(build: Any) -> None:
    order = UUID(int=77)
    found = statement(
        build.make_terms(),
        entry(1, 500, order_id=order, kind="ordered"),
        entry(2, -500, order_id=order, kind="cancelled"),
    )
    assert left_out(found) == {}
    assert found.summary.code == "no-entries"


@pytest.mark.parametrize(
    ("contracts", "code"),
    [
        ((), "no-contract"),
        ((contract("OTHER"),), "plan-not-in-contract"),
        ((contract("P1", zone="Mars/Olympus"),), "unknown-time-zone"),
        ((contract("P1", start=datetime(2026, 5, 20, tzinfo=UTC)),), "no-contract"),
    ],
)
def test_an_empty_statement_says_why(build: Any, contracts: tuple[Contract, ...], code: str) -> None:
    found = statement(build.make_terms(), entry(1, 2_000_000), contracts=contracts)
    assert (found.summary.code, left_out(found)) == (code, {1: code})
    assert (found.basis_minor, found.rebate_minor, found.lines) == (0, 0, ())


def test_a_plan_without_a_version_in_force_says_so() -> None:
    found = statement(None, entry(1, 2_000_000))
    assert (found.summary.code, left_out(found)) == ("plan-not-in-force", {1: "plan-not-in-force"})


def test_amounts_and_rates_read_like_money() -> None:
    assert [amount_text(1_234_567, c) for c in ("CNY", "JPY", "KWD", "ZZZ")] == [
        "12,345.67 CNY",
        "1,234,567 JPY",
        "1,234.567 KWD",
        "1234567 minor units of ZZZ",
    ]
    assert [percent_text(ppm) for ppm in (0, 25_000, 50_000, 1, 1_000_000)] == [
        "0 %",
        "2.5 %",
        "5 %",
        "0.0001 %",
        "100 %",
    ]
