"""Formulas, rounding and completeness, by hand."""

from decimal import Decimal
from fractions import Fraction

import pytest

from insight_svc.fact.values import Measures
from insight_svc.kpi import rules
from insight_svc.kpi.values import NO_SUMS, Coverage, Figure, Sums


def test_every_figure_of_nothing_is_zero_or_undefined_with_a_reason() -> None:
    for name, figure in rules.figures(NO_SUMS).items():
        if rules.FORMULAS[name].denominator is None:
            assert figure.value == 0
        else:
            assert (figure.value, figure.reason) == (None, "denominator-zero")


def test_rebate_rate_on_negative_net_sales_is_undefined() -> None:
    sums = Sums(Measures(refunded_net_sales_minor=-500, rebate_minor=-25), 0)
    assert rules.figures(sums)["rebate_rate"] == Figure(None, -25, -500, 0, "denominator-negative")


def test_average_order_value_rounds_half_to_even() -> None:
    def value(net_sales: int) -> object:
        return rules.figures(Sums(Measures(paid_net_sales_minor=net_sales), 2))["aov"].value

    assert (value(5), value(7), value(-5)) == (2, 4, -2)


def test_rate_has_six_decimals_at_any_size() -> None:
    assert rules.rate(Fraction(2, 3)) == Decimal("0.666667")
    assert rules.rate(Fraction(1, 2_000_000)) == Decimal("0")
    assert rules.rate(Fraction(10**60, 3)) == Decimal("3" * 60 + ".333333")


@pytest.mark.parametrize(
    ("coverage", "by_sku", "percent"),
    [
        (Coverage(0, 0, 0, 0), False, None),
        (Coverage(100_000, 99_999, 0, 0), False, Decimal("99.99")),
        (Coverage(3, 2, 4, 1), False, Decimal("66.66")),
        (Coverage(3, 2, 4, 1), True, Decimal("25.00")),
        (Coverage(5, 5, 0, 0), True, Decimal("100.00")),
    ],
)
def test_completeness_is_cut_and_the_smaller_share_counts(
    coverage: Coverage, by_sku: bool, percent: Decimal | None
) -> None:
    assert rules.completeness_percent(coverage, by_sku=by_sku) == percent


def test_change_is_relative_to_the_size_of_what_was() -> None:
    def figure(value: int | None) -> Figure:
        return Figure(value, 0, 0, 0, None if value is not None else "denominator-zero")

    assert rules.change(figure(150), figure(100)) == (Decimal("0.5"), None)
    assert rules.change(figure(50), figure(-100)) == (Decimal("1.5"), None)
    assert rules.change(figure(50), figure(0)) == (None, "no-previous-value")
    assert rules.change(figure(50), figure(None)) == (None, "denominator-zero")
    assert rules.change(figure(None), figure(50)) == (None, "denominator-zero")
