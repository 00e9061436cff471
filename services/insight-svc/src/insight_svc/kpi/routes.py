"""Key figures over HTTP: each with its value, numerator, denominator, entry count and completeness."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from channel_events.values import quantity_text
from channel_kit.auth import Caller, scope
from channel_kit.database import Read
from channel_kit.http import Router, View, database
from channel_kit.pagination import Cursor, encode_cursor
from insight_svc.fact.routes import PeriodQuery
from insight_svc.fact.store import freshness
from insight_svc.fact.values import ORDER_CONSUMER
from insight_svc.kpi import rules, store
from insight_svc.kpi.values import NO_COVERAGE, NO_SUMS, Coverage, Figure, GroupBy, GroupKey, Scope, Sums
from insight_svc.reference import store as reference

router = Router(tags=["key figures"])

Number = int | str
"""Minor units and counts are integers; quantities and rates are decimals as text."""


class Compare(StrEnum):
    """With what figures are compared."""

    PREVIOUS = "previous"


class ComparisonView(View):
    """The same figure of the period of equal length just before."""

    value: Number | None
    change: str | None
    """(now - before) / |before|, rounded to six decimals."""
    reason: str | None = None


class FigureView(View):
    """One key figure. `value` null comes with the `reason`: denominator-zero or denominator-negative."""

    value: Number | None
    numerator: Number
    denominator: Number
    unit: str
    formula: str
    formula_version: int
    entries: int
    completeness_percent: str | None
    """Null when there are no entries at all."""
    reason: str | None = None
    previous: ComparisonView | None = None


class CoverageView(View):
    """Live entries that are, or may be, in the scope: how many carry partner and channel, how many a SKU."""

    entries: int
    attributed: int
    product_entries: int
    mapped: int


class GroupView(View):
    """The figures of one group, in one currency: currencies are never added up."""

    currency: str
    key: str | None
    """The day, channel, partner id or SKU; null = not known, or no grouping."""
    label: str | None
    """The partner's or item's name, where it is known."""
    completeness: CoverageView
    figures: dict[str, FigureView]


class KpiView(View):
    """The answer: its scope, and its groups by currency and key."""

    from_on: date
    to_on: date
    previous_from_on: date | None
    previous_to_on: date | None
    time_zone: str
    group_by: GroupBy | None
    as_of: datetime | None
    """The newest order event that the figures include."""
    completeness_of: list[str]
    """What completeness_percent is the smaller of: attributed, and with a SKU in the question also mapped."""
    items: list[GroupView]
    next_cursor: str | None


@router.get("/v1/insight/kpis")
async def read_kpis(
    request: Request,
    caller: Annotated[Caller, scope("insight:read")],
    period: Annotated[PeriodQuery, Depends()],
    cursor: Cursor,
    group_by: GroupBy | None = None,
    compare: Compare | None = None,
) -> KpiView:
    """Key figures of a period of whole days in the enterprise's zone. A partner sees its own."""
    asked = Scope(
        period.from_on,
        period.to_on,
        period.partner_id,
        period.channel,
        period.sku,
        period.currency,
        group_by,
    )
    start = cursor.values(str, str)
    earlier = asked.before() if compare else None
    async with database(request).read(caller.actor) as tx:
        found = await store.sums(
            tx, asked, after=None if start is None else GroupKey(*start), limit=cursor.limit + 1
        )
        shown = dict(list(found.items())[: cursor.limit])
        coverage = await store.coverage(tx, asked) if shown else {}
        before = await _before(tx, asked, earlier, shown) if earlier and shown else None
        labels = await _labels(tx, group_by, [group.key for group in shown])
        fresh = {feed.consumer: feed.last_event_at for feed in await freshness(tx)}
    return KpiView(
        from_on=asked.from_on,
        to_on=asked.to_on,
        previous_from_on=earlier.from_on if earlier else None,
        previous_to_on=earlier.to_on if earlier else None,
        time_zone=request.app.state.time_zone,
        group_by=group_by,
        as_of=fresh.get(ORDER_CONSUMER),
        completeness_of=["attributed", "mapped"] if asked.by_sku else ["attributed"],
        items=[
            _group(
                asked,
                group,
                sums,
                coverage.get(_coverage_key(asked, group), NO_COVERAGE),
                before,
                labels.get(group.key),
            )
            for group, sums in shown.items()
        ],
        next_cursor=encode_cursor(list(shown)[-1]) if len(found) > len(shown) else None,
    )


def _coverage_key(asked: Scope, group: GroupKey) -> GroupKey:
    return group if asked.group_by is GroupBy.DAY else GroupKey(group.currency, "")


async def _before(
    tx: Read, asked: Scope, earlier: Scope, groups: Mapping[GroupKey, Sums]
) -> dict[GroupKey, Sums]:
    """The sums of the earlier period under the keys of this one; a day is compared with its counterpart."""
    counterparts = {_counterpart(asked, group): group for group in groups}
    found = await store.sums(tx, earlier, only=list(counterparts), limit=len(counterparts))
    return {counterparts[group]: sums for group, sums in found.items()}


def _counterpart(asked: Scope, group: GroupKey) -> GroupKey:
    if asked.group_by is not GroupBy.DAY:
        return group
    day = date.fromisoformat(group.key) - timedelta(days=asked.days)
    return GroupKey(group.currency, day.isoformat())


async def _labels(tx: Read, group_by: GroupBy | None, keys: Sequence[str]) -> dict[str, str]:
    known = sorted({key for key in keys if key})
    if group_by is GroupBy.PARTNER:
        return await reference.partner_names(tx, [UUID(key) for key in known])
    return await reference.item_names(tx, known) if group_by is GroupBy.SKU else {}


def _group(
    asked: Scope,
    group: GroupKey,
    sums: Sums,
    coverage: Coverage,
    before: Mapping[GroupKey, Sums] | None,
    label: str | None,
) -> GroupView:
    percent = rules.completeness_percent(coverage, by_sku=asked.by_sku)
    earlier = None if before is None else rules.figures(before.get(group, NO_SUMS))
    return GroupView(
        currency=group.currency,
        key=group.key or None,
        label=label,
        completeness=CoverageView(**coverage._asdict()),
        figures={
            name: _figure(name, figure, percent, earlier[name] if earlier else None)
            for name, figure in rules.figures(sums).items()
        },
    )


def _figure(name: str, figure: Figure, percent: Decimal | None, before: Figure | None) -> FigureView:
    formula = rules.FORMULAS[name]
    return FigureView(
        value=_optional(figure.value),
        numerator=_number(figure.numerator),
        denominator=_number(figure.denominator),
        unit=formula.unit,
        formula=formula.text,
        formula_version=formula.version,
        entries=figure.entries,
        completeness_percent=None if percent is None else f"{percent:f}",
        reason=figure.reason,
        previous=None if before is None else _comparison(figure, before),
    )


def _comparison(now: Figure, before: Figure) -> ComparisonView:
    change, reason = rules.change(now, before)
    return ComparisonView(
        value=_optional(before.value), change=None if change is None else quantity_text(change), reason=reason
    )


def _optional(value: int | Decimal | None) -> Number | None:
    return None if value is None else _number(value)


def _number(value: int | Decimal) -> Number:
    return value if isinstance(value, int) else quantity_text(value)
