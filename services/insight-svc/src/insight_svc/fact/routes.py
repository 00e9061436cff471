"""Reading facts over HTTP: the rows of days, and how fresh the feeds are."""

import re
from datetime import date, datetime
from typing import Annotated, ClassVar
from uuid import UUID

from fastapi import Depends, Query, Request

from channel_events.values import NO_NUL_PATTERN
from channel_kit.auth import Caller, scope
from channel_kit.clock import now
from channel_kit.http import Router, View, database
from channel_kit.pagination import Cursor, Page
from channel_kit.problems import Unprocessable
from insight_svc.fact import store
from insight_svc.fact.store import DaysWanted
from insight_svc.fact.values import Measures

DAYS_MAX = 1_100
"""Three years: the longest period that one question may cover."""

YEAR_MIN = 1970

router = Router(tags=["facts"])


class BadPeriod(Unprocessable):
    code: ClassVar[str] = "bad-period"
    title: ClassVar[str] = (
        "Give from and to as days since 1970 (2026-07-01), from not after to, at most 1,100 days"
    )


CodeQuery = Annotated[str | None, Query(min_length=1, max_length=100, pattern=NO_NUL_PATTERN)]


class PeriodQuery:
    """The restrictions that every question here knows. Raises `BadPeriod`."""

    def __init__(
        self,
        from_: Annotated[str, Query(alias="from", description="first day, YYYY-MM-DD")],
        to: Annotated[str, Query(description="last day, included")],
        partner_id: UUID | None = None,
        channel: CodeQuery = None,
        sku: CodeQuery = None,
        currency: Annotated[str | None, Query(pattern="^[A-Z]{3}$")] = None,
    ) -> None:
        self.from_on, self.to_on = _day(from_), _day(to)
        if not 0 <= (self.to_on - self.from_on).days < DAYS_MAX:
            raise BadPeriod
        self.partner_id, self.channel, self.sku, self.currency = partner_id, channel, sku, currency


def _day(text: str) -> date:
    # Pydantic itself would read a number as seconds since 1970.
    if not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII):
        raise BadPeriod
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise BadPeriod from None
    # The period before a period must have a place in the calendar too.
    if day.year < YEAR_MIN:
        raise BadPeriod
    return day


class DayView(View):
    """One row: what happened on a day for a partner, channel, SKU and currency; null = not known."""

    day: date
    currency: str
    partner_id: UUID | None
    channel: str | None
    sku: str | None
    measures: Measures


class FeedView(View):
    """How far one feed has come."""

    consumer: str
    last_event_at: datetime
    """When the newest event handled was recorded by its producer."""
    handled_at: datetime
    lag_seconds: int
    """From the event to its handling."""
    age_seconds: int
    """From the event until now; grows while nothing happens."""


class FreshnessView(View):
    """A feed that has never handled anything is not listed."""

    feeds: list[FeedView]


@router.get("/v1/insight/daily")
async def read_days(
    request: Request,
    caller: Annotated[Caller, scope("insight:read")],
    period: Annotated[PeriodQuery, Depends()],
    cursor: Cursor,
) -> Page[DayView]:
    """Rows by day, currency, partner, channel and SKU. A partner sees its own."""
    wanted = DaysWanted(
        period.from_on, period.to_on, period.partner_id, period.channel, period.sku, period.currency
    )
    async with database(request).read(caller.actor) as tx:
        rows = await store.days(tx, wanted, cursor.values(str, str, str, str, str), cursor.limit + 1)
    shown = rows[: cursor.limit]
    views = [DayView(**key._asdict(), measures=measures) for key, measures in shown]
    return cursor.page(views, len(rows), shown[-1][0].order() if shown else ())


@router.get("/v1/insight/freshness")
async def read_freshness(request: Request, caller: Annotated[Caller, scope("insight:read")]) -> FreshnessView:
    """The newest event each feed has handled."""
    async with database(request).read(caller.actor) as tx:
        feeds = await store.freshness(tx)
    moment = now()
    return FreshnessView(
        feeds=[
            FeedView(
                consumer=feed.consumer,
                last_event_at=feed.last_event_at,
                handled_at=feed.handled_at,
                lag_seconds=max(0, int((feed.handled_at - feed.last_event_at).total_seconds())),
                age_seconds=max(0, int((moment - feed.last_event_at).total_seconds())),
            )
            for feed in feeds
        ]
    )
