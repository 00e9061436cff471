"""Which cell an entry belongs to, why it belongs to none, and what a cell owes after it.

Pure. An entry counts under a plan when a contract that names the plan decides at the entry's origin, a version is in
force for the period, and the version's axis, currency and filters let it through. The accrual is cumulative:
delta = round(R(basis)) − what was accrued, so a refund takes back the tier drop of its own period too.
`place` judges one instant, `windows` whole spans of them; both follow the same segments and periods.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from incentive_svc.accrual.values import (
    Accrual,
    Cause,
    Cell,
    CellKey,
    Fold,
    Place,
    Product,
    Slices,
    Window,
)
from incentive_svc.basis.rules import period_of, periods_near, starts_at, zone
from incentive_svc.basis.values import AXES, Amounts, Entry
from incentive_svc.plan.rules import rebate
from incentive_svc.plan.values import Plan, Terms
from incentive_svc.reference.rules import segments
from incentive_svc.reference.values import Contract, Segment


class Reason(StrEnum):
    """Why an entry counts for nothing under a plan."""

    NO_CONTRACT = "no-contract"
    PLAN_NOT_IN_CONTRACT = "plan-not-in-contract"
    UNKNOWN_TIME_ZONE = "unknown-time-zone"
    DATE_OUT_OF_RANGE = "date-out-of-range"
    PLAN_NOT_IN_FORCE = "plan-not-in-force"
    OTHER_AXIS = "other-axis"
    OTHER_CURRENCY = "other-currency"
    CHANNEL_NOT_IN_PLAN = "channel-not-in-plan"
    SKU_NOT_IN_PLAN = "sku-not-in-plan"


class Book:
    """The contracts and plans that a batch is judged by, read once under the reference lock."""

    def __init__(self, contracts: Iterable[Contract], plans: Iterable[Plan]) -> None:
        self.contracts: dict[UUID, list[Contract]] = defaultdict(list)
        for contract in contracts:
            self.contracts[contract.partner_id].append(contract)
        self.plans = {plan.code: plan for plan in plans}
        self._named: dict[UUID, list[Plan]] = {}
        self._segments: dict[tuple[UUID, str], tuple[Segment, ...]] = {}

    def plans_of(self, partner_id: UUID) -> list[Plan]:
        """Every known plan that some contract version of the partner names, by code."""
        if partner_id not in self._named:
            named = {code for contract in self.contracts.get(partner_id, ()) for code in contract.plan_codes}
            self._named[partner_id] = [self.plans[code] for code in sorted(named & self.plans.keys())]
        return self._named[partner_id]

    def segments(self, partner_id: UUID, plan_code: str) -> tuple[Segment, ...]:
        """The spans in which the partner earns under the plan."""
        key = (partner_id, plan_code)
        if key not in self._segments:
            self._segments[key] = segments(self.contracts.get(partner_id, ()), plan_code)
        return self._segments[key]


def place(spans: Sequence[Segment], active: Sequence[Terms], at: datetime) -> Place | Reason:
    """The version and period of an instant, or the reason why it has none."""
    span = next((span for span in spans if span.holds(at)), None)
    if span is None:
        return Reason.PLAN_NOT_IN_CONTRACT
    in_zone = zone(span.contract.time_zone)
    if in_zone is None:
        return Reason.UNKNOWN_TIME_ZONE
    for terms in active:
        period = period_of(terms.calendar, at, in_zone)
        if period is None:
            return Reason.DATE_OUT_OF_RANGE
        if terms.covers(period.start_on):
            return Place(terms, period)
    return Reason.PLAN_NOT_IN_FORCE


def count(terms: Terms, kind: str, currency: str, product: Product, amounts: Amounts) -> int | Reason:
    """The basis of an entry, or of a sum of entries alike, in minor units; or the reason why it has none."""
    channel, sku = product
    if kind not in AXES[terms.recognition]:
        return Reason.OTHER_AXIS
    if currency != terms.currency:
        return Reason.OTHER_CURRENCY
    if terms.channels is not None and channel not in terms.channels:
        return Reason.CHANNEL_NOT_IN_PLAN
    if terms.skus is not None and sku not in terms.skus:
        return Reason.SKU_NOT_IN_PLAN
    return amounts.basis_minor(terms.basis)


def fold(entries: Iterable[tuple[Entry, Cause]], book: Book) -> dict[CellKey, Fold]:
    """What each cell gets from a batch of new entries; an entry may count under several plans."""
    sums: dict[CellKey, _Sum] = {}
    here: dict[tuple[UUID, datetime], list[_Sum]] = {}  # the entries of one order share their instant
    for entry, cause in entries:
        instant = (entry.partner_id, entry.origin_at)
        if instant not in here:
            here[instant] = [
                sums.setdefault(cell_key(entry.partner_id, found), _Sum(found))
                for found in _places(instant, book)
            ]
        product = (entry.channel, entry.sku)
        for each in here[instant]:
            amount = count(each.place.terms, entry.kind, entry.currency, product, entry.amounts)
            if not isinstance(amount, Reason):
                each.slices[product] += amount
                each.causes[cause.event_id] = cause
    return {
        key: Fold(each.place, each.slices, tuple(each.causes.values()))
        for key, each in sums.items()
        if each.causes
    }


class _Sum:
    """What a batch brings to one cell, while it is being added up."""

    __slots__ = ("causes", "place", "slices")

    def __init__(self, found: Place) -> None:
        self.place = found
        self.slices: defaultdict[Product, int] = defaultdict(int)
        self.causes: dict[UUID, Cause] = {}


def _places(instant: tuple[UUID, datetime], book: Book) -> list[Place]:
    partner_id, at = instant
    found = [
        place(book.segments(partner_id, plan.code), plan.active, at) for plan in book.plans_of(partner_id)
    ]
    return [each for each in found if isinstance(each, Place)]


def cell_key(partner_id: UUID, found: Place) -> CellKey:
    """The cell of a partner at a place."""
    return CellKey(found.terms.plan_id, partner_id, found.period.start_on, found.terms.currency)


def windows(
    partner_id: UUID, spans: Sequence[Segment], active: Sequence[Terms], months: Iterable[date]
) -> list[Window]:
    """The spans of instants around these UTC months that belong to a cell; they never overlap."""
    wanted = sorted(set(months))
    found = []
    for span in spans:
        in_zone = zone(span.contract.time_zone)
        if in_zone is None:
            continue
        for terms in active:
            periods = {period for month in wanted for period in periods_near(terms.calendar, month)}
            for period in sorted(periods):
                start = max(span.starts_at, starts_at(period.start_on, in_zone))
                end = starts_at(period.end_on, in_zone)
                if span.ends_at is not None:
                    end = min(end, span.ends_at)
                if terms.covers(period.start_on) and start < end:
                    inside = Place(terms, period)
                    found.append(Window(cell_key(partner_id, inside), inside, start, end))
    return found


def advance(cell: Cell, terms: Terms | None, slices: Slices) -> tuple[Cell, Accrual] | None:
    """The cell after its basis changed by these slices, and the step it takes; None when nothing changes.

    `terms` None is for a cell that lost its plan: nothing may be left in it.
    """
    changed = tuple(sorted(((p, n) for p, n in slices.items() if n), key=lambda item: _by_name(item[0])))
    basis = cell.basis_minor + sum(amount for _, amount in changed)
    if terms is None and basis:
        raise ValueError(f"cell {cell.cell_id} has a basis of {basis} and no terms")
    owed = rebate(terms, basis) if terms is not None else 0
    version = terms.version if terms is not None else cell.plan_version
    moved = owed != cell.accrued_minor or (cell.seq > 0 and version != cell.plan_version)
    if not changed and not moved:
        return None
    step = Accrual(cell.seq + 1, cell.basis_minor, basis, cell.accrued_minor, owed, version, changed)
    after = replace(cell, plan_version=version, basis_minor=basis, accrued_minor=owed, seq=step.seq)
    return after, step


def difference(target: Slices, held: Slices) -> dict[Product, int]:
    """What brings a cell's slices from `held` to `target`."""
    products = target.keys() | held.keys()
    return {product: target.get(product, 0) - held.get(product, 0) for product in products}


def _by_name(product: Product) -> tuple[str, str]:
    channel, sku = product
    return (channel or "", sku or "")
