"""Making plans, drafting versions of them, and putting a version in force.

Activation changes what is owed: it takes the exclusive reference lock, announces the version and marks the partners
whose contracts name the plan; restating their cells is left to the drain. Called by the plan routes only.
"""

from collections.abc import Sequence
from dataclasses import replace

from channel_events.catalog import INCENTIVE_PLAN_ACTIVATED
from channel_events.incentive import PlanBody, Validity
from channel_events.incentive import Tier as TierBody
from channel_kit import outbox, reference
from channel_kit.database import Write
from channel_kit.ids import uuid7
from channel_kit.outbox import Announcement
from channel_kit.problems import Conflict, NotFound, PreconditionFailed, Problem
from incentive_svc.plan import rules, store
from incentive_svc.plan.rules import Fault, Refusal
from incentive_svc.plan.store import Head, Stored
from incentive_svc.plan.values import Terms
from incentive_svc.reference import store as reference_store
from incentive_svc.reference.actions import PARTNER


class UnknownPlan(NotFound):
    code = "unknown-plan"
    title = "There is no such plan, or you may not see it; check the code"


class UnknownPlanVersion(NotFound):
    code = "unknown-plan-version"
    title = "The plan has no such version; read the plan for those it has"


class PlanCodeTaken(Conflict):
    code = "plan-code-taken"
    title = "Another plan has this code; choose another code, or add a version to that plan"


class UnsoundPlan(Problem):
    status = 422
    code = "unsound-plan"
    title = "The terms do not make a plan; correct those listed under errors"


class OffPeriodBoundary(Conflict):
    code = "off-period-boundary"
    title = "A version begins and ends where a period of its calendar begins; use a day listed under errors"


class VersionReplaced(Conflict):
    code = "plan-version-replaced"
    title = "A later version has replaced this one; draft a new version instead"


class PlanTermsFixed(Conflict):
    code = "plan-terms-fixed"
    title = "Calendar and currency stay the same within a plan; make another plan"


class PlanVersionsOverlap(Conflict):
    code = "plan-versions-overlap"
    title = "The days overlap those of an active version; see the detail"


_REFUSALS: dict[str, type[Conflict]] = {kind.code: kind for kind in (PlanTermsFixed, PlanVersionsOverlap)}


async def create(tx: Write, code: str, name: str) -> Head:
    """A new plan without versions. Raises PlanCodeTaken."""
    plan_id = uuid7()
    if not await store.insert(tx, plan_id, code, name):
        raise PlanCodeTaken
    return Head(plan_id, code, name, revision=1, stream_version=0)


async def draft(tx: Write, code: str, terms: Terms) -> Stored:
    """Keeps a version as a draft under the plan's next number. Raises UnknownPlan, UnsoundPlan, OffPeriodBoundary.

    `plan_id`, `code` and `version` of the terms given are ignored.
    """
    plan = await _lock(tx, code, None)
    numbers = [stored.terms.version for stored in await store.versions(tx, plan.plan_id)]
    terms = replace(terms, plan_id=plan.plan_id, code=plan.code, version=max(numbers, default=0) + 1)
    if found := rules.faults(terms):
        raise UnsoundPlan(errors=errors(found))
    if found := rules.off_boundary(terms):
        raise OffPeriodBoundary(errors=errors(found))
    content_hash = rules.content_hash(terms)
    await store.insert_draft(tx, terms, content_hash)
    await store.save_head(tx, plan.plan_id, plan.revision + 1, plan.stream_version)
    return Stored(terms, "draft", content_hash, None)


async def activate(tx: Write, code: str, version: int, revision: int | None = None) -> None:
    """Puts a draft in force and marks everybody it concerns; an active version stays as it is.

    `revision` is the plan's as the caller saw it, None when it does not care. Raises UnknownPlan,
    UnknownPlanVersion, PreconditionFailed, VersionReplaced, PlanTermsFixed, PlanVersionsOverlap.
    """
    await reference.exclusive(tx)
    plan = await _lock(tx, code, revision)
    known = {stored.terms.version: stored for stored in await store.versions(tx, plan.plan_id)}
    wanted = known.get(version)
    if wanted is None:
        raise UnknownPlanVersion
    if wanted.state == "active":
        return
    if wanted.state == "replaced":
        raise VersionReplaced
    verdict = rules.activation([s.terms for s in known.values() if s.state == "active"], wanted.terms)
    if isinstance(verdict, Refusal):
        raise _REFUSALS[verdict.code](verdict.detail)
    await store.activate(tx, plan.plan_id, version, verdict.cut, verdict.replaced)
    await store.save_head(tx, plan.plan_id, plan.revision + 1, plan.stream_version + 1)
    await outbox.announce(
        tx,
        [
            Announcement(
                INCENTIVE_PLAN_ACTIVATED,
                plan.plan_id,
                plan.stream_version + 1,
                _body(wanted.terms, wanted.content_hash),
                uuid7(),
            )
        ],
    )
    await reference.mark(tx, PARTNER, await reference_store.partners_naming(tx, code))


async def _lock(tx: Write, code: str, revision: int | None) -> Head:
    plan = await store.lock(tx, code)
    if plan is None:
        raise UnknownPlan
    if revision is not None and revision != plan.revision:
        raise PreconditionFailed
    return plan


def errors(found: Sequence[Fault]) -> list[dict[str, str]]:
    """Faults as a problem lists them."""
    return [{"in": "body", "pointer": fault.pointer, "reason": fault.reason} for fault in found]


def _body(terms: Terms, content_hash: str) -> PlanBody:
    return PlanBody(
        code=terms.code,
        version=terms.version,
        validity=Validity(start_on=terms.valid_from, end_on=terms.valid_to),
        calendar=terms.calendar,
        currency=terms.currency,
        shape=terms.shape,
        tiers=tuple(TierBody(lower_minor=tier.lower_minor, rate_ppm=tier.rate_ppm) for tier in terms.tiers),
        basis=terms.basis,
        recognition=terms.recognition,
        rounding=terms.rounding,
        content_hash=content_hash,
    )
