"""Which entries an order should have, and how the ledger gets there.

`wanted` is a pure function of the greatest document, the refunds and the attribution: nothing is carried over
from an earlier state, so every permutation of the same deliveries ends in the same live entries. `post` compares
the live entries with the wanted ones, reverses what differs and appends what is new; what did not change stays.
Amounts are split here, once; everything else is arithmetic on integers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from order_svc.ledger.values import (
    ORIGIN_KIND,
    Entry,
    Wanted,
    minus,
    negated,
    portion,
    scaled,
    split,
)
from order_svc.order.values import ZERO, Components, Line, OrderDocument, Refund, RefundLine

REMAINDER_LINE = 0
"""The line number of amounts that belong to no line of the document (a refund's discrepancy)."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the entries of one order depend on."""

    document: OrderDocument
    refunds: tuple[Refund, ...] = ()
    deleted_at: datetime | None = None
    partner_id: UUID | None = None
    channel: str | None = None
    skus: Mapping[str, str] = field(default_factory=dict)

    @property
    def lifecycle(self) -> str:
        return "deleted" if self.deleted_at else self.document.lifecycle


@dataclass(slots=True)
class _Running:
    """One line while its refunds are taken off in order of time."""

    number: int
    line: Line
    cancelled: Decimal
    cancelled_by_edit: Decimal
    refund_room: Decimal  # units a refund may still find cancelled rather than returned
    cancel_value: int  # money of cancelled units that no refund has paid back yet
    left: int  # net value still standing: ordered − cancelled − returned
    cancelled_so_far: Decimal = ZERO
    returned: Decimal = ZERO
    restocked: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class LineOutcome:
    """The quantities of one line as the order stands now."""

    number: int
    line: Line
    cancelled: Decimal
    returned: Decimal
    restocked: Decimal


class Book:
    """The wanted entries of one order, built axis by axis."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.document = facts.document
        self.entries: list[Wanted] = []
        self._closed = closed = facts.lifecycle in ("cancelled", "deleted")
        something_left = any(line.shipped for line in self.document.lines)
        self._lines = [
            _start(number, line, closed, something_left)
            for number, line in enumerate(self.document.lines, start=1)
        ]
        self._by_id = {running.line.external_id: running for running in self._lines}
        self._refunds = sorted(facts.refunds, key=lambda refund: (refund.at, refund.external_id))
        self._demand()
        self._cash()

    @property
    def outcomes(self) -> list[LineOutcome]:
        return [
            LineOutcome(
                each.number, each.line, each.cancelled, each.returned, min(each.restocked, each.returned)
            )
            for each in self._lines
        ]

    # -- demand and goods ------------------------------------------------------------------------------------

    def _demand(self) -> None:
        placed = self.document.placed_at
        for each in self._lines:
            if each.line.line_kind == "platform_fee":
                self._add(each, "fee", ZERO, each.line.components, placed, placed)
                continue
            self._add(each, "ordered", each.line.ordered, each.line.components, placed, placed)
            if each.line.shipped:
                shipped_at = self.document.shipped_at or self.document.paid_at or placed
                self._add(each, "shipped", each.line.shipped, Components(), shipped_at, placed)
            if each.cancelled_by_edit:
                self._cancel(each, each.cancelled_by_edit, self._closed_at())
        for refund in self._refunds:
            self._take_off(refund)
        for each in self._lines:
            if rest := each.cancelled - each.cancelled_so_far:
                self._cancel(each, rest, self._closed_at())

    def _take_off(self, refund: Refund) -> None:
        """A refund's share of demand: what it pays back of cancelled units is no return."""
        for part in _parts(refund):
            each = self._by_id.get(part.line_external_id or "")
            if each is None:
                self._take_off_amount(part.amount_minor, refund.at)
                continue
            back = min(part.quantity, each.refund_room)
            each.refund_room -= back
            if back:
                value = self._cancel(each, back, refund.at)
                if not self._closed:
                    each.cancelled += back
                    each.left -= value
            returned = part.quantity - back
            paid_back = (
                portion(part.amount_minor, back, part.quantity)
                if part.quantity
                else min(part.amount_minor, each.cancel_value)
            )
            each.cancel_value = max(0, each.cancel_value - paid_back)
            each.returned += returned
            each.restocked += part.restocked
            value = part.amount_minor - paid_back
            if returned or value:
                self._return(each, returned, value, part, refund.at)

    def _take_off_amount(self, amount: int, at: datetime) -> None:
        """An amount that names no line: cancelled value first, the rest over what still stands."""
        room = [max(0, each.cancel_value) for each in self._lines]
        covered = min(max(0, amount), sum(room))
        for each, part in zip(self._lines, split(covered, room), strict=True) if covered else ():
            each.cancel_value -= part
        rest = amount - covered
        if rest <= 0:
            if rest:  # the platform kept something back: a fact of the order, of no line
                self._add_remainder("returned", Components(list_minor=-rest), at, self.document.placed_at)
            return
        standing = [max(0, each.left) for each in self._lines]
        within = min(rest, sum(standing))
        for each, part in zip(self._lines, split(within, standing), strict=True) if within else ():
            if part:
                self._return(each, ZERO, part, None, at)
        if rest > within:
            self._add_remainder("returned", Components(list_minor=within - rest), at, self.document.placed_at)

    def _cancel(self, each: _Running, quantity: Decimal, at: datetime) -> int:
        """Takes unshipped units off at their ordered value, which is returned; parts sum to the whole."""
        before = scaled(each.line.components, each.cancelled_so_far, each.line.ordered)
        each.cancelled_so_far += quantity
        value = minus(scaled(each.line.components, each.cancelled_so_far, each.line.ordered), before)
        self._add(each, "cancelled", -quantity, negated(value), at, self.document.placed_at)
        return value.net_minor

    def _return(
        self, each: _Running, quantity: Decimal, value: int, part: RefundLine | None, at: datetime
    ) -> None:
        each.left -= value
        components = _named(each.line.components, value, part)
        self._add(each, "returned", -quantity, negated(components), at, self.document.placed_at)

    # -- cash ------------------------------------------------------------------------------------------------

    def _cash(self) -> None:
        paid_at = self.document.paid_at or self.document.placed_at
        lines = [each for each in self._lines if each.line.line_kind != "platform_fee"]
        nets = [each.line.components.net_minor for each in lines]
        paid = split(self.document.paid_minor, nets) if sum(nets) else [0] * len(lines)
        for each, net, part in zip(lines, nets, paid, strict=True):
            if part:
                components = each.line.components if part == net else scaled_to(each.line.components, part)
                self._add(each, "paid", ZERO, components, paid_at, paid_at)
        if rest := self.document.paid_minor - sum(paid):
            self._add_remainder("paid", Components(list_minor=rest), paid_at, paid_at)
        for refund in self._refunds:
            self._give_back(refund, lines, paid, paid_at)

    def _give_back(
        self, refund: Refund, lines: Sequence[_Running], paid: Sequence[int], paid_at: datetime
    ) -> None:
        for part in _parts(refund):
            each = self._by_id.get(part.line_external_id or "")
            if each is not None:
                self._refund(each, part.amount_minor, part, refund.at, paid_at)
                continue
            weights = [max(0, value) for value in paid]
            if not sum(weights):
                weights = [max(0, each.line.components.net_minor) for each in lines]
            if part.amount_minor < 0 or not sum(weights):
                self._add_remainder("refunded", Components(list_minor=-part.amount_minor), refund.at, paid_at)
                continue
            for line, share in zip(lines, split(part.amount_minor, weights), strict=True):
                if share:
                    self._refund(line, share, None, refund.at, paid_at)

    def _refund(
        self, each: _Running, value: int, part: RefundLine | None, at: datetime, paid_at: datetime
    ) -> None:
        if value:
            components = _named(each.line.components, value, part)
            self._add(each, "refunded", ZERO, negated(components), at, paid_at)

    # -- rows ------------------------------------------------------------------------------------------------

    def _closed_at(self) -> datetime:
        return (
            self.document.cancelled_at
            or self.facts.deleted_at
            or self.document.completed_at
            or self.document.placed_at
        )

    def _add(
        self,
        each: _Running,
        kind: str,
        quantity: Decimal,
        components: Components,
        at: datetime,
        origin: datetime,
    ) -> None:
        sku = self.facts.skus.get(each.line.platform_sku or "") if each.line.line_kind == "product" else None
        self._row(each.number, each.line.line_kind, kind, quantity, components, sku, at, origin)

    def _add_remainder(self, kind: str, components: Components, at: datetime, origin: datetime) -> None:
        self._row(REMAINDER_LINE, "adjustment", kind, ZERO, components, None, at, origin)

    def _row(
        self,
        number: int,
        line_kind: str,
        kind: str,
        quantity: Decimal,
        components: Components,
        sku: str | None,
        at: datetime,
        origin: datetime,
    ) -> None:
        self.entries.append(
            Wanted(
                number,
                line_kind,
                kind,
                quantity,
                components,
                self.document.currency,
                self.document.tax_included,
                self.facts.partner_id,
                self.facts.channel,
                sku,
                at,
                origin,
            )
        )


def wanted(facts: Facts) -> list[Wanted]:
    """The live entries that these facts call for, in line order per axis."""
    return Book(facts).entries


@dataclass(frozen=True, slots=True)
class Posting:
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

    An undo row whose origin is reversed is posted anew, so that no live entry points to a reversed one.
    """
    keep: dict[UUID, Entry] = {}
    missing: list[Wanted] = []
    free: dict[object, list[Entry]] = {}
    for entry in live:
        free.setdefault(entry.wanted.content, []).append(entry)
    for row in should:
        if candidates := free.get(row.content):
            kept = candidates.pop(0)
            keep[kept.entry_id] = kept
        else:
            missing.append(row)
    for entry in list(keep.values()):
        if entry.origin_entry_id is not None and entry.origin_entry_id not in keep:
            del keep[entry.entry_id]
            missing.append(entry.wanted)
    reversals = tuple(
        Entry(
            identify(),
            order_id,
            replace(
                entry.wanted, quantity=-entry.wanted.quantity, components=negated(entry.wanted.components)
            ),
            at,
            cause,
            reverses_entry_id=entry.entry_id,
            origin_entry_id=entry.origin_entry_id,
        )
        for entry in live
        if entry.entry_id not in keep
    )
    origins = {
        (e.wanted.line_no, e.wanted.kind): e.entry_id
        for e in keep.values()
        if e.wanted.kind in ("ordered", "paid")
    }
    added: list[Entry] = []
    for row in sorted(missing, key=lambda row: row.kind in ORIGIN_KIND):  # origins get their ids first
        origin = origins.get((row.line_no, ORIGIN_KIND.get(row.kind, "")))
        entry = Entry(identify(), order_id, row, at, cause, origin_entry_id=origin)
        if row.kind in ("ordered", "paid"):
            origins[row.line_no, row.kind] = entry.entry_id
        added.append(entry)
    return Posting(reversals, tuple(added))


def _start(number: int, line: Line, closed: bool, something_left: bool) -> _Running:
    unshipped = max(ZERO, line.ordered - line.shipped)
    if line.line_kind not in ("product", "gift_card") and something_left:
        unshipped = ZERO  # freight of a parcel that went out was earned
    by_edit = min(line.removed, unshipped)
    cancelled = unshipped if closed else by_edit
    value = scaled(line.components, cancelled, line.ordered).net_minor
    return _Running(
        number,
        line,
        cancelled,
        by_edit,
        refund_room=unshipped - by_edit,
        cancel_value=value,
        left=line.components.net_minor - value,
    )


def _parts(refund: Refund) -> tuple[RefundLine, ...]:
    """The refund's lines; a bare total is one part that names no line."""
    return refund.lines or (RefundLine(None, ZERO, refund.amount_minor),)


def _named(components: Components, value: int, part: RefundLine | None) -> Components:
    """Components of a refunded value: those the refund names, the rest in the line's own proportion."""
    if part is None or (part.tax_minor is None and part.freight_minor is None):
        return scaled_to(components, value)
    tax = part.tax_minor if part.tax_minor is not None else scaled_to(components, value).tax_minor
    freight = part.freight_minor if part.freight_minor is not None else 0
    rest = value - tax - freight
    kept = 0 if part.freight_minor is not None else components.freight_minor
    other = scaled_to(replace(components, tax_minor=0, freight_minor=kept), rest)
    return replace(other, tax_minor=tax, freight_minor=other.freight_minor + freight)


def scaled_to(components: Components, net: int) -> Components:
    """The same proportions with another net; `list_minor` takes what rounding leaves."""
    whole = components.net_minor
    if whole == 0:
        return Components(list_minor=net)
    return scaled(components, Decimal(net), Decimal(whole))
