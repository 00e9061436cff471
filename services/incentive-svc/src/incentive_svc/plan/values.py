"""What a plan version says: its tiers, its filters and the days it is in force.

Pure values, shared by the shapes, the accrual and the statement. Money is minor units of the version's currency,
rates are parts per million. A tier is known by its lower bound only, so that gaps and overlaps cannot be written.
"""

from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Final
from uuid import UUID

PPM: Final = 1_000_000
TIERS_MAX: Final = 1_000
FILTER_MAX: Final = 2_000

CALENDARS: Final = ("month", "quarter", "year")
BASES: Final = ("net_sales", "net")
RECOGNITIONS: Final = ("ordered", "paid")
ROUNDINGS: Final = ("half_even", "half_up", "down")


@dataclass(frozen=True, slots=True)
class Tier:
    """The rate from `lower_minor` on, until the next tier begins."""

    lower_minor: int
    rate_ppm: int


@dataclass(frozen=True, slots=True)
class Slice:
    """The part of a basis that one tier pays on, and what it pays, exactly.

    `from_minor` and `to_minor` bound the paid part of the basis. Amounts are minor units.
    """

    tier: int
    from_minor: int
    to_minor: int
    rate_ppm: int
    amount: Fraction


@dataclass(frozen=True, slots=True)
class Terms:
    """One version of a plan. `valid_to` is the first day after; None filters let everything through."""

    plan_id: UUID
    code: str
    version: int
    valid_from: date
    valid_to: date | None
    calendar: str
    currency: str
    shape: str
    tiers: tuple[Tier, ...]
    basis: str = "net_sales"
    recognition: str = "paid"
    rounding: str = "half_even"
    channels: frozenset[str] | None = None
    skus: frozenset[str] | None = None

    def covers(self, day: date) -> bool:
        """Whether the version is in force on this day of the contract's calendar."""
        return self.valid_from <= day and (self.valid_to is None or day < self.valid_to)


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan with its active versions, in order of their days."""

    plan_id: UUID
    code: str
    name: str
    active: tuple[Terms, ...]


def exact_text(value: Fraction) -> str:
    """A multiple of a millionth as plain decimal text; every exact rebate is one, since rates are ppm."""
    millionths = value.numerator * PPM // value.denominator
    whole, part = divmod(abs(millionths), PPM)
    digits = f"{part:06d}".rstrip("0")
    return ("-" if millionths < 0 else "") + (f"{whole}.{digits}" if digits else str(whole))
