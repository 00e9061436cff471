"""Golden vectors, computed by hand from the definitions, and what must hold for every table of tiers."""

from datetime import date
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incentive_svc.plan.rules import exact_rebate, explain, rebate, rounded
from incentive_svc.plan.shapes import SHAPES
from incentive_svc.plan.values import Terms, Tier

PERCENT = 10_000


def terms(shape: str, *rows: tuple[int, int], currency: str = "CNY", rounding: str = "half_even") -> Terms:
    return Terms(
        plan_id=UUID(int=1),
        code="P",
        version=1,
        valid_from=date(2026, 1, 1),
        valid_to=None,
        calendar="year",
        currency=currency,
        shape=shape,
        tiers=tuple(Tier(lower, rate) for lower, rate in rows),
        rounding=rounding,
    )


@pytest.mark.parametrize(("basis", "expected"), [(380_000, 110_000), (100_000, 26_000), (30_000, 5_000)])
def test_v1_marginal_bands_pay_their_own_part_only(basis: int, expected: int) -> None:
    plan = terms("marginal", (0, 10 * PERCENT), (10_000, 20 * PERCENT), (30_000, 30 * PERCENT))
    assert rebate(plan, basis) == expected


def test_v2_the_two_shapes_differ_on_the_same_bands() -> None:
    bands = ((0, 10 * PERCENT), (100_000, 25 * PERCENT))
    assert rebate(terms("marginal", *bands), 200_000) == 35_000
    assert rebate(terms("all_units", *bands), 200_000) == 50_000


def test_v3_each_month_pays_what_the_ones_before_left_open() -> None:
    plan = terms("all_units", (0, 0), (500_000, 2 * PERCENT), (2_500_000, 4 * PERCENT))
    owed = [rebate(plan, basis) for basis in (300_000, 700_000, 2_700_000)]
    settled = [after - before for before, after in zip([0, *owed[:-1]], owed, strict=True)]
    assert settled == [0, 14_000, 94_000]
    assert sum(settled) == 108_000


RETURNED = ((0, 0), (1_000_000, 3 * PERCENT), (2_000_000, 5 * PERCENT))


def test_v4_a_return_takes_the_tier_drop_back() -> None:
    plan = terms("all_units", *RETURNED)
    before, after = rebate(plan, 2_100_000), rebate(plan, 1_900_000)
    assert (before, after, before - after) == (105_000, 57_000, 48_000)


def test_v5_the_same_return_under_marginal_tiers() -> None:
    plan = terms("marginal", *RETURNED)
    before, after = rebate(plan, 2_100_000), rebate(plan, 1_900_000)
    assert (before, after, before - after) == (35_000, 27_000, 8_000)


def test_v6_no_basis_falls_between_two_bands() -> None:
    plan = terms(
        "marginal", (0, 10 * PERCENT), (100_000, 20 * PERCENT), (300_000, 30 * PERCENT), currency="KWD"
    )
    assert rebate(plan, 300_000) == 50_000
    assert exact_rebate(plan, 300_005) == Fraction(100_003, 2)  # 50.0015 KWD
    assert rebate(plan, 300_005) == 50_002
    around = [rebate(plan, basis) for basis in range(299_990, 300_020)]
    assert around == sorted(around)
    assert min(around) > 0


def test_v11_a_credit_note_lowers_the_rebate() -> None:
    for shape in SHAPES:
        assert rebate(terms(shape, (0, 4 * PERCENT)), 100_000 - 20_000) == 3_200


@pytest.mark.parametrize(
    ("mode", "expected"), [("half_even", [0, 2, 2, 3]), ("half_up", [1, 2, 3, 3]), ("down", [0, 1, 2, 2])]
)
def test_every_rounding_treats_a_tie_its_own_way(mode: str, expected: list[int]) -> None:
    assert [rounded(Fraction(n, 10), mode) for n in (5, 15, 25, 26)] == expected


def test_nothing_is_paid_on_a_basis_that_is_not_positive() -> None:
    for shape in SHAPES:
        plan = terms(shape, (0, 10 * PERCENT))
        assert [rebate(plan, basis) for basis in (-1, 0, -(10**15))] == [0, 0, 0]
        assert explain(plan, -5) == ()


@st.composite
def tier_tables(draw: st.DrawFn, rising: bool = False) -> tuple[tuple[int, int], ...]:
    lowers = [0, *sorted(draw(st.sets(st.integers(1, 10**9), max_size=6)))]
    rates = draw(st.lists(st.integers(0, 1_000_000), min_size=len(lowers), max_size=len(lowers)))
    return tuple(zip(lowers, sorted(rates) if rising else rates, strict=True))


basis_amounts = st.integers(-(10**9), 2 * 10**9)


@given(table=tier_tables(), basis=basis_amounts, shape=st.sampled_from(sorted(SHAPES)))
def test_slices_sum_to_the_rebate(table: tuple[tuple[int, int], ...], basis: int, shape: str) -> None:
    plan = terms(shape, *table)
    parts = explain(plan, basis)
    assert sum((part.amount for part in parts), Fraction(0)) == exact_rebate(plan, basis)
    assert sum(part.to_minor - part.from_minor for part in parts) == max(basis, 0)
    assert all(
        part.amount == Fraction(part.rate_ppm * (part.to_minor - part.from_minor), 10**6) for part in parts
    )


@given(table=tier_tables(), basis=basis_amounts, more=st.integers(0, 10**9))
def test_marginal_never_falls_and_never_jumps(
    table: tuple[tuple[int, int], ...], basis: int, more: int
) -> None:
    plan = terms("marginal", *table)
    step = exact_rebate(plan, basis + more) - exact_rebate(plan, basis)
    assert 0 <= step <= more
    assert rebate(plan, basis + more) >= rebate(plan, basis)


@given(table=tier_tables(rising=True), basis=basis_amounts, more=st.integers(0, 10**9))
def test_all_units_never_falls_while_rates_rise(
    table: tuple[tuple[int, int], ...], basis: int, more: int
) -> None:
    plan = terms("all_units", *table)
    assert rebate(plan, basis + more) >= rebate(plan, basis)


@given(table=tier_tables(), data=st.data())
def test_all_units_jumps_at_a_bound_by_the_step_in_rate(
    table: tuple[tuple[int, int], ...], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(table) - 1))
    lower, rate = table[at]
    before = table[at - 1][1] if at else 0
    jump = exact_rebate(terms("all_units", *table), lower) - Fraction(before * lower, 10**6)
    assert jump == Fraction((rate - before) * lower, 10**6)


@given(table=tier_tables(), basis=basis_amounts, shape=st.sampled_from(sorted(SHAPES)))
def test_a_bound_without_a_step_changes_nothing(
    table: tuple[tuple[int, int], ...], basis: int, shape: str
) -> None:
    last_lower, last_rate = table[-1]
    longer = (*table, (last_lower + 12_345, last_rate))
    assert exact_rebate(terms(shape, *longer), basis) == exact_rebate(terms(shape, *table), basis)
