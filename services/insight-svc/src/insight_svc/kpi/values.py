"""The values of key figures: what is asked, what was summed, and the figure that comes out.

Pure. Shared by `kpi.rules`, which computes, `kpi.store`, which sums, and `kpi.routes`, which shows.
"""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from insight_svc.fact.values import Measures


class GroupBy(StrEnum):
    """By what figures are kept apart, besides the currency."""

    DAY = "day"
    CHANNEL = "channel"
    PARTNER = "partner"
    SKU = "sku"


@dataclass(frozen=True, slots=True)
class Scope:
    """What is asked: both days included; None does not restrict, no `group_by` means one group a currency."""

    from_on: date
    to_on: date
    partner_id: UUID | None = None
    channel: str | None = None
    sku: str | None = None
    currency: str | None = None
    group_by: GroupBy | None = None

    @property
    def days(self) -> int:
        return (self.to_on - self.from_on).days + 1

    @property
    def by_sku(self) -> bool:
        """Whether the figures depend on knowing the SKU."""
        return self.sku is not None or self.group_by is GroupBy.SKU

    def before(self) -> "Scope":
        """The same question about the period of equal length just before."""
        length = timedelta(days=self.days)
        return replace(self, from_on=self.from_on - length, to_on=self.to_on - length)


class GroupKey(NamedTuple):
    """A group of figures. `key` is the day, channel, partner id or SKU as text; empty = unknown, or no grouping."""

    currency: str
    key: str


class Sums(NamedTuple):
    """What a group's figures are computed from."""

    measures: Measures
    orders: int
    """Orders first paid in the period."""


NO_SUMS: Final = Sums(Measures(), 0)


class Coverage(NamedTuple):
    """How many of the entries that are, or may be, in the scope carry what must be known."""

    entries: int
    attributed: int
    """With partner and channel."""
    product_entries: int
    mapped: int
    """On product lines, with a SKU of ours."""


NO_COVERAGE: Final = Coverage(0, 0, 0, 0)


class Figure(NamedTuple):
    """One key figure. `value` None comes with the `reason` why it is undefined."""

    value: int | Decimal | None
    numerator: int | Decimal
    denominator: int | Decimal
    entries: int
    """Live facts that the figure rests on."""
    reason: str | None = None
