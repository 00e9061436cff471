"""HTTP of plans: make one, draft versions, put one in force, read them, and try tiers out.

Thin over `plan.actions`. Dates are days in each contract's own zone; money is minor units; rates are ppm.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import Path, Request, Response
from pydantic import Field, StringConstraints

from channel_events.values import Code, MinorUnits, RatePpm, Text
from channel_kit.auth import Caller, scope
from channel_kit.database import Write
from channel_kit.http import Body, CurrencyCode, IfMatch, Router, View, database, etag, json_body
from channel_kit.ids import uuid7
from channel_kit.pagination import Cursor, Page
from incentive_svc.plan import actions, rules, store
from incentive_svc.plan.actions import UnknownPlan, UnsoundPlan
from incentive_svc.plan.shapes import SHAPES
from incentive_svc.plan.store import Head, Stored
from incentive_svc.plan.values import FILTER_MAX, TIERS_MAX, Slice, Terms, Tier, exact_text

router = Router(tags=["plans"])

PlanCode = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
CodeInPath = Annotated[str, Path(max_length=100)]
VersionInPath = Annotated[int, Path(ge=1, le=2**31 - 1)]
Reader = Annotated[Caller, scope("plans:read")]
Writer = Annotated[Caller, scope("plans:write", staff=True)]


class CreatePlan(Body):
    """A plan without versions; contracts name it by its code."""

    code: PlanCode
    name: Text


class TierIn(Body):
    """The rate from `lower_minor` on."""

    lower_minor: MinorUnits
    rate_ppm: RatePpm


class DraftVersion(Body):
    """The terms of a version. `valid_to` is the first day after; a filter left out lets everything through."""

    valid_from: date
    valid_to: date | None = None
    calendar: Literal["month", "quarter", "year"]
    currency: CurrencyCode
    shape: Literal["marginal", "all_units"]
    tiers: Annotated[list[TierIn], Field(min_length=1, max_length=TIERS_MAX)]
    basis: Literal["net_sales", "net"] = "net_sales"
    recognition: Literal["ordered", "paid"] = "paid"
    rounding: Literal["half_even", "half_up", "down"] = "half_even"
    channels: Annotated[list[Code], Field(min_length=1, max_length=FILTER_MAX)] | None = None
    skus: Annotated[list[Code], Field(min_length=1, max_length=FILTER_MAX)] | None = None


class Preview(Body):
    """Tiers to try on a basis; nothing is stored."""

    shape: Literal["marginal", "all_units"]
    tiers: Annotated[list[TierIn], Field(min_length=1, max_length=TIERS_MAX)]
    rounding: Literal["half_even", "half_up", "down"] = "half_even"
    basis_minor: MinorUnits


class SliceView(View):
    """The part of a basis that one tier pays on; `amount_minor` is exact, as decimal text."""

    tier: int
    from_minor: int
    to_minor: int
    rate_ppm: int
    amount_minor: str

    @classmethod
    def of(cls, part: Slice) -> Self:
        return cls(
            tier=part.tier,
            from_minor=part.from_minor,
            to_minor=part.to_minor,
            rate_ppm=part.rate_ppm,
            amount_minor=exact_text(part.amount),
        )


class PreviewView(View):
    """What the tiers pay: exactly, rounded once, and by tier."""

    basis_minor: int
    rebate_minor: int
    exact_minor: str
    slices: list[SliceView]


class TierView(View):
    lower_minor: int
    rate_ppm: int


class VersionView(View):
    """A version of a plan; state is draft, active or replaced."""

    version: int
    state: str
    valid_from: date
    valid_to: date | None
    calendar: str
    currency: str
    shape: str
    tiers: list[TierView]
    basis: str
    recognition: str
    rounding: str
    channels: list[str] | None
    skus: list[str] | None
    content_hash: str
    activated_at: datetime | None


class PlanView(View):
    """A plan and, where one plan was asked for, its versions."""

    plan_id: UUID
    code: str
    name: str
    revision: int
    versions: list[VersionView] | None = None


@router.post("/v1/plans", status_code=201)
async def create(
    command: Annotated[CreatePlan, json_body(CreatePlan)],
    caller: Writer,
    request: Request,
    response: Response,
) -> PlanView:
    """Make a plan. Answers 409 `plan-code-taken` when there is one of this code."""
    async with database(request).write(caller.actor) as tx:
        head = await actions.create(tx, command.code, command.name)
    response.headers["ETag"] = etag(head.revision)
    return _plan_view(head, [])


@router.get("/v1/plans")
async def browse(caller: Reader, cursor: Cursor, request: Request) -> Page[PlanView]:
    """Plans by code, without their versions. A partner sees those its contracts name."""
    after = cursor.values(str)
    async with database(request).read(caller.actor) as tx:
        heads = await store.page(tx, after[0] if after else "", cursor.limit + 1)
    shown = heads[: cursor.limit]
    return cursor.page([_plan_view(head) for head in shown], len(heads), [head.code for head in shown[-1:]])


@router.get("/v1/plans/{code}")
async def show(code: CodeInPath, caller: Reader, request: Request, response: Response) -> PlanView:
    """One plan with all its versions."""
    async with database(request).read(caller.actor) as tx:
        head = await store.head(tx, code)
        if head is None:
            raise UnknownPlan
        versions = await store.versions(tx, head.plan_id)
    response.headers["ETag"] = etag(head.revision)
    return _plan_view(head, versions)


@router.post("/v1/plans/{code}/versions", status_code=201)
async def draft(
    code: CodeInPath,
    command: Annotated[DraftVersion, json_body(DraftVersion)],
    caller: Writer,
    request: Request,
) -> VersionView:
    """Add a draft. Answers 409 `off-period-boundary` when it cuts through a period of its calendar."""
    terms = _terms(code, command)
    async with database(request).write(caller.actor) as tx:
        return _version_view(await actions.draft(tx, code, terms))


@router.post("/v1/plans/{code}/versions/{version}/activate")
async def activate(
    code: CodeInPath,
    version: VersionInPath,
    caller: Writer,
    seen: IfMatch,
    request: Request,
    response: Response,
) -> PlanView:
    """Put a version in force; cells of its periods are restated soon after. Doing it again changes nothing.

    Takes If-Match with the plan's ETag. Versions it overlaps end where it begins, or are replaced.
    """

    async def run(tx: Write) -> PlanView:
        await actions.activate(tx, code, version, seen)
        head = await store.head(tx, code)
        if head is None:
            raise UnknownPlan
        return _plan_view(head, await store.versions(tx, head.plan_id))

    view = await database(request).transact(caller.actor, run)
    response.headers["ETag"] = etag(view.revision)
    return view


@router.post("/v1/plans/preview")
async def preview(command: Annotated[Preview, json_body(Preview)], caller: Reader) -> PreviewView:
    """What tiers would pay on a basis, with the slices; the same arithmetic as the accrual's."""
    tiers = _tiers(command.tiers)
    if found := rules.tier_faults(tiers):
        raise UnsoundPlan(errors=actions.errors(found))
    shape, basis = SHAPES[command.shape], command.basis_minor
    exact = shape.rebate(tiers, basis)
    return PreviewView(
        basis_minor=basis,
        rebate_minor=rules.rounded(exact, command.rounding),
        exact_minor=exact_text(exact),
        slices=[SliceView.of(part) for part in shape.explain(tiers, basis)],
    )


def _tiers(given: Sequence[TierIn]) -> tuple[Tier, ...]:
    return tuple(Tier(tier.lower_minor, tier.rate_ppm) for tier in given)


def _terms(code: str, command: DraftVersion) -> Terms:
    return Terms(
        plan_id=uuid7(),  # the action puts the plan's own id and the next version here
        code=code,
        version=1,
        valid_from=command.valid_from,
        valid_to=command.valid_to,
        calendar=command.calendar,
        currency=command.currency,
        shape=command.shape,
        tiers=_tiers(command.tiers),
        basis=command.basis,
        recognition=command.recognition,
        rounding=command.rounding,
        channels=frozenset(command.channels) if command.channels is not None else None,
        skus=frozenset(command.skus) if command.skus is not None else None,
    )


def _plan_view(head: Head, versions: Sequence[Stored] | None = None) -> PlanView:
    return PlanView(
        plan_id=head.plan_id,
        code=head.code,
        name=head.name,
        revision=head.revision,
        versions=None if versions is None else [_version_view(stored) for stored in versions],
    )


def _version_view(stored: Stored) -> VersionView:
    terms = stored.terms
    return VersionView(
        version=terms.version,
        state=stored.state,
        valid_from=terms.valid_from,
        valid_to=terms.valid_to,
        calendar=terms.calendar,
        currency=terms.currency,
        shape=terms.shape,
        tiers=[TierView(lower_minor=tier.lower_minor, rate_ppm=tier.rate_ppm) for tier in terms.tiers],
        basis=terms.basis,
        recognition=terms.recognition,
        rounding=terms.rounding,
        channels=sorted(terms.channels) if terms.channels is not None else None,
        skus=sorted(terms.skus) if terms.skus is not None else None,
        content_hash=stored.content_hash,
        activated_at=stored.activated_at,
    )
