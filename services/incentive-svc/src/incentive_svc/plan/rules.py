"""What makes a plan version sound, what it pays, and what activating it does to its neighbours.

Pure. The one rounding of a rebate happens in `rebate`, by the mode the version states. Faults and refusals are
returned as values; the actions turn them into problems.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from channel_events.values import MINOR_UNITS_MAX
from channel_kit.money import EXPONENTS, round_half_even
from incentive_svc.basis.rules import FIRST_YEAR, LAST_YEAR, period_on
from incentive_svc.plan import values
from incentive_svc.plan.shapes import SHAPES
from incentive_svc.plan.values import PPM, Slice, Terms, Tier


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a draft: where (a JSON pointer) and why."""

    pointer: str
    reason: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a sound version may not be activated beside the others of its plan."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Activation:
    """What activating does to the versions already active: those cut short (with their new end), those replaced."""

    cut: tuple[tuple[int, date], ...]
    replaced: tuple[int, ...]


def rebate(terms: Terms, basis: int) -> int:
    """The rebate in whole minor units, rounded once. Nothing is paid on a basis that is not positive."""
    if basis <= 0:
        return 0
    return rounded(exact_rebate(terms, basis), terms.rounding)


def exact_rebate(terms: Terms, basis: int) -> Fraction:
    """The rebate before rounding, in minor units."""
    return SHAPES[terms.shape].rebate(terms.tiers, basis) if basis > 0 else Fraction(0)


def explain(terms: Terms, basis: int) -> tuple[Slice, ...]:
    """The slices that `exact_rebate` is made of."""
    return SHAPES[terms.shape].explain(terms.tiers, basis) if basis > 0 else ()


def rounded(amount: Fraction, mode: str) -> int:
    """An amount that is not negative, in whole minor units."""
    if mode == "half_even":
        return round_half_even(amount)
    if mode == "half_up":
        return (2 * amount.numerator + amount.denominator) // (2 * amount.denominator)
    if mode == "down":
        return amount.numerator // amount.denominator
    raise ValueError(f"unknown rounding {mode!r}")


def tier_faults(tiers: Sequence[Tier]) -> list[Fault]:
    """What is wrong with a table of tiers."""
    if not 1 <= len(tiers) <= values.TIERS_MAX:
        return [Fault("/tiers", f"give 1 to {values.TIERS_MAX} tiers")]
    faults = []
    if tiers[0].lower_minor != 0:
        faults.append(Fault("/tiers/0/lower_minor", "the first tier begins at 0"))
    for number, tier in enumerate(tiers):
        if not 0 <= tier.rate_ppm <= PPM:
            faults.append(
                Fault(f"/tiers/{number}/rate_ppm", f"a rate is between 0 and {PPM} parts per million")
            )
        if number and tier.lower_minor <= tiers[number - 1].lower_minor:
            faults.append(Fault(f"/tiers/{number}/lower_minor", "each tier begins above the one before it"))
        if tier.lower_minor > MINOR_UNITS_MAX:
            faults.append(Fault(f"/tiers/{number}/lower_minor", f"a bound is at most {MINOR_UNITS_MAX}"))
    return faults


def faults(terms: Terms) -> list[Fault]:
    """What is wrong with a draft by itself; the days are judged on activation."""
    found = tier_faults(terms.tiers)
    for pointer, value, known in (
        ("/calendar", terms.calendar, values.CALENDARS),
        ("/shape", terms.shape, tuple(SHAPES)),
        ("/basis", terms.basis, values.BASES),
        ("/recognition", terms.recognition, values.RECOGNITIONS),
        ("/rounding", terms.rounding, values.ROUNDINGS),
    ):
        if value not in known:
            found.append(Fault(pointer, f"use one of {', '.join(known)}"))
    if terms.currency not in EXPONENTS:
        found.append(Fault("/currency", "use an active ISO 4217 currency code in capitals"))
    for pointer, day in (("/valid_from", terms.valid_from), ("/valid_to", terms.valid_to)):
        if day is not None and not FIRST_YEAR <= day.year <= LAST_YEAR:
            found.append(Fault(pointer, f"use a year from {FIRST_YEAR} to {LAST_YEAR}"))
    if terms.valid_to is not None and terms.valid_to <= terms.valid_from:
        found.append(Fault("/valid_to", "a version ends after it begins"))
    for pointer, names in (("/channels", terms.channels), ("/skus", terms.skus)):
        if names is not None and not 1 <= len(names) <= values.FILTER_MAX:
            found.append(Fault(pointer, f"name 1 to {values.FILTER_MAX}, or leave the filter out"))
    return found


def off_boundary(terms: Terms) -> list[Fault]:
    """The ends of the version that cut through a period of its own calendar, with the nearest starts."""
    found = []
    for pointer, day in (("/valid_from", terms.valid_from), ("/valid_to", terms.valid_to)):
        if day is None:
            continue
        period = period_on(terms.calendar, day)
        if period.start_on != day:
            found.append(
                Fault(pointer, f"use {period.start_on} or {period.end_on}, where a {terms.calendar} begins")
            )
    return found


def activation(active: Sequence[Terms], candidate: Terms) -> Activation | Refusal:
    """How the candidate joins the active versions of its plan.

    It must run at least as long as every version it overlaps, so that no day is left without terms in silence: one
    that began earlier ends where the candidate begins, one that begins on the same day or later is replaced. Another
    calendar or currency is refused, since the plan's cells are cut by them.
    """
    cut: list[tuple[int, date]] = []
    replaced: list[int] = []
    for other in active:
        if (other.calendar, other.currency) != (candidate.calendar, candidate.currency):
            return Refusal(
                "plan-terms-fixed",
                f"Version {other.version} counts by {other.calendar} in {other.currency}; calendar and currency "
                "stay the same within a plan. Make another plan instead.",
            )
        if not _overlap(other, candidate):
            continue
        if not _ends_within(other, candidate):
            return Refusal(
                "plan-versions-overlap",
                f"Version {other.version} is in force from {other.valid_from} to {other.valid_to or 'further notice'} "
                "and would be left without its last days; let the new version run as long.",
            )
        if other.valid_from < candidate.valid_from:
            cut.append((other.version, candidate.valid_from))
        else:
            replaced.append(other.version)
    return Activation(tuple(cut), tuple(replaced))


def content_hash(terms: Terms) -> str:
    """SHA-256 of all that the version says. Its end is left out, since a later version may cut it short."""
    said = {
        "code": terms.code,
        "version": terms.version,
        "valid_from": terms.valid_from.isoformat(),
        "calendar": terms.calendar,
        "currency": terms.currency,
        "shape": terms.shape,
        "tiers": [[tier.lower_minor, tier.rate_ppm] for tier in terms.tiers],
        "basis": terms.basis,
        "recognition": terms.recognition,
        "rounding": terms.rounding,
        "channels": sorted(terms.channels) if terms.channels is not None else None,
        "skus": sorted(terms.skus) if terms.skus is not None else None,
    }
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _overlap(one: Terms, two: Terms) -> bool:
    return (one.valid_to is None or two.valid_from < one.valid_to) and (
        two.valid_to is None or one.valid_from < two.valid_to
    )


def _ends_within(inner: Terms, outer: Terms) -> bool:
    return outer.valid_to is None or (inner.valid_to is not None and inner.valid_to <= outer.valid_to)
