"""Cells, the spans of instants that fill them, and the steps that their rebate takes.

Pure values. A cell is (plan, partner, period, currency); its basis and rebate are minor units of that currency.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from incentive_svc.basis.rules import Period
from incentive_svc.plan.values import Terms

Product = tuple[str | None, str | None]
"""Channel and SKU, either of which may be unknown."""
Slices = Mapping[Product, int]
"""Basis per product, in minor units."""


class CellKey(NamedTuple):
    """What identifies a cell; the partner is part of it, since a cell cannot be without one."""

    plan_id: UUID
    partner_id: UUID
    period_start: date
    currency: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell as it stands. `seq` counts its accruals, `stream_version` its announcements; both 0 for a new one."""

    cell_id: UUID
    key: CellKey
    period_end: date
    plan_version: int
    basis_minor: int = 0
    accrued_minor: int = 0
    seq: int = 0
    stream_version: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where an instant belongs under a plan: the version in force and the period."""

    terms: Terms
    period: Period


@dataclass(frozen=True, slots=True)
class Window:
    """A span of instants that belongs to one cell; several may fill the same cell."""

    key: CellKey
    place: Place
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Cause:
    """The event an entry came with."""

    event_id: UUID
    correlation_id: UUID


@dataclass(frozen=True, slots=True)
class Fold:
    """What a batch of new entries adds to one cell, and the events that brought them."""

    place: Place
    slices: Slices
    causes: tuple[Cause, ...]


@dataclass(frozen=True, slots=True)
class Accrual:
    """One step of a cell, never changed afterwards. Each step begins where the one before ended."""

    seq: int
    basis_before: int
    basis_after: int
    rebate_before: int
    rebate_after: int
    plan_version: int
    slices: tuple[tuple[Product, int], ...]

    @property
    def delta_minor(self) -> int:
        """What the step adds to the rebate; negative for a clawback."""
        return self.rebate_after - self.rebate_before
