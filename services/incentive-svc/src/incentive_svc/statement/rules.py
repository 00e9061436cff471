"""Making a statement from entries: what counts, how the rebate is split over lines, and why the rest is left out.

Pure. The rebate is split by largest remainder over the live entries, ties in their order, so that the lines sum to
it; an entry that takes away from the basis takes its share away too. Nothing is split when the basis is not positive.
The judgement of an entry is the accrual's own.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from fractions import Fraction
from uuid import UUID

from incentive_svc.accrual.rules import Book, Reason, count, place
from incentive_svc.accrual.values import Cell
from incentive_svc.basis.rules import Period
from incentive_svc.basis.values import AXES, Entry
from incentive_svc.plan.rules import exact_rebate, explain, rebate
from incentive_svc.plan.values import Plan, Terms
from incentive_svc.reference.rules import spans
from incentive_svc.statement import values
from incentive_svc.statement.values import Explanation, LeftOut, Line, Statement

NOT_YET_PAID = "not-yet-paid"
NO_ENTRIES = "no-entries"


def split(total: int, weights: Sequence[int]) -> list[int]:
    """Split `total` in proportion to signed weights with a positive sum; the parts sum to it exactly.

    Largest remainder, ties to the earlier part. A negative weight gives a negative part.
    """
    whole = sum(weights)
    if whole <= 0:
        raise ValueError("there is nothing to split over a basis that is not positive")
    parts = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: -(total * weights[i] % whole))
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    return parts


def compose(
    *,
    partner_id: UUID,
    plan: Plan,
    period: Period,
    time_zone: str,
    entries: Sequence[Entry],
    paid_orders: Collection[UUID],
    book: Book,
    cell: Cell | None,
) -> Statement:
    """The statement of a period from its live entries, which come in the order of the lines."""
    terms = next((terms for terms in plan.active if terms.covers(period.start_on)), None)
    counted, left_out = _sort(partner_id, plan, period, terms, entries, paid_orders, book)
    basis = sum(amount for _, amount in counted)
    owed = rebate(terms, basis) if terms else 0
    shares = split(owed, [amount for _, amount in counted]) if basis > 0 else [0] * len(counted)
    return Statement(
        partner_id=partner_id,
        plan_code=plan.code,
        plan_name=plan.name,
        terms=terms,
        period=period,
        time_zone=time_zone,
        basis_minor=basis,
        rebate_minor=owed,
        exact=exact_rebate(terms, basis) if terms else Fraction(0),
        slices=explain(terms, basis) if terms else (),
        lines=tuple(
            Line(entry, amount, share) for (entry, amount), share in zip(counted, shares, strict=True)
        ),
        left_out=tuple(left_out),
        summary=_summary(partner_id, plan, period, terms, bool(counted), basis, book, left_out),
        cell=cell,
    )


def explain_line(statement: Statement, line: Line) -> list[Explanation]:
    """Why a line gets what it gets, the basis first."""
    terms = statement.terms
    if terms is None:
        return [statement.summary]
    formula = values.basis_formula(terms.basis, line.entry.amounts, line.basis_minor, terms.currency)
    if statement.rebate_minor == 0:
        return [formula, statement.summary]
    return [
        formula,
        values.tier_slices(statement.slices, terms.currency),
        values.share_of_rebate(line, statement.basis_minor, statement.rebate_minor, terms.currency),
    ]


def explain_left_out(statement: Statement, left: LeftOut) -> Explanation:
    """Why an entry counts for nothing."""
    terms = statement.terms
    return values.reason(
        left.reason,
        currency=left.entry.currency,
        plan_currency=terms.currency if terms else None,
        channel=left.entry.channel,
        sku=left.entry.sku,
    )


def _sort(
    partner_id: UUID,
    plan: Plan,
    period: Period,
    terms: Terms | None,
    entries: Sequence[Entry],
    paid_orders: Collection[UUID],
    book: Book,
) -> tuple[list[tuple[Entry, int]], list[LeftOut]]:
    naming = book.segments(partner_id, plan.code)
    contracts = spans(book.contracts.get(partner_id, ()))
    recognition = terms.recognition if terms else "paid"
    unpaid = _unpaid(entries, paid_orders) if recognition == "paid" else frozenset[UUID]()
    counted: list[tuple[Entry, int]] = []
    left_out: list[LeftOut] = []
    for entry in entries:
        awaited = entry.entry_id in unpaid
        if entry.kind not in AXES[recognition] and not awaited:
            continue
        found = place(naming, plan.active, entry.origin_at)
        if isinstance(found, Reason):
            if found is Reason.PLAN_NOT_IN_CONTRACT and not any(s.holds(entry.origin_at) for s in contracts):
                found = Reason.NO_CONTRACT
            left_out.append(LeftOut(entry, found))
        elif found.period != period:
            continue
        elif awaited:
            left_out.append(LeftOut(entry, NOT_YET_PAID))
        else:
            product = (entry.channel, entry.sku)
            amount = count(found.terms, entry.kind, entry.currency, product, entry.amounts)
            if isinstance(amount, Reason):
                left_out.append(LeftOut(entry, amount))
            else:
                counted.append((entry, amount))
    return counted, left_out


def _unpaid(entries: Sequence[Entry], paid_orders: Collection[UUID]) -> frozenset[UUID]:
    """Demand that waits for its money: order lines without any payment that were not cancelled or returned."""
    waiting: dict[tuple[UUID, int], list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.kind in AXES["ordered"] and entry.order_id not in paid_orders:
            waiting[(entry.order_id, entry.line_no)].append(entry)
    return frozenset(
        entry.entry_id
        for line in waiting.values()
        if sum(entry.amounts.net_minor for entry in line)
        for entry in line
    )


def _summary(
    partner_id: UUID,
    plan: Plan,
    period: Period,
    terms: Terms | None,
    counts: bool,
    basis: int,
    book: Book,
    left_out: Sequence[LeftOut],
) -> Explanation:
    """Why the period pays what it pays, or nothing."""
    if not book.contracts.get(partner_id):
        return values.reason(Reason.NO_CONTRACT)
    if not book.segments(partner_id, plan.code):
        return values.reason(Reason.PLAN_NOT_IN_CONTRACT)
    if terms is None:
        return values.reason(Reason.PLAN_NOT_IN_FORCE)
    if not counts:
        reasons = {left.reason for left in left_out}
        # One reason for everything is the answer; several are told one by one under left_out.
        if len(reasons) == 1:
            first = left_out[0].entry
            return values.reason(
                reasons.pop(),
                currency=first.currency,
                plan_currency=terms.currency,
                channel=first.channel,
                sku=first.sku,
            )
        return values.reason(NO_ENTRIES)
    if basis <= 0:
        return values.basis_not_positive(basis, terms.currency)
    exact = exact_rebate(terms, basis)
    if exact == 0:
        paying = next((tier for tier in terms.tiers if tier.rate_ppm and tier.lower_minor >= basis), None)
        return values.below_first_paying_tier(basis, paying, terms.currency)
    if (owed := rebate(terms, basis)) == 0:
        return values.rounds_to_zero(exact, terms.currency)
    return values.pays(basis, owed, explain(terms, basis), terms.currency)
