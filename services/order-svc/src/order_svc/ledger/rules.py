"""Which entries an order should have, and how the ledger gets there.

`Book` is a pure function of the greatest document, the refunds and the attribution: nothing is carried over from
an earlier state, so every permutation of the same deliveries ends in the same live entries. `post` compares the
live entries with those, reverses what differs and appends what is new; what did not change stays. Amounts are
split here, once. No line is ever taken below zero: what facts say beyond that belongs to no line and stands on
an adjustment of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from msgspec import Struct, field
from msgspec.structs import replace

from channel_kit.money import share
from order_svc.ledger.values import ORIGIN_KIND, Entry, Wanted, minus, negated, scaled, split, taken_back
from order_svc.order.values import ZERO, Components, Line, OrderDocument, Refund, RefundLine

REMAINDER_LINE = 0
"""The line number of amounts that belong to no line of the document."""

_NOTHING = Components()
_GOODS = ("product", "gift_card")
_ORIGINS = frozenset(ORIGIN_KIND.values())
_SETTLED = ("paid", "partially_refunded", "refunded")


class Facts(Struct, frozen=True):
    """Everything the entries of one order depend on; all refunds are in the document's currency."""

    document: OrderDocument
    refunds: tuple[Refund, ...] = ()
    deleted_at: datetime | None = None
    partner_id: UUID | None = None
    channel: str | None = None
    skus: Mapping[str, str] = field(default_factory=dict)

    @property
    def lifecycle(self) -> str:
        return "deleted" if self.deleted_at else self.document.lifecycle

    def sku(self, line: Line) -> str | None:
        """Our SKU of a line; None where there is none or it is not known yet."""
        return self.skus.get(line.platform_sku or "") if line.line_kind == "product" else None


@dataclass(slots=True)
class _Purse:
    """What of a line still stands on one axis while refunds are taken off it."""

    money: Components
    units: Decimal

    @property
    def worth(self) -> int:
        """What a refund of this very line may still take."""
        return max(0, self.money.net_minor)

    def take(self, value: int, units: Decimal = ZERO, part: RefundLine | None = None) -> Components:
        """Takes out `value`, at most what it is worth; by units where it is worth nothing (given away, say)."""
        if self.money.net_minor:
            taken = taken_back(self.money, value, part)
        else:
            taken = scaled(self.money, min(units, self.units), self.units)
        self.money = minus(self.money, taken)
        self.units -= min(units, self.units)
        return taken


@dataclass(slots=True)
class _Running:
    """One line while what undoes it is taken off."""

    number: int
    line: Line
    earned: bool  # it left, or it is freight or a fee of an order of which something left
    room: Decimal  # units that never left: a refund finds them cancelled rather than returned
    demand: _Purse
    cash: _Purse
    unpaid_back: int = 0  # value of cancelled units that no refund has paid back yet
    cancelled: Decimal = ZERO
    returned: Decimal = ZERO
    restocked: Decimal = ZERO


class _Back(NamedTuple):
    """One line of a refund; `each` None where it names no line of the order."""

    at: datetime
    part: RefundLine
    each: _Running | None


class LineOutcome(Struct, frozen=True):
    """The quantities of one line as the order stands now."""

    number: int
    line: Line
    cancelled: Decimal
    returned: Decimal
    restocked: Decimal


class Book:
    """The wanted entries of one order, built axis by axis, and what did not fit (`flags`)."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.document = facts.document
        self.entries: list[Wanted] = []
        self.flags: set[str] = set()
        left = any(line.shipped for line in self.document.lines if line.line_kind in _GOODS)
        self._lines = [_start(no, line, left) for no, line in enumerate(self.document.lines, start=1)]
        self._buyers = [each for each in self._lines if each.line.line_kind != "platform_fee"]
        self._by_id = {each.line.external_id: each for each in self._buyers}
        self._backs = [
            _Back(refund.at, part, self._line_of(part))
            for refund in sorted(facts.refunds, key=lambda refund: (refund.at, refund.external_id))
            for part in refund.lines or (RefundLine(None, ZERO, refund.amount_minor),)
        ]
        self._place()
        paid_back_units = self._cancel()
        self._return(paid_back_units)
        self._pay()
        self._give_back()

    @property
    def outcomes(self) -> list[LineOutcome]:
        return [
            LineOutcome(each.number, each.line, each.cancelled, each.returned, each.restocked)
            for each in self._lines
        ]

    def _line_of(self, part: RefundLine) -> _Running | None:
        if part.line_external_id is None:
            return None
        if part.line_external_id not in self._by_id:
            self.flags.add("refund-of-unknown-line")
        return self._by_id.get(part.line_external_id)

    # -- demand and goods ------------------------------------------------------------------------------------

    def _place(self) -> None:
        placed = self.document.placed_at
        shipped_at = self.document.shipped_at or self.document.paid_at or placed
        for each in self._lines:
            if each.line.line_kind == "platform_fee":
                self._add(each, "fee", ZERO, each.line.components, placed, placed)
                continue
            self._add(each, "ordered", each.line.ordered, each.line.components, placed, placed)
            if each.line.shipped and each.line.line_kind in _GOODS:
                self._add(each, "shipped", each.line.shipped, _NOTHING, shipped_at, placed)

    def _cancel(self) -> list[Decimal]:
        """What never left: taken off by an edit, paid back by a refund, or left over when the order was closed.

        Returns how many units each refund line pays back. All of it is known before any amount is looked at,
        so that the time of a concession makes no difference.
        """
        for each in self._buyers:
            limit = each.room if each.line.line_kind in _GOODS else each.line.ordered
            if each.line.removed > limit:
                self.flags.add("removed-after-shipping")
            if units := min(each.line.removed, limit):
                self._cancel_units(each, units, self.document.placed_at)
        closed = self.facts.lifecycle in ("cancelled", "deleted")
        closed_at = self.document.cancelled_at or self.facts.deleted_at if closed else None
        backs: list[Decimal] = []
        for at, part, line in self._backs:
            backs.append(min(part.quantity, line.room) if line else ZERO)
            if line and backs[-1]:
                self._cancel_units(line, backs[-1], min(at, closed_at or at))
        if closed:
            at = closed_at or self.document.completed_at or self.document.placed_at
            for each in self._buyers:
                if each.room:
                    self._cancel_units(each, each.room, at)
                elif not each.line.ordered and not each.earned and each.demand.money != _NOTHING:
                    self._cancelled(each, ZERO, each.demand.money, at)  # money without a quantity
        return backs

    def _cancel_units(self, each: _Running, units: Decimal, at: datetime) -> None:
        """Unshipped units at their ordered value; the parts sum to the whole."""
        components, ordered = each.line.components, each.line.ordered
        before = scaled(components, each.cancelled, ordered)
        each.cancelled += units
        each.room = max(ZERO, each.room - units)
        self._cancelled(each, units, minus(scaled(components, each.cancelled, ordered), before), at)

    def _cancelled(self, each: _Running, units: Decimal, value: Components, at: datetime) -> None:
        each.demand.money = minus(each.demand.money, value)
        each.demand.units -= units
        each.unpaid_back += value.net_minor
        self._add(each, "cancelled", -units, negated(value), at, self.document.placed_at)

    def _return(self, paid_back_units: Sequence[Decimal]) -> None:
        """A refund's share of demand: what it pays back of cancelled units is no return."""
        placed, unnamed = self.document.placed_at, list[tuple[datetime, int]]()
        for (at, part, each), back in zip(self._backs, paid_back_units, strict=True):
            if each is None:
                unnamed.append((at, part.amount_minor))
                continue
            for_back = share(part.amount_minor, back, part.quantity) if part.quantity else part.amount_minor
            paid_back = min(for_back, max(0, each.unpaid_back))
            each.unpaid_back -= paid_back
            units = part.quantity - back
            each.returned += units
            each.restocked += min(units, max(ZERO, part.restocked - back))
            value = min(part.amount_minor - paid_back, each.demand.worth)
            components = each.demand.take(value, units, part)
            if units or components != _NOTHING:
                self._add(each, "returned", -units, negated(components), at, placed)
            unnamed.append((at, part.amount_minor - paid_back - value))
        for at, amount in unnamed:
            rest = amount - self._pay_back(amount)
            self._spread("returned", rest, [each.demand for each in self._buyers], at, placed)

    def _pay_back(self, amount: int) -> int:
        """Lets an amount that names no line pay for cancelled units first; returns how much it did."""
        owed = [each.unpaid_back for each in self._buyers]
        covered = max(0, min(amount, sum(owed)))
        for each, part in zip(self._buyers, split(covered, owed), strict=True) if covered else ():
            each.unpaid_back -= part
        return covered

    # -- cash ------------------------------------------------------------------------------------------------

    def _pay(self) -> None:
        """All that was paid, split over the lines; what they do not explain belongs to none."""
        nets = [each.line.components.net_minor for each in self._buyers]
        whole, paid_at = sum(nets), self._paid_at
        within = max(0, min(self.document.paid_minor, whole))
        parts = split(within, nets) if within else [0] * len(nets)
        free = (within, whole) if whole > 0 else (int(self.document.payment in _SETTLED), 1)
        for each, net, part in zip(self._buyers, nets, parts, strict=True):
            # A line that costs the buyer nothing may still be somebody's money: a platform's coupon, say.
            each.cash.money = scaled(each.line.components, *((part, net) if net else free))
            if each.cash.money != _NOTHING:
                self._add(each, "paid", ZERO, each.cash.money, paid_at, paid_at)
        if self.document.paid_minor > within:
            self.flags.add("over-paid")
            self._add_remainder("paid", self.document.paid_minor - within, paid_at, paid_at)

    def _give_back(self) -> None:
        unnamed: list[tuple[datetime, int]] = []
        for at, part, each in self._backs:
            value = min(part.amount_minor, each.cash.worth) if each else 0
            if each:
                components = each.cash.take(value, part.quantity, part)
                if components != _NOTHING:
                    self._add(each, "refunded", ZERO, negated(components), at, self._paid_at)
            unnamed.append((at, part.amount_minor - value))
        for at, amount in unnamed:
            self._spread("refunded", amount, [each.cash for each in self._buyers], at, self._paid_at)

    @property
    def _paid_at(self) -> datetime:
        return self.document.paid_at or self.document.placed_at

    # -- rows ------------------------------------------------------------------------------------------------

    def _spread(
        self, kind: str, amount: int, purses: Sequence[_Purse], at: datetime, origin: datetime
    ) -> None:
        """Takes an amount that names no line off all lines, in proportion to what still stands; what is beyond
        them, or was kept back, belongs to none."""
        nets = [purse.money.net_minor for purse in purses]
        within = max(0, min(amount, sum(nets)))
        parts = split(within, nets) if within else ()
        for each, purse, part in zip(self._buyers, purses, parts, strict=bool(parts)):
            if part:
                self._add(each, kind, ZERO, negated(purse.take(part)), at, origin)
        self._add_remainder(kind, within - amount, at, origin)

    def _add(
        self, each: _Running, kind: str, quantity: Decimal, money: Components, at: datetime, origin: datetime
    ) -> None:
        self._row(
            each.number, each.line.line_kind, kind, quantity, money, self.facts.sku(each.line), at, origin
        )

    def _add_remainder(self, kind: str, amount: int, at: datetime, origin: datetime) -> None:
        if amount:
            money = Components(list_minor=amount)
            self._row(REMAINDER_LINE, "adjustment", kind, ZERO, money, None, at, origin)

    def _row(
        self,
        number: int,
        line_kind: str,
        kind: str,
        quantity: Decimal,
        money: Components,
        sku: str | None,
        at: datetime,
        origin: datetime,
    ) -> None:
        order, known = self.document, self.facts
        about = (order.currency, order.tax_included, known.partner_id, known.channel)
        self.entries.append(Wanted(number, line_kind, kind, quantity, money, *about, sku, at, origin))


class Posting(Struct, frozen=True):
    """What has to be appended: reversals first, then the new entries."""

    reversed: tuple[Entry, ...]
    added: tuple[Entry, ...]

    @property
    def entries(self) -> tuple[Entry, ...]:
        return self.reversed + self.added


def post(
    order_id: UUID,
    live: Sequence[Entry],
    should: Sequence[Wanted],
    *,
    cause: UUID | None,
    at: datetime,
    identify: Callable[[], UUID],
) -> Posting:
    """The difference between what is live and what should be.

    An undo row points to the live row that it undoes, wherever there is one; when that changes it is posted anew.
    """
    # What is undone comes before its undoing.
    ordered = [row for row in should if row.kind not in ORIGIN_KIND]
    ordered += [row for row in should if row.kind in ORIGIN_KIND]
    kept, missing, origins = _matched(live, ordered) if live else (frozenset[UUID](), ordered, {})
    reversals = tuple(
        replace(
            entry,
            entry_id=identify(),
            wanted=replace(
                entry.wanted, quantity=-entry.wanted.quantity, components=negated(entry.wanted.components)
            ),
            recorded_at=at,
            cause_delivery_id=cause,
            reverses_entry_id=entry.entry_id,
        )
        for entry in live
        if entry.entry_id not in kept
    )
    added: list[Entry] = []
    for row in missing:
        origin_id = origins.get((row.line_no, ORIGIN_KIND.get(row.kind, "")))
        added.append(Entry(identify(), order_id, row, at, cause, origin_entry_id=origin_id))
        if row.kind in _ORIGINS:
            origins[row.line_no, row.kind] = added[-1].entry_id
    return Posting(reversals, tuple(added))


_Origins = dict[tuple[int, str], UUID | None]
"""The entry of each (line, kind) that others may undo; None: it will be new."""


def _matched(
    live: Sequence[Entry], should: Sequence[Wanted]
) -> tuple[frozenset[UUID], list[Wanted], _Origins]:
    """The live entries that stay, the rows that no live entry stands for, and what there is to point to."""
    free: dict[Wanted, list[Entry]] = {}
    for entry in live:
        free.setdefault(entry.wanted, []).append(entry)
    kept: set[UUID] = set()
    missing: list[Wanted] = []
    origins: _Origins = {}
    for row in should:
        origin = (row.line_no, ORIGIN_KIND.get(row.kind, ""))
        to_be_new = origin in origins and origins[origin] is None
        same = [] if to_be_new else free.get(row, [])
        found = next(
            (n for n, entry in enumerate(same) if entry.origin_entry_id == origins.get(origin)), None
        )
        match = None if found is None else same.pop(found).entry_id
        if match is None:
            missing.append(row)
        else:
            kept.add(match)
        if row.kind in _ORIGINS:
            origins[row.line_no, row.kind] = match
    return frozenset(kept), missing, origins


def _start(number: int, line: Line, left: bool) -> _Running:
    """A line before anything undoes it; `left` says that some goods of the order went out."""
    goods = line.line_kind in _GOODS
    earned = bool(line.shipped) if goods else left
    room = max(ZERO, line.ordered - line.shipped) if goods else ZERO if left else line.ordered
    return _Running(
        number, line, earned, room, _Purse(line.components, line.ordered), _Purse(_NOTHING, line.ordered)
    )
