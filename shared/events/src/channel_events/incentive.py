"""Bodies of the incentive family: activated plan versions and accruals.

Announced by incentive-svc, copied by insight-svc. An accrual is announced even when its delta is 0, so that
the basis per product is known everywhere.
"""

from datetime import date
from typing import Annotated
from uuid import UUID

from pydantic import Field

from channel_events.values import Code, Currency, MinorUnits, RatePpm, Record, Sha256, Version


class Validity(Record):
    """The days a plan version is in force, in each contract's own time zone."""

    start_on: date
    end_on: date | None = None
    """The first day after; null while open."""


class Tier(Record):
    """A tier by its lower bound; the next tier's bound ends it, so no gap is possible."""

    lower_minor: MinorUnits
    rate_ppm: RatePpm


class PlanBody(Record):
    """A plan version that was activated; aggregate: the plan."""

    code: Code
    version: Version
    validity: Validity
    calendar: Code
    """The length of a period: month, quarter, year …"""
    currency: Currency
    shape: Code
    """How tiers turn a basis into a rebate: marginal, all_units …"""
    tiers: Annotated[tuple[Tier, ...], Field(max_length=1_000)]
    basis: Code
    recognition: Code
    """Which axis counts: ordered or paid."""
    rounding: Code
    content_hash: Sha256


class Period(Record):
    """A period in the contract's time zone; `end_on` is the first day after."""

    start_on: date
    end_on: date


class AccrualSlice(Record):
    """The part of one channel and SKU in this accrual's change of the basis."""

    channel: Code | None = None
    sku: Code | None = None
    basis_delta_minor: MinorUnits


class AccrualBody(Record):
    """A cell after an accrual; aggregate: the cell (plan, partner, period, currency)."""

    plan_id: UUID
    plan_version: Version
    partner_id: UUID
    period: Period
    currency: Currency
    basis_minor: MinorUnits
    """The cell's whole basis now."""
    rebate_minor: MinorUnits
    """The cell's whole rebate now."""
    delta_minor: MinorUnits
    """What this accrual added to the rebate."""
    slices: Annotated[tuple[AccrualSlice, ...], Field(max_length=5_000)]
