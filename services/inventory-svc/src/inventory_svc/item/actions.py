"""What can be done to items: register, change, import; and what other nouns ask before they move stock.

A new item may be what a waiting order line's platform SKU means, so registering takes the reference lock
exclusively and marks the item for the re-derive drain.
"""

from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from channel_events.catalog import INVENTORY_ITEM_CHANGED, INVENTORY_ITEM_REGISTERED
from channel_events.inventory import ItemBody
from channel_kit import reference
from channel_kit.database import Read, Write
from channel_kit.ids import uuid7
from channel_kit.outbox import Announcement, announce
from channel_kit.problems import Conflict, NotFound, PreconditionFailed, Unprocessable
from inventory_svc.item import store
from inventory_svc.item.rules import Item
from inventory_svc.item.store import Stored
from inventory_svc.rows import fits

MARK = "item"

Outcome = Literal["created", "changed", "unchanged"]


class SkuTaken(Conflict):
    code = "sku-taken"
    title = "There is an item with this SKU already; change that one"


class CostWithoutCurrency(Unprocessable):
    code = "cost-without-currency"
    title = "Say in which currency the unit cost is"


class UnknownSku(Conflict):
    code = "unknown-sku"
    title = "These SKUs are not registered; register the items first"


class QuantityTooFine(Conflict):
    code = "quantity-too-fine"
    title = "A quantity has more digits after the point than its item allows"


async def upsert(tx: Write, items: Sequence[Item]) -> list[Outcome]:
    """Registers or changes items, each SKU once; says per item what happened. Equal ones are left alone.

    Raises `CostWithoutCurrency`.
    """
    if any(item.unit_cost_minor is not None and item.currency is None for item in items):
        raise CostWithoutCurrency
    await reference.exclusive(tx)
    wanted = {item.sku: item for item in items}
    stored = await store.lock(tx, wanted)
    new = [Stored(item, uuid7(), 1, 1) for sku, item in sorted(wanted.items()) if sku not in stored]
    changed = [
        old._replace(item=wanted[sku], revision=old.revision + 1, stream_version=old.stream_version + 1)
        for sku, old in sorted(stored.items())
        if old.item != wanted[sku]
    ]
    if new:
        await store.insert(tx, new)
    if changed:
        await store.update(tx, changed)
    await reference.mark(tx, MARK, [each.item_id for each in new])
    await announce(tx, [_announcement(each) for each in (*new, *changed)])
    verdicts: dict[str, Outcome] = {each.item.sku: "created" for each in new}
    verdicts |= {each.item.sku: "changed" for each in changed}
    return [verdicts.get(item.sku, "unchanged") for item in items]


async def register(tx: Write, item: Item) -> Stored:
    """Adds one item. Raises `SkuTaken`."""
    await reference.exclusive(tx)
    if await store.lock(tx, [item.sku]):
        raise SkuTaken
    await upsert(tx, [item])
    return (await store.lock(tx, [item.sku]))[item.sku]


async def replace(tx: Write, item_id: UUID, changes: dict[str, Any], seen: int | None) -> Stored:
    """Changes some members of an item. Raises `NotFound`, and `PreconditionFailed` unless at revision `seen`."""
    await reference.exclusive(tx)
    found = await store.get(tx, item_id)
    if found is None:
        raise NotFound
    current = (await store.lock(tx, [found.item.sku]))[found.item.sku]
    if seen is not None and seen != current.revision:
        raise PreconditionFailed
    await upsert(tx, [current.item._replace(**changes)])
    return (await store.lock(tx, [current.item.sku]))[current.item.sku]


def _announcement(stored: Stored) -> Announcement:
    return Announcement(
        INVENTORY_ITEM_REGISTERED if stored.stream_version == 1 else INVENTORY_ITEM_CHANGED,
        stored.item_id,
        stored.stream_version,
        ItemBody(**stored.item._asdict()),
        uuid7(),
    )


async def scales(tx: Read, skus: Collection[str]) -> dict[str, int]:
    """Digits after the point by SKU, for those SKUs that are registered."""
    return await store.scales(tx, skus)


async def known(tx: Read, skus: Collection[str]) -> set[str]:
    """Those of the SKUs that are registered."""
    return set(await store.scales(tx, skus))


async def require(tx: Read, quantities: Iterable[tuple[str, Decimal]]) -> None:
    """Every SKU is registered and every quantity fine enough. Raises `UnknownSku` or `QuantityTooFine`."""
    pairs = list(quantities)
    scale = await store.scales(tx, {sku for sku, _ in pairs})
    if missing := sorted({sku for sku, _ in pairs if sku not in scale}):
        raise UnknownSku(skus=missing[:50])
    if coarse := sorted({sku for sku, quantity in pairs if not fits(quantity, scale[sku])}):
        raise QuantityTooFine(skus=coarse[:50])
