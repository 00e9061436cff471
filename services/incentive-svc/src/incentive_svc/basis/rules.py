"""Periods: which days they span and at which instants they begin in a named time zone.

Pure. A period is a calendar month, quarter or year in the contract's zone; it begins at the first instant of its
first day there. `period_of` and `starts_at` agree for every instant, clock changes included, so an entry placed one
by one and a sum over a span of instants always fall into the same period.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

MONTHS: Final = {"month": 1, "quarter": 3, "year": 12}
FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 9000


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """`end_on` is the first day after."""

    start_on: date
    end_on: date


@lru_cache(maxsize=1_000)
def zone(name: str) -> ZoneInfo | None:
    """The named zone, or None for a name that is not known: a contract's word is never a failure here."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return None


def period_on(calendar: str, day: date) -> Period:
    """The period that holds this day."""
    months = MONTHS[calendar]
    first = (day.month - 1) // months * months + 1
    start = date(day.year, first, 1)
    return Period(start, _months_later(start, months))


def starts_at(day: date, in_zone: ZoneInfo) -> datetime:
    """The first instant of a day in a zone, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=in_zone).astimezone(UTC)


def period_of(calendar: str, at: datetime, in_zone: ZoneInfo) -> Period | None:
    """The period that holds this instant; None for a year no contract speaks of (a platform's date may be absurd)."""
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        return None
    period = period_on(calendar, at.astimezone(in_zone).date())
    # Where a clock is set back across midnight, a date can come twice: the period ends at its first coming.
    if at >= starts_at(period.end_on, in_zone):
        return period_on(calendar, period.end_on)
    if at < starts_at(period.start_on, in_zone):
        return period_on(calendar, period.start_on - timedelta(days=1))
    return period


def periods_near(calendar: str, month: date) -> list[Period]:
    """Every period that some zone could give an instant of this UTC month."""
    if not FIRST_YEAR <= month.year <= LAST_YEAR:
        return []
    first, last = month.replace(day=1) - timedelta(days=1), _months_later(month.replace(day=1), 1)
    found = [period_on(calendar, first)]
    while found[-1].end_on <= last:
        found.append(period_on(calendar, found[-1].end_on))
    return found


def _months_later(day: date, months: int) -> date:
    years, month = divmod(day.month - 1 + months, 12)
    return date(day.year + years, month + 1, 1)
