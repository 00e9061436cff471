"""Contracts as partner-svc announced them, and the spans of time in which one decides.

Pure values; instants are aware UTC.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Contract:
    """One approved version. `valid_to` is the first instant after; None while open."""

    contract_id: UUID
    version: int
    partner_id: UUID
    valid_from: datetime
    valid_to: datetime | None
    time_zone: str
    plan_codes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Segment:
    """A span of time in which one contract version decides for a partner."""

    starts_at: datetime
    ends_at: datetime | None
    contract: Contract

    def holds(self, at: datetime) -> bool:
        """Whether the instant lies in the span."""
        return self.starts_at <= at and (self.ends_at is None or at < self.ends_at)
