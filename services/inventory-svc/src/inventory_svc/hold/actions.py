"""What happens to holds: an order's word, a refill, an expiry, a new mapping. Each on a batch, each in one shape.

Lock the heads by id, then the shelves by (sku, location); decide in `rules`; save each table in one statement;
announce each reservation and each stock row at most once. Reads of listings and locations stand under the shared
reference lock, which comes before every row lock. Called by `feeds.order`, the worker's jobs and `reservation`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from channel_events import catalog
from channel_events.envelope import Event
from channel_events.inventory import HoldLine, ReservationBody
from channel_events.order import OrderBody, OrderSnapshot
from channel_kit import reference
from channel_kit.database import Write
from channel_kit.ids import uuid7
from channel_kit.outbox import Announcement, announce
from channel_kit.statements import Statement, together
from inventory_svc.hold import rules, store
from inventory_svc.hold.values import Discrepancy, Hold, Reservation, Target, Terms, Windows
from inventory_svc.item import actions as items
from inventory_svc.listing import actions as listings
from inventory_svc.listing.rules import ListingKey
from inventory_svc.location import actions as locations
from inventory_svc.location.rules import MAIN
from inventory_svc.stock import actions as stock
from inventory_svc.stock.rules import Shelf, StockKey

REFILL_LINES = 500
EXPIRE_LINES = 500
REDERIVE_ORDERS = 200
MARKS = 200

_TYPES = {
    "held": catalog.INVENTORY_HELD,
    "short": catalog.INVENTORY_SHORT,
    "released": catalog.INVENTORY_RELEASED,
    "issued": catalog.INVENTORY_ISSUED,
    "expired": catalog.INVENTORY_EXPIRED,
}
_MARK = "order"


@dataclass(slots=True)
class Work:
    """One reservation of a batch: its head as it will be, its lines before and after."""

    head: Reservation
    before: Mapping[int, Hold]
    targets: Sequence[Target]
    terms: Terms
    correlation_id: UUID
    causation_id: UUID | None = None
    seen_by: UUID | None = None
    """The partner that its stored lines name so far."""
    after: dict[int, Hold] | None = None

    def lines(self) -> dict[int, Hold]:
        return dict(self.before) if self.after is None else self.after

    def shelves(self) -> Iterable[StockKey]:
        """Every shelf its lines draw on or give back to."""
        for line, want in self.targets:
            for sku in (line.sku, want.sku):
                if sku is not None:
                    yield sku, line.location

    def settle(self, shelves: Mapping[StockKey, Shelf]) -> None:
        """Brings its lines to what they should be."""
        self.after = dict(self.before)
        for line, want in self.targets:
            self.after[line.line_no] = rules.settle(line, want, shelves, self.terms)


async def apply(tx: Write, events: Sequence[Event[OrderBody]], windows: Windows) -> None:
    """Brings the holds of a poll's orders to their newest snapshots; whoever came first draws first."""
    await reference.shared(tx)
    last = {event.aggregate_id: event for event in events}
    await store.place(
        tx, [(key, each.data.order.platform, each.data.order.shop_id) for key, each in last.items()]
    )
    heads = await store.lock(tx, last)
    now = await store.now(tx)
    newest = rules.newer(
        [(event.data.order, event.aggregateversion) for event in events],
        {order_id: head.order_version for order_id, head in heads.items()},
    )
    lines = await store.lines(tx, newest)
    orders = [order for order, _ in newest.values()]
    skus = await listings.resolve(tx, _unresolved(orders))
    places = await locations.of_shops(tx, {(order.platform, order.shop_id) for order in orders})
    works = []
    for order, version in newest.values():
        before = lines.get(order.order_id, {})
        head = heads[order.order_id]._replace(
            order_version=version,
            partner_id=order.partner_id,
            channel=order.channel,
            firm=rules.firm(order.payment, order.flags),
        )
        terms = windows.terms(head, now)
        place = places.get((order.platform, order.shop_id), MAIN)
        targets = [each for each in rules.targets(order, before, skus, place) if not each.settled(terms)]
        event = last[order.order_id]
        works.append(
            Work(
                head, before, targets, terms, event.correlationid, event.id, heads[order.order_id].partner_id
            )
        )
    await settle(tx, works)


def _unresolved(orders: Iterable[OrderSnapshot]) -> set[ListingKey]:
    """The platform SKUs that only our own mapping can tell."""
    return {
        (order.platform, order.shop_id, line.platform_sku)
        for order in orders
        for line in order.lines
        if line.line_kind == rules.PRODUCT and line.sku is None and line.platform_sku is not None
    }


async def settle(tx: Write, works: Sequence[Work]) -> None:
    """Locks the shelves of a batch, settles its lines in the given order and saves all of it."""
    shelves = await stock.lock(tx, {key for work in works for key in work.shelves()})
    for work in works:
        work.settle(shelves)
    await save(tx, works, shelves)


class Saving(NamedTuple):
    """What a decided batch writes, all of it together, and then announces; and the heads as they will be."""

    heads: list[Reservation]
    statements: list[Statement]
    told: list[Announcement]


def saving(works: Sequence[Work], shelves: Mapping[StockKey, Shelf], new: bool = False) -> Saving:
    """What is to be saved of a decided batch. `new`: its heads are not stored yet."""
    heads: list[Reservation] = []
    holds: list[tuple[Hold, UUID | None]] = []
    gaps: list[Discrepancy] = []
    told: list[Announcement] = []
    for work in works:
        before, after = work.before, work.lines()
        now = list(after.values())
        what = rules.change(before.values(), now)
        head = work.head._replace(
            state=rules.state(now),
            expires_at=rules.expires_at(now),
            stream_version=work.head.stream_version + (what is not None),
        )
        heads.append(head)
        everything = work.seen_by != head.partner_id
        for no, line in after.items():
            if everything or before.get(no) != line:
                holds.append((line, head.partner_id))
            gaps += rules.discrepancies(before.get(no), line)
        if what is not None:
            told.append(
                Announcement(
                    _TYPES[what],
                    head.order_id,
                    head.stream_version,
                    body(head, now),
                    work.correlation_id,
                    work.causation_id,
                )
            )
    if not heads:
        return Saving([], [], [])
    statements = [store.insert(heads) if new else store.save(heads)]
    if holds:
        statements.append(store.insert_lines(holds) if new else store.save_lines(holds))
    if gaps:
        statements.append(store.save_discrepancies(gaps))
    only = works[0] if len(works) == 1 else None
    moved = stock.saving(
        shelves.values(), only.correlation_id if only else uuid7(), only.causation_id if only else None
    )
    return Saving(heads, [*statements, *moved.statements], [*told, *moved.told])


async def save(tx: Write, works: Sequence[Work], shelves: Mapping[StockKey, Shelf]) -> list[Reservation]:
    """Saves a decided batch and announces it; the heads as they are now."""
    batch = saving(works, shelves)
    await together(tx, batch.statements)
    await announce(tx, batch.told)
    return batch.heads


def body(head: Reservation, lines: Sequence[Hold]) -> ReservationBody:
    """What is announced of a reservation. Its lines are our own, checked when they came and by their columns:
    checking each quantity once more would take longer than deciding it."""
    return ReservationBody(
        order_version=head.order_version,
        state=head.state,
        expires_at=head.expires_at,
        lines=tuple(
            HoldLine.model_construct(
                line_no=line.line_no,
                sku=line.sku,
                location=line.location,
                demanded=line.demanded,
                held=line.held,
                committed=line.committed,
                issued=line.issued,
                short=line.short,
                expired=line.expired,
                restocked=line.restocked,
            )
            for line in sorted(lines, key=lambda line: line.line_no)
        ),
    )


async def load(tx: Write, order_ids: Iterable[UUID]) -> list[tuple[Reservation, dict[int, Hold], datetime]]:
    """Locked heads with their lines, oldest first, and the time by the database's clock."""
    heads = await store.lock(tx, list(order_ids))
    lines, now = await store.lines(tx, heads), await store.now(tx)
    ordered = sorted(heads.values(), key=lambda head: (head.created_at or now, head.order_id))
    return [(head, lines.get(head.order_id, {}), now) for head in ordered]


def work_on(head: Reservation, before: Mapping[int, Hold], targets: Sequence[Target], terms: Terms) -> Work:
    """Work that no event caused."""
    return Work(head, before, targets, terms, uuid7(), None, head.partner_id)


async def refill(tx: Write, windows: Windows) -> int:
    """Serves lines that wait for freed shelves, oldest first. Returns how many shelves were looked at."""
    marked = await stock.take_refills(tx, MARKS)
    waiting = await store.short(tx, marked, REFILL_LINES) if marked else []
    works = []
    for head, before, now in await load(tx, set(waiting)) if waiting else []:
        targets = [
            Target(line, line.want)
            for line in before.values()
            if line.sku is not None and line.short and (line.sku, line.location) in marked
        ]
        works.append(work_on(head, before, targets, windows.terms(head, now)))
    shelves = await stock.lock(tx, {key for work in works for key in work.shelves()})
    for work in works:
        work.settle(shelves)
    if len(waiting) == REFILL_LINES:
        # More lines may wait than one batch takes: what is still free is looked at again.
        await stock.mark_refills(tx, [key for key, shelf in shelves.items() if shelf.unclaimed > 0])
    await save(tx, works, shelves)
    return len(marked)


async def expire(tx: Write) -> int:
    """Ends claims whose time is over, each read again under its lock. Returns how many reservations were looked at."""
    order_ids = await store.lapsed(tx, EXPIRE_LINES)
    if not order_ids:
        return 0
    loaded = await load(tx, order_ids)
    now = await store.now(tx)
    works = []
    for head, before, _ in loaded:
        over = [line for line in before.values() if line.expires_at is not None and line.expires_at <= now]
        works.append(work_on(head, before, [Target(line, line.want) for line in over], Terms(False, now)))
    shelves = await stock.lock(tx, {key for work in works for key in work.shelves()})
    for work in works:
        work.after = dict(work.before)
        for line, want in work.targets:
            shelf = None if want.sku is None else shelves[want.sku, line.location]
            work.after[line.line_no] = rules.expire(line, shelf, now)
    await save(tx, works, shelves)
    return len(order_ids)


async def spread(tx: Write) -> int:
    """Turns marks on listings and items into marks on the orders that wait for them."""
    mapped = await reference.take(tx, listings.MARK, MARKS)
    registered = await reference.take(tx, items.MARK, MARKS)
    waiting = [
        *(await store.waiting_for_listings(tx, mapped) if mapped else ()),
        *(await store.waiting_for_items(tx, registered) if registered else ()),
    ]
    await reference.mark(tx, _MARK, waiting)
    return len(mapped) + len(registered)


async def rederive(tx: Write, windows: Windows) -> int:
    """Holds the unmapped lines of marked orders under what they mean now. Mapped lines are not touched."""
    await reference.shared(tx)
    order_ids = await reference.take(tx, _MARK, REDERIVE_ORDERS)
    loaded = await load(tx, order_ids) if order_ids else []
    keys = {
        (head.platform, head.shop_id, line.platform_sku)
        for head, before, _ in loaded
        for line in before.values()
        if line.sku is None and line.platform_sku and head.platform and head.shop_id
    }
    skus = await listings.resolve(tx, keys)
    works = []
    for head, before, now in loaded:
        targets = [
            Target(line, line.want._replace(sku=sku))
            for line in before.values()
            if line.sku is None
            and (sku := skus.get((head.platform or "", head.shop_id or "", line.platform_sku or "")))
        ]
        if targets:
            works.append(work_on(head, before, targets, windows.terms(head, now)))
    await settle(tx, works)
    return len(order_ids)
