"""Periods in named zones: every instant has one, and both ways of finding it agree."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from incentive_svc.basis.rules import Period, period_of, period_on, periods_near, starts_at, zone
from incentive_svc.basis.values import Amounts

ZONES = ["Asia/Shanghai", "America/St_Johns", "America/Sao_Paulo", "Pacific/Apia", "Africa/Cairo", "UTC"]
CALENDARS = ["month", "quarter", "year"]
EARLY = datetime(1901, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("calendar", "day", "start", "end"),
    [
        ("month", date(2026, 12, 31), date(2026, 12, 1), date(2027, 1, 1)),
        ("quarter", date(2026, 5, 3), date(2026, 4, 1), date(2026, 7, 1)),
        ("year", date(2024, 2, 29), date(2024, 1, 1), date(2025, 1, 1)),
    ],
)
def test_period_on_a_day(calendar: str, day: date, start: date, end: date) -> None:
    assert period_on(calendar, day) == Period(start, end)


def test_the_zone_decides_the_period() -> None:
    at = datetime(2026, 4, 30, 16, 30, tzinfo=UTC)
    assert period_of("month", at, ZoneInfo("UTC")) == Period(date(2026, 4, 1), date(2026, 5, 1))
    assert period_of("month", at, ZoneInfo("Asia/Shanghai")) == Period(date(2026, 5, 1), date(2026, 6, 1))


# St. John's set its clock back at one minute past midnight on the first of November 1987: the day came twice.
@example(at=datetime(1987, 10, 25, 2, 30, 30, tzinfo=UTC), name="America/St_Johns", calendar="month")
@given(
    at=st.integers(0, 7_000 * 365 * 24 * 60).map(lambda minutes: EARLY + timedelta(minutes=minutes)),
    name=st.sampled_from(ZONES),
    calendar=st.sampled_from(CALENDARS),
)
def test_an_instant_lies_between_the_starts_of_its_period(at: datetime, name: str, calendar: str) -> None:
    in_zone = ZoneInfo(name)
    period = period_of(calendar, at, in_zone)
    assert period is not None
    assert starts_at(period.start_on, in_zone) <= at < starts_at(period.end_on, in_zone)
    assert period in periods_near(calendar, at.date().replace(day=1))


def test_a_day_that_comes_twice_belongs_to_one_period() -> None:
    in_zone = ZoneInfo("America/St_Johns")
    midnight = starts_at(date(2009, 11, 1), in_zone)
    instants = [midnight + timedelta(minutes=10 * n) for n in range(-12, 24)]
    starts = [period.start_on for at in instants if (period := period_of("month", at, in_zone))]
    assert starts == sorted(starts)
    assert len(starts) == len(instants)


def test_an_absurd_date_has_no_period() -> None:
    shanghai = ZoneInfo("Asia/Shanghai")
    for at in (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, tzinfo=UTC)):
        assert period_of("month", at, shanghai) is None
    assert periods_near("month", date(9999, 12, 1)) == []


def test_an_unknown_zone_is_a_state() -> None:
    assert [zone(name) for name in ("Mars/Olympus", "../../etc/passwd", "", "/", "a\0b")] == [None] * 5
    assert zone("Asia/Shanghai") is not None


def test_net_sales_leave_out_tax_freight_and_the_platforms_coupon() -> None:
    amounts = Amounts(net_minor=10_000, tax_minor=1_150, freight_minor=800, platform_coupon_minor=-500)
    assert amounts.basis_minor("net_sales") == 8_550
    assert amounts.basis_minor("net") == 10_000
