"""Reading a statement: the entries, contracts and plan of one partner and period, brought together.

Nothing is stored and nothing is changed. What the caller may see is row level security's business: a partner that
asks for another's statement finds neither contract nor entry and gets UnknownPartner.
"""

from datetime import date
from uuid import UUID
from zoneinfo import ZoneInfo

from channel_kit.database import Read
from channel_kit.problems import Conflict, NotFound
from incentive_svc.accrual import store as accrual_store
from incentive_svc.accrual.rules import Book
from incentive_svc.accrual.values import CellKey
from incentive_svc.basis import store as basis_store
from incentive_svc.basis.rules import period_on, starts_at, zone
from incentive_svc.plan import store as plan_store
from incentive_svc.plan.actions import UnknownPlan
from incentive_svc.plan.values import Plan
from incentive_svc.reference import store as reference_store
from incentive_svc.statement.rules import compose
from incentive_svc.statement.values import Statement


class UnknownPartner(NotFound):
    code = "unknown-partner"
    title = "Nothing is known of such a partner here, or you may not see it; check the id"


class NotAPeriodStart(Conflict):
    code = "not-a-period-start"
    title = "No period of the plan begins on that day; use the day in period_start"


async def read(
    tx: Read, partner_id: UUID, plan_code: str, start_on: date, default_zone: ZoneInfo
) -> Statement:
    """The statement of the period that begins on `start_on`; an empty one says why it is empty.

    Raises UnknownPlan, UnknownPartner, NotAPeriodStart.
    """
    head = await plan_store.head(tx, plan_code)
    if head is None:
        raise UnknownPlan
    contracts = await reference_store.contracts_of(tx, [partner_id])
    if not contracts and not await basis_store.knows_partner(tx, partner_id):
        raise UnknownPartner
    stored = await plan_store.versions(tx, head.plan_id)
    active = sorted((s.terms for s in stored if s.state == "active"), key=lambda terms: terms.valid_from)
    plan = Plan(head.plan_id, head.code, head.name, tuple(active))
    calendar = next((terms.calendar for terms in [*active, *(s.terms for s in stored)]), "month")
    period = period_on(calendar, start_on)
    if period.start_on != start_on:
        raise NotAPeriodStart(period_start=period.start_on.isoformat())

    book = Book(contracts, [plan])
    naming = [span.contract for span in book.segments(partner_id, plan.code)]
    zones = [found for c in [*reversed(naming), *contracts] if (found := zone(c.time_zone)) is not None]
    in_zone = zones[0] if zones else default_zone
    # Contracts in several zones give the period several ends; each entry is judged by its own contract afterwards.
    around = [in_zone, *zones]
    entries = await basis_store.live_of_period(
        tx,
        partner_id,
        min(starts_at(period.start_on, each) for each in around),
        max(starts_at(period.end_on, each) for each in around),
    )
    terms = next((terms for terms in active if terms.covers(period.start_on)), None)
    cell = None
    if terms is not None:
        cell = await accrual_store.find(
            tx, CellKey(plan.plan_id, partner_id, period.start_on, terms.currency)
        )
    return compose(
        partner_id=partner_id,
        plan=plan,
        period=period,
        time_zone=in_zone.key,
        entries=entries,
        paid_orders=await basis_store.paid_orders(tx, [entry.order_id for entry in entries]),
        book=book,
        cell=cell,
    )
