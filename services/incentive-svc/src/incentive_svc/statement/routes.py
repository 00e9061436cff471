"""HTTP of statements: which there are, and one of them line by line with its reasons.

Computed when read. Every page is of the same statement as long as its ETag (the cell's announcements so far) stays;
an empty statement answers 200 and says why it is empty.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Self, TypeVar
from uuid import UUID

from fastapi import Depends, Path, Request, Response

from channel_events.values import Quantity
from channel_kit.auth import Caller, scope
from channel_kit.http import Router, View, database, etag
from channel_kit.pagination import Cursor, Page, PageRequest
from incentive_svc.accrual import store as accrual_store
from incentive_svc.accrual.routes import CellView, Day, PeriodView, StepView, cells_page, filter_of
from incentive_svc.accrual.store import Filter
from incentive_svc.basis.values import Entry
from incentive_svc.plan.routes import SliceView
from incentive_svc.plan.values import exact_text
from incentive_svc.statement import actions
from incentive_svc.statement.rules import explain_left_out, explain_line
from incentive_svc.statement.values import Explanation, LeftOut, Line, Statement

router = Router(tags=["statements"])

STEPS_SHOWN = 50

Reader = Annotated[Caller, scope("statements:read")]
CodeInPath = Annotated[str, Path(max_length=100)]

Item = TypeVar("Item", Line, LeftOut)
Shown = TypeVar("Shown", bound=View)


class ExplanationView(View):
    """Why: a code and its figures, and the same as an English sentence."""

    code: str
    params: dict[str, Any]
    sentence: str

    @classmethod
    def of(cls, explanation: Explanation) -> Self:
        return cls(code=explanation.code, params=explanation.params, sentence=explanation.sentence)


class EntryView(View):
    """A ledger entry; its basis and rebate are on the line."""

    entry_id: UUID
    order_id: UUID
    line_no: int
    line_kind: str
    kind: str
    quantity: Quantity
    channel: str | None
    sku: str | None
    currency: str
    net_minor: int
    business_at: datetime
    origin_at: datetime


class LineView(EntryView):
    """An entry that counts. The lines' `rebate_minor` sum to the statement's."""

    basis_minor: int
    rebate_minor: int
    explanation: list[ExplanationView]


class LeftOutView(EntryView):
    """An entry that counts for nothing."""

    explanation: ExplanationView


class ReasonCount(View):
    """How many entries were left out for one reason."""

    code: str
    entries: int


class StatementView(View):
    """One partner, plan and period.

    `exact_minor` is the rebate before its one rounding and `rounding_minor` what the rounding added, as decimal text.
    `up_to_date` is false for the moment in which accruals have yet to follow a changed plan or contract.
    """

    partner_id: UUID
    plan_code: str
    plan_name: str
    plan_version: int | None
    period: PeriodView
    time_zone: str
    currency: str | None
    basis_minor: int
    rebate_minor: int
    accrued_minor: int
    exact_minor: str
    rounding_minor: str
    slices: list[SliceView]
    explanation: ExplanationView
    up_to_date: bool
    cell_id: UUID | None
    lines: Page[LineView]
    left_out: list[ReasonCount]
    steps: list[StepView]


@router.get("/v1/statements")
async def browse(
    caller: Reader, cursor: Cursor, wanted: Annotated[Filter, Depends(filter_of)], request: Request
) -> Page[CellView]:
    """Which statements have something in them, with their totals, latest period first."""
    return await cells_page(request, caller, cursor, wanted)


@router.get("/v1/statements/{partner_id}/{plan_code}/{period_start}")
async def show(
    partner_id: UUID,
    plan_code: CodeInPath,
    period_start: Day,
    caller: Reader,
    cursor: Cursor,
    request: Request,
    response: Response,
) -> StatementView:
    """A statement with a page of its lines, each with why it gets this much or nothing.

    Answers 409 `not-a-period-start`, with the right day, when no period of the plan begins on `period_start`.
    """
    async with database(request).read(caller.actor) as tx:
        found = await actions.read(tx, partner_id, plan_code, period_start, request.app.state.zone)
        steps = await accrual_store.history(tx, found.cell.cell_id, None, STEPS_SHOWN) if found.cell else []
    response.headers["ETag"] = etag(found.cell.stream_version if found.cell else 0)
    terms, cell = found.terms, found.cell
    reasons = [left.reason for left in found.left_out]
    return StatementView(
        partner_id=found.partner_id,
        plan_code=found.plan_code,
        plan_name=found.plan_name,
        plan_version=terms.version if terms else None,
        period=PeriodView(start_on=found.period.start_on, end_on=found.period.end_on),
        time_zone=found.time_zone,
        currency=terms.currency if terms else None,
        basis_minor=found.basis_minor,
        rebate_minor=found.rebate_minor,
        accrued_minor=cell.accrued_minor if cell else 0,
        exact_minor=exact_text(found.exact),
        rounding_minor=exact_text(found.rebate_minor - found.exact),
        slices=[SliceView.of(part) for part in found.slices],
        explanation=ExplanationView.of(found.summary),
        up_to_date=found.up_to_date,
        cell_id=cell.cell_id if cell else None,
        lines=_page(found.lines, cursor, lambda line: _line_view(found, line)),
        left_out=[ReasonCount(code=code, entries=reasons.count(code)) for code in sorted(set(reasons))],
        steps=[StepView.of(step) for step in steps],
    )


@router.get("/v1/statements/{partner_id}/{plan_code}/{period_start}/left-out")
async def left_out(
    partner_id: UUID,
    plan_code: CodeInPath,
    period_start: Day,
    caller: Reader,
    cursor: Cursor,
    request: Request,
) -> Page[LeftOutView]:
    """The entries of the period that count for nothing, each with its reason."""
    async with database(request).read(caller.actor) as tx:
        found = await actions.read(tx, partner_id, plan_code, period_start, request.app.state.zone)
    return _page(found.left_out, cursor, lambda left: _left_out_view(found, left))


def _page(items: Sequence[Item], cursor: PageRequest, view: Callable[[Item], Shown]) -> Page[Shown]:
    """A page in the order of the items; its cursor is the sort key of the last one."""
    key = cursor.values(datetime, UUID, int, str, UUID)
    start = 0 if key is None else bisect_right(items, key, key=_sort_key)
    shown = items[start : start + cursor.limit]
    last = _sort_key(shown[-1]) if shown else ()
    return cursor.page([view(item) for item in shown], len(items) - start, last)


def _sort_key(item: Line | LeftOut) -> tuple[datetime, UUID, int, str, UUID]:
    entry = item.entry
    return (entry.business_at, entry.order_id, entry.line_no, entry.kind, entry.entry_id)


def _line_view(statement: Statement, line: Line) -> LineView:
    return LineView(
        **_entry_fields(line.entry),
        basis_minor=line.basis_minor,
        rebate_minor=line.rebate_minor,
        explanation=[ExplanationView.of(each) for each in explain_line(statement, line)],
    )


def _left_out_view(statement: Statement, left: LeftOut) -> LeftOutView:
    return LeftOutView(
        **_entry_fields(left.entry), explanation=ExplanationView.of(explain_left_out(statement, left))
    )


def _entry_fields(entry: Entry) -> dict[str, Any]:
    return {
        "entry_id": entry.entry_id,
        "order_id": entry.order_id,
        "line_no": entry.line_no,
        "line_kind": entry.line_kind,
        "kind": entry.kind,
        "quantity": entry.quantity,
        "channel": entry.channel,
        "sku": entry.sku,
        "currency": entry.currency,
        "net_minor": entry.amounts.net_minor,
        "business_at": entry.business_at,
        "origin_at": entry.origin_at,
    }
