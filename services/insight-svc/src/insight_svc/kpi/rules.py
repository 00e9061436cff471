"""The formulas of the key figures, each with its version, and how complete they are.

Pure. A formula says numerator, denominator, unit and its own text; whoever changes what it computes raises its
version. Rates have six decimals and amounts are whole minor units, both rounded half to even; percentages of
completeness are cut, so that 100.00 means complete.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

from channel_kit.money import round_half_even
from insight_svc.kpi.values import Coverage, Figure, Sums

RATE_PLACES: Final = 6
PERCENT_PLACES: Final = 2

ZERO_DENOMINATOR: Final = "denominator-zero"
NEGATIVE_DENOMINATOR: Final = "denominator-negative"
NOTHING_BEFORE: Final = "no-previous-value"


@dataclass(frozen=True, slots=True)
class Formula:
    """How one figure is made. Without a denominator it is a plain sum."""

    version: int
    unit: str
    """minor (of the group's currency), units, orders or ratio."""
    text: str
    numerator: Callable[[Sums], int | Decimal]
    entries: Callable[[Sums], int]
    denominator: Callable[[Sums], int | Decimal] | None = None


def net_sales(sums: Sums) -> int:
    """Payments less refunds, each without tax, freight and the coupons a platform pays for."""
    return sums.measures.paid_net_sales_minor + sums.measures.refunded_net_sales_minor


FORMULAS: Final[dict[str, Formula]] = {
    "net_sales": Formula(
        1,
        "minor",
        "paid net sales + refunded net sales (negative), by the day of payment or refund; "
        "net sales = net - tax - freight - platform coupon",
        net_sales,
        lambda sums: sums.measures.cash_entries,
    ),
    "demand_net_sales": Formula(
        1,
        "minor",
        "ordered + cancelled + returned net sales (the last two negative), by the day each happened",
        lambda sums: (
            sums.measures.ordered_net_sales_minor
            + sums.measures.cancelled_net_sales_minor
            + sums.measures.returned_net_sales_minor
        ),
        lambda sums: sums.measures.demand_entries,
    ),
    "orders": Formula(
        1,
        "orders",
        "distinct orders whose first payment falls in the period; with a SKU, those that contain it",
        lambda sums: sums.orders,
        lambda sums: sums.orders,
    ),
    "units": Formula(
        1,
        "units",
        "ordered + cancelled quantity (the latter negative) of product lines, by the day each happened",
        lambda sums: sums.measures.ordered_units + sums.measures.cancelled_units,
        lambda sums: sums.measures.demand_entries,
    ),
    "aov": Formula(
        1,
        "minor",
        "net_sales / orders",
        net_sales,
        lambda sums: sums.measures.cash_entries,
        lambda sums: sums.orders,
    ),
    "refund_rate": Formula(
        1,
        "ratio",
        "money given back in the period / money paid in the period, tax and freight included",
        lambda sums: -sums.measures.refunded_net_minor,
        lambda sums: sums.measures.cash_entries,
        lambda sums: sums.measures.paid_net_minor,
    ),
    "return_rate": Formula(
        1,
        "ratio",
        "returned quantity / shipped quantity of the orders placed in the period, whenever it happened",
        lambda sums: -sums.measures.cohort_returned_units,
        lambda sums: sums.measures.cohort_entries,
        lambda sums: sums.measures.cohort_shipped_units,
    ),
    "rebate_cost": Formula(
        1,
        "minor",
        "rebate accrued in the period, clawbacks negative, split over channel and SKU by change of basis",
        lambda sums: sums.measures.rebate_minor,
        lambda sums: sums.measures.rebate_entries,
    ),
    "rebate_rate": Formula(
        1,
        "ratio",
        "rebate_cost / net_sales",
        lambda sums: sums.measures.rebate_minor,
        lambda sums: sums.measures.rebate_entries,
        net_sales,
    ),
}


def figures(sums: Sums) -> dict[str, Figure]:
    """Every figure of a group, by name."""
    return {name: figure(formula, sums) for name, formula in FORMULAS.items()}


def figure(formula: Formula, sums: Sums) -> Figure:
    """One figure; a denominator that is not positive leaves it undefined."""
    numerator, entries = formula.numerator(sums), formula.entries(sums)
    if formula.denominator is None:
        return Figure(numerator, numerator, 1, entries)
    denominator = formula.denominator(sums)
    if denominator <= 0:
        reason = NEGATIVE_DENOMINATOR if denominator else ZERO_DENOMINATOR
        return Figure(None, numerator, denominator, entries, reason)
    exact = Fraction(numerator) / Fraction(denominator)
    value = round_half_even(exact) if formula.unit == "minor" else rate(exact)
    return Figure(value, numerator, denominator, entries)


def rate(exact: Fraction) -> Decimal:
    """A ratio with `RATE_PLACES` decimals, half to even, of any size."""
    return Decimal(f"{round_half_even(exact * 10**RATE_PLACES)}e-{RATE_PLACES}")


def change(now: Figure, before: Figure) -> tuple[Decimal | None, str | None]:
    """(now - before) / |before| as a rate, or the reason why there is none."""
    if now.value is None:
        return None, now.reason
    if before.value is None:
        return None, before.reason
    if before.value == 0:
        return None, NOTHING_BEFORE
    previous = Fraction(before.value)
    return rate((Fraction(now.value) - previous) / abs(previous)), None


def completeness_percent(coverage: Coverage, *, by_sku: bool) -> Decimal | None:
    """The share of entries that carry what the figures depend on, cut to two decimals; None without entries.

    By SKU it is the smaller of the attributed and the mapped share.
    """
    shares = [(coverage.attributed, coverage.entries)]
    if by_sku:
        shares.append((coverage.mapped, coverage.product_entries))
    ratios = [Fraction(known, of) for known, of in shares if of > 0]
    if not ratios:
        return None
    hundredths = min(ratios) * 100 * 10**PERCENT_PLACES
    return Decimal(f"{hundredths.numerator // hundredths.denominator}e-{PERCENT_PLACES}")
