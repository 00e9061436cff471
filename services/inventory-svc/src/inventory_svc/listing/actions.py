"""What can be done to listings: say what platform SKUs mean; and what holds ask of them.

A new mapping may be what order lines wait for. It is made under the exclusive reference lock and only marked; the
re-derive drain of the holds finds the lines. Lines that are mapped already are never moved by it.
"""

from collections.abc import Collection, Sequence
from typing import Literal

from channel_events.catalog import INVENTORY_LISTING_MAPPED
from channel_events.inventory import ListingBody
from channel_kit import reference
from channel_kit.database import Read, Write
from channel_kit.ids import uuid7
from channel_kit.outbox import Announcement, announce
from channel_kit.problems import PreconditionFailed
from inventory_svc.item import actions as items
from inventory_svc.listing import store
from inventory_svc.listing.rules import ListingKey, Mapped
from inventory_svc.listing.store import Stored

MARK = "listing"

Outcome = Literal["created", "changed", "unchanged", "refused"]


async def upsert(tx: Write, wanted: Sequence[Mapped]) -> list[Outcome]:
    """Maps platform SKUs, each once; "refused" where our SKU is not registered. Equal ones are left alone."""
    await reference.exclusive(tx)
    known = await items.known(tx, {each.sku for each in wanted if each.sku is not None})
    allowed = {each.key: each for each in wanted if each.sku is None or each.sku in known}
    stored = await store.lock(tx, allowed) if allowed else {}
    changed = []
    for key, mapped in sorted(allowed.items()):
        old = stored.get(key)
        if old is None:
            changed.append(Stored(mapped, uuid7(), 1, 1))
        elif old.mapped.sku != mapped.sku:
            changed.append(Stored(mapped, old.listing_id, old.revision + 1, old.stream_version + 1))
    if changed:
        await store.save(tx, changed)
        await reference.mark(tx, MARK, [each.listing_id for each in changed])
        await announce(tx, [_announcement(each) for each in changed])
    moved = {each.mapped.key for each in changed}
    return [_outcome(each, stored, moved) if each.key in allowed else "refused" for each in wanted]


def _outcome(mapped: Mapped, stored: dict[ListingKey, Stored], moved: set[ListingKey]) -> Outcome:
    if mapped.key not in moved:
        return "unchanged"
    return "changed" if mapped.key in stored else "created"


async def map_one(tx: Write, mapped: Mapped, seen: int | None) -> Stored:
    """Maps one platform SKU. Raises `UnknownSku`, and `PreconditionFailed` unless at revision `seen`."""
    await reference.exclusive(tx)
    if seen is not None:
        current = (await store.lock(tx, [mapped.key])).get(mapped.key)
        if current is None or current.revision != seen:
            raise PreconditionFailed
    if await upsert(tx, [mapped]) == ["refused"]:
        raise items.UnknownSku(skus=[mapped.sku])
    return (await store.lock(tx, [mapped.key]))[mapped.key]


async def resolve(tx: Read, keys: Collection[ListingKey]) -> dict[ListingKey, str]:
    """Our SKU for those platform SKUs that have one. The caller holds the reference lock."""
    return await store.resolve(tx, keys)


def _announcement(stored: Stored) -> Announcement:
    return Announcement(
        INVENTORY_LISTING_MAPPED,
        stored.listing_id,
        stored.stream_version,
        ListingBody(**stored.mapped._asdict()),
        uuid7(),
    )
