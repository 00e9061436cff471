"""HTTP of accruals: the cells a caller may see, and the steps each of them took.

Read-only. Also the home of two query forms that statements share: a period (`2026`, `2026-Q2`, `2026-05`) and a day.
"""

import re
from datetime import date, datetime
from typing import Annotated, Self, cast
from uuid import UUID

from fastapi import Depends, Query, Request
from pydantic import AfterValidator, BeforeValidator

from channel_kit.auth import Caller, scope
from channel_kit.http import Router, View, database
from channel_kit.pagination import Cursor, Page
from channel_kit.problems import NotFound
from incentive_svc.accrual import store
from incentive_svc.accrual.store import Filter, Recorded
from incentive_svc.accrual.values import Cell
from incentive_svc.basis.rules import FIRST_YEAR, LAST_YEAR, period_on

router = Router(tags=["accruals"])

Reader = Annotated[Caller, scope("statements:read")]

_PERIOD = re.compile(r"([0-9]{4})(?:-(?:Q([1-4])|(0[1-9]|1[0-2])))?", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def _in_range(day: date) -> date:
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError(f"use a year from {FIRST_YEAR} to {LAST_YEAR}")
    return day


def _iso_day(value: object) -> object:
    # Pydantic itself would read digits as seconds since 1970.
    if isinstance(value, str) and not _DAY.fullmatch(value):
        raise ValueError("give a day as YYYY-MM-DD")
    return value


def _span_of(text: str) -> tuple[date, date]:
    match = _PERIOD.fullmatch(text)
    if match is None:
        raise ValueError("give a period as YYYY, YYYY-Qn or YYYY-MM")
    year, quarter, month = match.groups()
    calendar = "quarter" if quarter else "month" if month else "year"
    first = int(month) if month else 3 * int(quarter) - 2 if quarter else 1
    period = period_on(calendar, _in_range(date(max(int(year), 1), first, 1)))
    return period.start_on, period.end_on


def _period_text(text: str) -> str:
    _span_of(text)
    return text


Day = Annotated[date, BeforeValidator(_iso_day), AfterValidator(_in_range)]
PeriodText = Annotated[
    str | None,
    AfterValidator(lambda text: text and _period_text(text)),
    Query(description="YYYY, YYYY-Qn or YYYY-MM"),
]
CodeQuery = Annotated[str | None, Query(max_length=100)]
CurrencyQuery = Annotated[str | None, Query(pattern="^[A-Z]{3}$")]


class UnknownCell(NotFound):
    code = "unknown-cell"
    title = "There is no such cell, or you may not see it; check the id"


class PeriodView(View):
    """`end_on` is the first day after."""

    start_on: date
    end_on: date


class CellView(View):
    """A cell: what a partner has earned under a plan in a period. `rebate_minor` is the sum of all its steps."""

    cell_id: UUID
    plan_code: str
    plan_version: int
    partner_id: UUID
    period: PeriodView
    currency: str
    basis_minor: int
    rebate_minor: int
    steps: int
    statement: str

    @classmethod
    def of(cls, cell: Cell, plan_code: str) -> Self:
        return cls(
            cell_id=cell.cell_id,
            plan_code=plan_code,
            plan_version=cell.plan_version,
            partner_id=cell.key.partner_id,
            period=PeriodView(start_on=cell.key.period_start, end_on=cell.period_end),
            currency=cell.key.currency,
            basis_minor=cell.basis_minor,
            rebate_minor=cell.accrued_minor,
            steps=cell.seq,
            statement=f"/v1/statements/{cell.key.partner_id}/{plan_code}/{cell.key.period_start}",
        )


class StepSliceView(View):
    channel: str | None
    sku: str | None
    basis_delta_minor: int


class StepView(View):
    """One accrual; `slices` say which products changed the basis."""

    seq: int
    basis_before_minor: int
    basis_after_minor: int
    rebate_after_minor: int
    delta_minor: int
    plan_version: int
    cause_event_id: UUID | None
    recorded_at: datetime
    slices: list[StepSliceView]

    @classmethod
    def of(cls, recorded: Recorded) -> Self:
        step = recorded.step
        return cls(
            seq=step.seq,
            basis_before_minor=step.basis_before,
            basis_after_minor=step.basis_after,
            rebate_after_minor=step.rebate_after,
            delta_minor=step.delta_minor,
            plan_version=step.plan_version,
            cause_event_id=recorded.cause_event_id,
            recorded_at=recorded.recorded_at,
            slices=[
                StepSliceView(channel=channel, sku=sku, basis_delta_minor=amount)
                for (channel, sku), amount in step.slices
            ],
        )


def filter_of(
    partner_id: UUID | None = None,
    plan_code: CodeQuery = None,
    currency: CurrencyQuery = None,
    period: PeriodText = None,
) -> Filter:
    """Which cells a list shows, from the query."""
    starts_from, starts_before = _span_of(period) if period else (None, None)
    return Filter(partner_id, plan_code, currency, starts_from, starts_before)


async def cells_page(request: Request, caller: Caller, cursor: Cursor, wanted: Filter) -> Page[CellView]:
    """A page of cells, latest period first."""
    after = cast("tuple[date, UUID] | None", cursor.values(date, UUID))
    async with database(request).read(caller.actor) as tx:
        found = await store.page(tx, wanted, after, cursor.limit + 1)
    shown = found[: cursor.limit]
    last = [(cell.key.period_start, cell.cell_id) for cell, _ in shown[-1:]]
    return cursor.page([CellView.of(cell, code) for cell, code in shown], len(found), last[0] if last else ())


@router.get("/v1/accruals")
async def browse(
    caller: Reader, cursor: Cursor, wanted: Annotated[Filter, Depends(filter_of)], request: Request
) -> Page[CellView]:
    """Cells that have accruals, latest period first. A partner sees its own."""
    return await cells_page(request, caller, cursor, wanted)


@router.get("/v1/accruals/{cell_id}/steps")
async def steps(cell_id: UUID, caller: Reader, cursor: Cursor, request: Request) -> Page[StepView]:
    """The steps of a cell, latest first; their deltas sum to its rebate."""
    key = cursor.values(int)
    async with database(request).read(caller.actor) as tx:
        found = await store.history(tx, cell_id, key[0] if key else None, cursor.limit + 1)
        if not found and not await store.exists(tx, cell_id):
            raise UnknownCell
    shown = found[: cursor.limit]
    return cursor.page(
        [StepView.of(each) for each in shown], len(found), [each.step.seq for each in shown[-1:]]
    )
