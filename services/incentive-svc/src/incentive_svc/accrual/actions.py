"""Accruing: new entries into cells as they come, and whole cells again when a contract or a plan changed.

Both follow lock → decide → save → announce on a batch, under the shared reference lock. New entries add to a cell;
restating sums it anew from `basis_entry`, so it may be repeated at any time. A cell that still stands under an older
plan version is left to the restating that its mark already asks for: adding to it would mix two sets of terms.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple
from uuid import UUID

from channel_events.catalog import INCENTIVE_ACCRUED
from channel_events.incentive import AccrualBody, AccrualSlice
from channel_events.incentive import Period as PeriodBody
from channel_events.order import EntryBody
from channel_kit import outbox, reference
from channel_kit.database import Write
from channel_kit.ids import uuid7
from channel_kit.outbox import Announcement
from incentive_svc.accrual import rules, store
from incentive_svc.accrual.rules import Book, Reason
from incentive_svc.accrual.values import Accrual, Cause, Cell, CellKey, Product, Window
from incentive_svc.basis import store as basis_store
from incentive_svc.basis.store import Span
from incentive_svc.basis.values import AXES
from incentive_svc.plan import store as plan_store
from incentive_svc.reference import store as reference_store
from incentive_svc.reference.actions import PARTNER

SLICES_MAX = 2_000
"""Products in one event; a step that touches more goes out as several, well below the size of an event."""
PARTNERS_MAX = 20
"""Partners restated in one transaction."""


async def accrue(tx: Write, entries: Sequence[tuple[EntryBody, Cause]]) -> None:
    """Copies attributed entries and adds those that are new to their cells."""
    attributed = [(body, cause) for body, cause in entries if body.partner_id is not None]
    if not attributed:
        return
    await reference.shared(tx)
    new = await basis_store.append(tx, list({body.entry_id: body for body, _ in attributed}.values()))
    fresh = {
        body.entry_id: (basis_store.entry_of(body), cause)
        for body, cause in attributed
        if body.entry_id in new
    }
    if not fresh:
        return
    book = await _book(tx, [entry.partner_id for entry, _ in fresh.values()])
    folds = rules.fold(fresh.values(), book)
    folds = {key: fold for key, fold in folds.items() if any(fold.slices.values())}
    if not folds:
        return
    await store.make(tx, [(key, fold.place) for key, fold in folds.items()])
    cells = await store.lock(tx, list(folds))
    steps: list[_Step] = []
    for key, fold in folds.items():
        cell, terms = cells[key], fold.place.terms
        if cell.seq and cell.plan_version != terms.version:
            continue
        moved = rules.advance(cell, terms, fold.slices)
        if moved is not None:
            cause = fold.causes[0].event_id if len(fold.causes) == 1 else None
            steps.append(_Step(*moved, fold.causes[0].correlation_id, cause))
    await _save(tx, steps)


async def restate(tx: Write, limit: int = PARTNERS_MAX) -> int:
    """Sums the cells of up to `limit` marked partners anew; returns how many partners were taken."""
    await reference.shared(tx)
    partners = await reference.take(tx, PARTNER, limit)
    if not partners:
        return 0
    standing = {cell.key for cell in await store.cells_of(tx, partners)}
    book = await _book(tx, partners, [key.plan_id for key in standing])
    spans = await _windows(tx, partners, book)
    filled = await basis_store.filled(tx, _spans(spans))
    # A cell that lost its last entry follows its plan's version too, or later entries would find it outdated for ever.
    spans = [window for n, window in enumerate(spans) if n in filled or window.key in standing]
    places = {window.key: window.place for window in spans}
    await store.make(tx, list(places.items()))
    cells = await store.lock(tx, sorted(standing | places.keys()))
    target = await _target(tx, spans)
    held = await store.held(tx, [cell.cell_id for cell in cells.values()])
    correlation_id = uuid7()
    steps = []
    for key, cell in cells.items():
        terms = places[key].terms if key in places else None
        change = rules.difference(target.get(key, {}), held.get(cell.cell_id, {}))
        moved = rules.advance(cell, terms, change)
        if moved is not None:
            steps.append(_Step(*moved, correlation_id, None))
    await _save(tx, steps)
    return len(partners)


class _Step(NamedTuple):
    """A cell after its step, the step, and what its announcement says of the causes."""

    cell: Cell
    accrual: Accrual
    correlation_id: UUID
    cause: UUID | None


async def _book(tx: Write, partner_ids: Sequence[UUID], plan_ids: Sequence[UUID] = ()) -> Book:
    contracts = await reference_store.contracts_of(tx, partner_ids)
    codes = {code for contract in contracts for code in contract.plan_codes}
    return Book(contracts, await plan_store.active(tx, sorted(codes), plan_ids))


async def _windows(tx: Write, partners: Sequence[UUID], book: Book) -> list[Window]:
    months = await basis_store.months(tx, partners)
    return [
        window
        for partner_id in partners
        for plan in book.plans_of(partner_id)
        for window in rules.windows(
            partner_id, book.segments(partner_id, plan.code), plan.active, months.get(partner_id, ())
        )
    ]


async def _target(tx: Write, spans: Sequence[Window]) -> dict[CellKey, dict[Product, int]]:
    """What each cell's basis must be, per product, from all its entries."""
    found: dict[CellKey, dict[Product, int]] = {}
    for part in await basis_store.sums(tx, _spans(spans)):
        window = spans[part.span]
        product = (part.channel, part.sku)
        amount = rules.count(window.place.terms, part.kind, window.key.currency, product, part.amounts)
        if not isinstance(amount, Reason):
            slices = found.setdefault(window.key, {})
            slices[product] = slices.get(product, 0) + amount
    return found


def _spans(windows: Iterable[Window]) -> list[Span]:
    return [
        Span(w.key.partner_id, w.key.currency, AXES[w.place.terms.recognition], w.starts_at, w.ends_at)
        for w in windows
    ]


async def _save(tx: Write, steps: Sequence[_Step]) -> None:
    if not steps:
        return
    saved: list[tuple[Cell, Accrual, UUID | None]] = []
    announcements: list[Announcement] = []
    for cell, step, correlation_id, cause in steps:
        bodies = _bodies(cell, step)
        announcements += [
            Announcement(
                INCENTIVE_ACCRUED, cell.cell_id, cell.stream_version + number, body, correlation_id, cause
            )
            for number, body in enumerate(bodies, 1)
        ]
        saved.append((replace(cell, stream_version=cell.stream_version + len(bodies)), step, cause))
    await store.save(tx, saved)
    await outbox.announce(tx, announcements)


def _bodies(cell: Cell, step: Accrual) -> list[AccrualBody]:
    """One event, or several with a part of the slices each; the first carries the whole delta."""
    parts = [step.slices[at : at + SLICES_MAX] for at in range(0, len(step.slices), SLICES_MAX)] or [()]
    return [
        AccrualBody(
            plan_id=cell.key.plan_id,
            plan_version=step.plan_version,
            partner_id=cell.key.partner_id,
            period=PeriodBody(start_on=cell.key.period_start, end_on=cell.period_end),
            currency=cell.key.currency,
            basis_minor=step.basis_after,
            rebate_minor=step.rebate_after,
            delta_minor=step.delta_minor if number == 0 else 0,
            slices=tuple(
                AccrualSlice(channel=channel, sku=sku, basis_delta_minor=amount)
                for (channel, sku), amount in part
            ),
        )
        for number, part in enumerate(parts)
    ]
