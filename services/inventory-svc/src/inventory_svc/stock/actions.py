"""What can be done to stock: receive, adjust, transfer, enter an opening, set limits; and the batch's own ends.

Every command is lock → decide → save → announce over all its lines at once. `lock` and `save` are also the ends
of every batch of holds. Whatever frees stock only marks its shelf: the refill drain serves those who wait, since
filling here would race with a line that is just being written short.
"""

from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from channel_events.catalog import INVENTORY_STOCK_CHANGED
from channel_events.inventory import StockBody
from channel_kit.database import Write
from channel_kit.ids import uuid7
from channel_kit.outbox import Announcement, announce
from channel_kit.problems import Conflict, NotFound, PreconditionFailed
from channel_kit.statements import Statement, together
from inventory_svc.item import actions as items
from inventory_svc.location import actions as locations
from inventory_svc.rows import fits
from inventory_svc.stock import rules, store
from inventory_svc.stock.rules import ZERO, Opening, Shelf, StockKey


class StockPromised(Conflict):
    code = "stock-promised"
    title = "That much is not free: the rest is promised, quarantined or not there; see lines"


class Change(NamedTuple):
    """One line of a command; a negative quantity goes out."""

    kind: str
    sku: str
    location: str
    quantity: Decimal
    reason: str | None = None


async def lock(tx: Write, keys: Collection[StockKey]) -> dict[StockKey, Shelf]:
    """The shelves of a batch, locked in their order; missing ones begin empty."""
    return await store.lock(tx, keys)


async def lock_existing(tx: Write, keys: Collection[StockKey]) -> dict[StockKey, Shelf]:
    """The shelves of a batch, locked in their order, if there are all of them; otherwise none is locked."""
    return await store.lock_existing(tx, keys)


class Saving(NamedTuple):
    """What a decided batch writes, all of it together, and then announces."""

    statements: list[Statement]
    told: list[Announcement]


def saving(shelves: Iterable[Shelf], correlation_id: UUID, causation_id: UUID | None = None) -> Saving:
    """What a batch did to its shelves, for a batch that has more to write and announces once."""
    changed = [shelf for shelf in shelves if shelf.changed]
    if not changed:
        return Saving([], [])
    for shelf in changed:
        shelf.stream_version += 1
    statements = [store.save(changed)]
    if movements := [movement for shelf in changed for movement in shelf.movements]:
        statements.append(store.record(movements))
    if freed := [(shelf.sku, shelf.location) for shelf in changed if shelf.freed and shelf.unclaimed > 0]:
        statements.append(store.mark_refills(freed))
    told = [
        Announcement(
            INVENTORY_STOCK_CHANGED,
            shelf.stock_id,
            shelf.stream_version,
            _body(shelf),
            correlation_id,
            causation_id,
        )
        for shelf in changed
    ]
    return Saving(statements, told)


async def save(tx: Write, shelves: Iterable[Shelf]) -> None:
    """Saves what a command did to its shelves and announces it."""
    batch = saving(shelves, uuid7())
    await together(tx, batch.statements)
    await announce(tx, batch.told)


def _body(shelf: Shelf) -> StockBody:
    return StockBody(
        sku=shelf.sku,
        location=shelf.location,
        on_hand=shelf.on_hand,
        reserved=shelf.reserved,
        allocated=shelf.allocated,
        quarantined=shelf.quarantined,
        safety=shelf.safety,
        available=shelf.available,
        moved=shelf.moved,
    )


async def take_refills(tx: Write, limit: int) -> list[StockKey]:
    """The shelves of up to `limit` marks, taken off."""
    return await store.take_refills(tx, limit)


async def mark_refills(tx: Write, keys: Sequence[StockKey]) -> None:
    """Marks shelves that have something for lines that wait."""
    if keys:
        await together(tx, [store.mark_refills(keys)])


async def change(tx: Write, cause: str, changes: Sequence[Change]) -> list[Shelf]:
    """Carries out all lines of a command or none.

    Raises `UnknownSku`, `UnknownLocation`, `QuantityTooFine`, and `StockPromised` with the free quantity of each
    line that would eat into what others were promised.
    """
    await items.require(tx, [(each.sku, each.quantity) for each in changes])
    await locations.require(tx, {each.location for each in changes})
    shelves = await lock(tx, {(each.sku, each.location) for each in changes})
    refusals = rules.refused(shelves, [(each.sku, each.location, each.quantity) for each in changes])
    if refusals:
        raise StockPromised(lines=[refusal_view(each) for each in refusals])
    for each in changes:
        shelves[each.sku, each.location].move(each.kind, each.quantity, cause, reason=each.reason)
    await save(tx, shelves.values())
    return list(shelves.values())


def refusal_view(refusal: rules.Refusal) -> dict[str, Any]:
    """How a problem names it."""
    return {
        "sku": refusal.sku,
        "location": refusal.location,
        "free": f"{refusal.free.normalize():f}",
    }


async def open_stock(tx: Write, openings: Sequence[Opening]) -> list[str]:
    """Enters opening quantities, once per shelf: "created", "unchanged" when it was entered before, or why not."""
    scales = await items.scales(tx, {each.sku for each in openings})
    known = await locations.known(tx, {each.location for each in openings})
    shelves = await lock(
        tx, {(each.sku, each.location) for each in openings if each.sku in scales and each.location in known}
    )
    entered = await store.opened(tx, [shelf.stock_id for shelf in shelves.values()])
    verdicts = []
    for each in openings:
        shelf = shelves.get((each.sku, each.location))
        if shelf is None:
            verdicts.append("the SKU is not known" if each.sku not in scales else "the location is not known")
        elif not fits(each.quantity, scales[each.sku]):
            verdicts.append(f"the item takes {scales[each.sku]} digits after the point")
        elif shelf.stock_id in entered:
            same = entered[shelf.stock_id] == each.quantity
            verdicts.append("unchanged" if same else "an opening was entered before; use an adjustment")
        elif not each.quantity:
            verdicts.append("unchanged")
        elif each.quantity > shelf.room:
            verdicts.append("the quantity is too large")
        else:
            shelf.move("receipt", each.quantity, "opening")
            entered[shelf.stock_id] = each.quantity
            verdicts.append("created")
    await save(tx, shelves.values())
    return verdicts


async def limit(
    tx: Write, stock_id: UUID, safety: Decimal | None, quarantined: Decimal | None, seen: int | None
) -> Shelf:
    """Sets the safety stock and the quarantined quantity of a row; None leaves one as it is.

    Raises `NotFound`, `PreconditionFailed` when the row is not at version `seen`, and `StockPromised`.
    """
    key = await store.key_of(tx, stock_id)
    if key is None:
        raise NotFound
    shelf = (await lock(tx, [key]))[key]
    if seen is not None and seen != shelf.stream_version:
        raise PreconditionFailed
    blocked = ZERO if quarantined is None else quarantined - shelf.quarantined
    if blocked > shelf.unclaimed:
        refusal = rules.Refusal(shelf.sku, shelf.location, max(ZERO, shelf.unclaimed))
        raise StockPromised(lines=[refusal_view(refusal)])
    shelf.quarantined += blocked
    shelf.safety = shelf.safety if safety is None else safety
    shelf.freed = True
    await save(tx, [shelf])
    return shelf
