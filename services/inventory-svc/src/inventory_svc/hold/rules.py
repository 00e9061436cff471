"""Holds: how much of an order line is promised, gone out, missing or lapsed, decided from states alone.

Pure. `settle` is the one rule: given what a line is now, what it should be (`Want`) and the shelf it draws on, it
returns the line's new state and changes the shelf. An order's snapshot, a payment, a new SKU mapping, a refill
and another system's command differ only in the `Want` they bring, so no order of arrival leads elsewhere.
Nothing here refuses: what a platform says has happened; what stock cannot follow becomes `short` and a
`Discrepancy`. For every line, demanded = held + committed + issued + short + expired.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from uuid import UUID

from channel_events.order import OrderLine, OrderSnapshot
from inventory_svc.hold.values import ZERO, Discrepancy, Hold, Target, Terms, Want
from inventory_svc.listing.rules import ListingKey
from inventory_svc.stock.rules import Shelf, Shelves

UNPAID = frozenset({"unpaid", "voided"})
"""Every other payment, unknown ones too, commits: a wrong expiry would sell what was paid for a second time."""

PRODUCT = "product"

SHIPPED_BEYOND_STOCK = "shipped-beyond-stock"
RESTOCK_NOT_FOLLOWED = "restock-not-followed"


def demand(ordered: Decimal, cancelled: Decimal, shipped: Decimal) -> Decimal:
    """What a line needs from stock, counting what it has had."""
    return max(ordered - cancelled, shipped, ZERO)


def firm(payment: str, flags: Iterable[str]) -> bool:
    """Whether stock is committed without expiry: paid in whatever way, or to be paid on delivery."""
    return payment not in UNPAID or "cod" in flags


def newer(
    snapshots: Iterable[tuple[OrderSnapshot, int]], known: Mapping[UUID, int]
) -> dict[UUID, tuple[OrderSnapshot, int]]:
    """The last snapshot of each order that is newer than what its holds answer already, in order of arrival."""
    latest: dict[UUID, tuple[OrderSnapshot, int]] = {}
    for order, version in snapshots:
        seen = latest[order.order_id][1] if order.order_id in latest else known.get(order.order_id, 0)
        if version > seen:
            latest[order.order_id] = (order, version)
    return latest


def targets(
    order: OrderSnapshot, lines: Mapping[int, Hold], skus: Mapping[ListingKey, str], location: str
) -> list[Target]:
    """Each product line of a snapshot with the hold it has, and the lines that are gone from it.

    A line stays where it is first held: another location of its shop is for lines to come.
    """
    result = []
    for line in order.lines:
        if line.line_kind != PRODUCT:
            continue
        hold = lines.get(line.line_no) or Hold(order.order_id, line.line_no, location)
        want = Want(
            line.platform_sku,
            _sku(order, line, hold, skus),
            demand(line.ordered, line.cancelled, line.shipped),
            max(line.shipped, ZERO),
            max(line.restocked, ZERO),
        )
        result.append(Target(hold, want))
    kept = {target.line.line_no for target in result}
    result += [
        Target(hold, Want(hold.platform_sku, hold.sku, ZERO)) for no, hold in lines.items() if no not in kept
    ]
    return sorted(result, key=lambda target: target.line.line_no)


def _sku(order: OrderSnapshot, line: OrderLine, hold: Hold, skus: Mapping[ListingKey, str]) -> str | None:
    """The order's own word first, then what the line was held as, then our mapping: it never moves mapped lines."""
    if line.sku is not None or line.platform_sku is None:
        return line.sku
    if hold.sku is not None and hold.platform_sku == line.platform_sku:
        return hold.sku
    return skus.get((order.platform, order.shop_id, line.platform_sku))


def settle(line: Hold, want: Want, shelves: Shelves, terms: Terms) -> Hold:
    """The line as it should be, as far as its shelf allows; the shelf is changed accordingly."""
    if line.sku != want.sku and line.sku is not None:
        line = _given_back(line, shelves[line.sku, line.location])
    line = line._replace(
        platform_sku=want.platform_sku,
        sku=want.sku,
        demanded=want.demanded,
        shipped=want.shipped,
        restock_due=want.restock_due,
    )
    if want.sku is None:
        # Nobody knows what to take from which shelf; the whole demand waits for a mapping.
        return line._replace(short=want.demanded, expired=ZERO, expires_at=None)
    shelf = shelves[want.sku, line.location]
    return _covered(_issued(_restocked(line, shelf), shelf), shelf, terms)


def _given_back(line: Hold, shelf: Shelf) -> Hold:
    """The line without its old SKU: claims released, what left and what came back reversed."""
    shelf.release(line.held, line.committed)
    shelf.move("issue", line.issued, "sku-changed", line.order_id, line.line_no)
    taken = min(line.restocked, max(ZERO, shelf.unclaimed))
    shelf.move("return", -taken, "sku-changed", line.order_id, line.line_no)
    return Hold(line.order_id, line.line_no, line.location)


def _restocked(line: Hold, shelf: Shelf) -> Hold:
    """What came back, put on the shelf; a return that was withdrawn, taken off it as far as it is there."""
    due = line.restock_due - line.restocked
    if not due:
        return line
    change = min(due, shelf.room) if due > 0 else -min(-due, max(ZERO, shelf.unclaimed))
    shelf.move("return", change, "restocked" if due > 0 else "restock-withdrawn", line.order_id, line.line_no)
    return line._replace(restocked=line.restocked + change)


def _issued(line: Hold, shelf: Shelf) -> Hold:
    """What shipped, taken out: of the line's own claim first, then of what nobody claims. Never of others'."""
    due = line.shipped - line.issued
    if not due:
        return line
    if due < 0:
        shelf.move("issue", -due, "shipment-withdrawn", line.order_id, line.line_no)
        return line._replace(issued=line.shipped)
    committed = min(due, line.committed)
    held = min(due - committed, line.held)
    shelf.reserved -= held
    shelf.allocated -= committed
    out = held + committed
    out += min(due - out, max(ZERO, shelf.unclaimed - out))
    shelf.move("issue", -out, "shipped", line.order_id, line.line_no)
    return line._replace(
        issued=line.issued + out, held=line.held - held, committed=line.committed - committed
    )


def _covered(line: Hold, shelf: Shelf, terms: Terms) -> Hold:
    """What has yet to leave, claimed: surplus released first, then what is missing taken from the shelf."""
    target = line.demanded - line.shipped
    surplus = max(ZERO, line.held + line.committed - target)
    from_held = min(surplus, line.held)
    shelf.release(from_held, surplus - from_held)
    held, committed = line.held - from_held, line.committed - (surplus - from_held)

    # What lapsed stays lapsed until the order is paid: only then does it claim stock anew.
    expired = ZERO if terms.firm else min(line.expired, target - held - committed)
    need = target - held - committed - expired
    taken = min(need, shelf.available)
    claim = held + committed + taken
    now_held, now_committed = (ZERO, claim) if terms.firm else (claim, ZERO)
    shelf.reserved += now_held - held
    shelf.allocated += now_committed - committed

    waits = not terms.firm and (now_held > 0 or need > taken)
    return line._replace(
        held=now_held,
        committed=now_committed,
        expired=expired,
        short=line.demanded - line.issued - claim - expired,
        expires_at=(line.expires_at or terms.expires_at) if waits else None,
    )


def expire(line: Hold, shelf: Shelf | None, now: datetime) -> Hold:
    """The line after its time: what it held is free again, and it no longer waits for stock either.

    A line whose time has not come, or that has meanwhile been paid, stays as it is.
    """
    if line.expires_at is None or line.expires_at > now:
        return line
    if shelf is not None:
        shelf.release(line.held, ZERO)
    waiting = line.waiting
    return line._replace(
        held=ZERO,
        short=line.short - waiting,
        expired=line.expired + line.held + waiting,
        expires_at=None,
    )


def discrepancies(before: Hold | None, after: Hold) -> Iterator[Discrepancy]:
    """Where stock stopped or began to differ from what the platform says of a line."""
    same = before is not None and before.sku == after.sku
    was, now = _gaps(before) if before is not None else _NO_GAPS, _gaps(after)
    if same and was == now:
        return
    if after.sku is not None:
        for kind, gap, old in zip(_GAPS, now, was if same else _NO_GAPS, strict=True):
            if gap != old:
                yield Discrepancy(after.order_id, after.line_no, after.location, after.sku, kind, gap)
    if before is not None and before.sku is not None and not same:
        for kind, gap in zip(_GAPS, was, strict=True):
            if gap:
                yield Discrepancy(before.order_id, before.line_no, before.location, before.sku, kind, ZERO)


_GAPS = (SHIPPED_BEYOND_STOCK, RESTOCK_NOT_FOLLOWED)
_NO_GAPS = (ZERO, ZERO)


def _gaps(line: Hold) -> tuple[Decimal, Decimal]:
    return line.shipped - line.issued, line.restock_due - line.restocked


def state(lines: Collection[Hold]) -> str:
    """One word for all holds of an order: the most pressing one."""
    if not lines:
        return "none"
    demanded, *claims = map(any, zip(*map(_pressing, lines), strict=True))
    if not demanded:
        return "released"
    return next((name for name, some in zip(_PRESSING, claims, strict=True) if some), "issued")


_PRESSING = ("short", "expired", "held", "committed")
_pressing = attrgetter("demanded", *_PRESSING)
_COUNTED = ("demanded", "held", "committed", "issued", "short", "expired", "restocked")
_counts = attrgetter(*_COUNTED)
_told = attrgetter("line_no", "location", "sku", *_COUNTED)


def change(before: Collection[Hold], after: Collection[Hold]) -> str | None:
    """What happened to an order's holds, by the highest-ranking change; None when nothing anybody sees did."""
    if (before or not after) and _seen(before) == _seen(after):
        return None
    grown = _totals(after)
    if before:
        grown = [now - was for now, was in zip(grown, _totals(before), strict=True)]
    demanded, held, committed, issued, short, expired, restocked = grown
    if short > 0:
        return "short"
    if expired > 0:
        return "expired"
    if issued or restocked:
        return "issued"
    if demanded < 0 or held + committed < 0:
        return "released"
    return "held"


def expires_at(lines: Iterable[Hold]) -> datetime | None:
    """When the first of an order's claims ends."""
    return min((line.expires_at for line in lines if line.expires_at is not None), default=None)


def _totals(lines: Collection[Hold]) -> Sequence[Decimal]:
    return [sum(column, ZERO) for column in zip(*map(_counts, lines), strict=True)] or _NOTHING


_NOTHING = (ZERO,) * len(_COUNTED)


def _seen(lines: Collection[Hold]) -> tuple[object, ...]:
    return expires_at(lines), sorted(map(_told, lines))
