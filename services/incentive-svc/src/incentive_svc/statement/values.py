"""Statements as values, and the sentences that explain them.

Pure. An explanation is data first (`code` and `params`) and an English sentence second, so that another language
needs no parsing. Money in `params` is minor units; in sentences it is written in the currency's major unit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from uuid import UUID

from channel_kit.money import EXPONENTS, from_minor, round_half_even
from incentive_svc.accrual.values import Cell
from incentive_svc.basis.rules import Period
from incentive_svc.basis.values import Amounts, Entry
from incentive_svc.plan.values import PPM, Slice, Terms, Tier, exact_text


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why something is as it is."""

    code: str
    params: dict[str, Any]
    sentence: str


@dataclass(frozen=True, slots=True)
class Line:
    """A counted entry, its basis and its share of the rebate, in minor units."""

    entry: Entry
    basis_minor: int
    rebate_minor: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An entry of the period that counts for nothing, and the reason's code."""

    entry: Entry
    reason: str


@dataclass(frozen=True, slots=True)
class Statement:
    """One partner, plan and period. `terms` None: no version is in force; `cell` None: nothing was ever accrued.

    `exact` is the rebate before its one rounding; `slices` sum to it. All of it is computed from the entries.
    """

    partner_id: UUID
    plan_code: str
    plan_name: str
    terms: Terms | None
    period: Period
    time_zone: str
    basis_minor: int
    rebate_minor: int
    exact: Fraction
    slices: tuple[Slice, ...]
    lines: tuple[Line, ...]
    left_out: tuple[LeftOut, ...]
    summary: Explanation
    cell: Cell | None

    @property
    def up_to_date(self) -> bool:
        """Whether what is accrued already agrees with the entries and terms shown here."""
        cell = self.cell
        if cell is None:
            return self.basis_minor == 0
        return (cell.basis_minor, cell.accrued_minor) == (self.basis_minor, self.rebate_minor)


def amount_text(minor: int, currency: str) -> str:
    """An amount as people write it; minor units where the currency is not one we know."""
    if currency not in EXPONENTS:
        return f"{minor} minor units of {currency}"
    return f"{from_minor(minor, currency):,f} {currency}"


def percent_text(ppm: int) -> str:
    """A rate as per cent, without trailing zeros: 25 000 ppm is 2.5 %."""
    whole, part = divmod(ppm, PPM // 100)
    digits = f"{part:04d}".rstrip("0")
    return f"{whole}.{digits} %" if digits else f"{whole} %"


def basis_formula(basis: str, amounts: Amounts, counted: int, currency: str) -> Explanation:
    """How a line's basis comes from its components."""
    if basis == "net":
        return Explanation(
            "basis-net",
            {"net_minor": amounts.net_minor, "basis_minor": counted},
            f"The plan counts what the buyer pays: {amount_text(counted, currency)}.",
        )
    parts = {
        "net_minor": amounts.net_minor,
        "tax_minor": amounts.tax_minor,
        "freight_minor": amounts.freight_minor,
        "platform_coupon_minor": amounts.platform_coupon_minor,
    }
    texts = [amount_text(part, currency) for part in parts.values()]
    return Explanation(
        "basis-net-sales",
        {**parts, "basis_minor": counted},
        f"The plan counts net sales: {amount_text(counted, currency)} = net {texts[0]} less tax {texts[1]}, "
        f"freight {texts[2]} and platform coupon {texts[3]}.",
    )


def tier_slices(slices: Sequence[Slice], currency: str) -> Explanation:
    """Which tiers pay on which parts of the period's basis."""
    parts = [
        f"{percent_text(part.rate_ppm)} on {amount_text(part.to_minor - part.from_minor, currency)}"
        for part in slices
    ]
    return Explanation(
        "tier-slices",
        {
            "slices": [
                {
                    "tier": part.tier,
                    "rate_ppm": part.rate_ppm,
                    "from_minor": part.from_minor,
                    "to_minor": part.to_minor,
                }
                for part in slices
            ]
        },
        f"The period's basis is paid {', '.join(parts)}.",
    )


def share_of_rebate(line: Line, basis: int, rebate: int, currency: str) -> Explanation:
    """What a line gets of the period's rebate, and the rate that makes of it."""
    rate = round_half_even(Fraction(rebate * PPM, basis))
    return Explanation(
        "share-of-rebate",
        {
            "line_basis_minor": line.basis_minor,
            "period_basis_minor": basis,
            "period_rebate_minor": rebate,
            "effective_rate_ppm": rate,
            "rebate_minor": line.rebate_minor,
        },
        f"The line has {amount_text(line.basis_minor, currency)} of the period's {amount_text(basis, currency)}, so "
        f"{amount_text(line.rebate_minor, currency)} of the rebate of {amount_text(rebate, currency)}: "
        f"an effective {percent_text(rate)}, rounded so that all lines sum to it.",
    )


def pays(basis: int, rebate: int, slices: Sequence[Slice], currency: str) -> Explanation:
    """Why the period pays what it pays."""
    slicing = tier_slices(slices, currency)
    return Explanation(
        "pays",
        {"basis_minor": basis, "rebate_minor": rebate, **slicing.params},
        f"A basis of {amount_text(basis, currency)} earns {amount_text(rebate, currency)}. {slicing.sentence}",
    )


def basis_not_positive(basis: int, currency: str) -> Explanation:
    """Zero: returns outweigh sales."""
    return Explanation(
        "basis-not-positive",
        {"basis_minor": basis},
        f"The period's basis is {amount_text(basis, currency)}; a rebate is paid on a positive basis only.",
    )


def below_first_paying_tier(basis: int, tier: Tier | None, currency: str) -> Explanation:
    """Zero: the basis has not reached a tier that pays."""
    if tier is None:
        return Explanation(
            "no-paying-tier", {"basis_minor": basis}, "No tier from the period's basis on pays anything."
        )
    missing = tier.lower_minor - basis
    return Explanation(
        "below-first-paying-tier",
        {
            "basis_minor": basis,
            "lower_minor": tier.lower_minor,
            "rate_ppm": tier.rate_ppm,
            "missing_minor": missing,
        },
        f"The period's basis of {amount_text(basis, currency)} is {amount_text(missing, currency)} short of the first "
        f"tier that pays, {percent_text(tier.rate_ppm)} from {amount_text(tier.lower_minor, currency)}.",
    )


def rounds_to_zero(exact: Fraction, currency: str) -> Explanation:
    """Zero: less than the smallest amount that can be paid."""
    return Explanation(
        "rounds-to-zero",
        {"exact_minor": exact_text(exact)},
        f"The exact rebate is {exact_text(exact)} minor units of {currency}, which rounds to nothing.",
    )


_LEFT_OUT = {
    "no-contract": "No contract of the partner was in force at the time of origin.",
    "plan-not-in-contract": "The contract in force at the time of origin does not name the plan.",
    "unknown-time-zone": "The contract names a time zone that is not known, so no period can be found.",
    "date-out-of-range": "The date of origin is beyond any period.",
    "plan-not-in-force": "No version of the plan is in force for the period.",
    "not-yet-paid": "The plan counts paid sales, and no payment of the order is recorded.",
    "other-currency": "The entry is in {currency}; the plan counts {plan_currency} only.",
    "channel-not-in-plan": "The plan does not count the channel {channel}.",
    "sku-not-in-plan": "The plan does not count the product {sku}.",
    "no-entries": "Nothing the plan counts has happened in the period.",
}


def reason(code: str, **params: str | None) -> Explanation:
    """The sentence of a reason that needs no arithmetic; missing names read as unknown."""
    named = {name: value if value is not None else "unknown" for name, value in params.items()}
    return Explanation(code, dict(params), _LEFT_OUT[code].format(**named))
