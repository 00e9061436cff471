"""What can be done to locations: create, rename, assign shops; and what stock and holds ask of them.

An assignment decides for order lines to come. It is reference data of the order batch, so it changes under the
exclusive reference lock; lines that are held already stay where they are.
"""

from collections.abc import Collection, Sequence
from typing import Literal

from channel_kit import reference
from channel_kit.database import Read, Write
from channel_kit.ids import uuid7
from channel_kit.problems import Conflict, PreconditionFailed
from inventory_svc.location import store
from inventory_svc.location.rules import Location, ShopKey, ShopLocation
from inventory_svc.location.store import Stored

Outcome = Literal["created", "changed", "unchanged", "refused"]


class UnknownLocation(Conflict):
    code = "unknown-location"
    title = "These locations do not exist; create them first"


async def upsert(tx: Write, locations: Sequence[Location]) -> list[Outcome]:
    """Creates or renames locations, each code once. Equal ones are left alone."""
    wanted = {each.code: each for each in locations}
    stored = await store.lock(tx, wanted)
    verdicts: dict[str, Outcome] = {}
    for code, location in wanted.items():
        old = stored.get(code)
        verdicts[code] = "created" if old is None else "unchanged" if old.location == location else "changed"
    changed = [
        Stored(wanted[code], stored[code].location_id, stored[code].revision + 1)
        if code in stored
        else Stored(wanted[code], uuid7(), 1)
        for code, verdict in verdicts.items()
        if verdict != "unchanged"
    ]
    if changed:
        await store.save(tx, changed)
    return [verdicts[each.code] for each in locations]


async def put(tx: Write, location: Location, seen: int | None) -> Stored:
    """Creates or renames one location. Raises `PreconditionFailed` unless it is at revision `seen`."""
    current = (await store.lock(tx, [location.code])).get(location.code)
    if seen is not None and (current is None or current.revision != seen):
        raise PreconditionFailed
    await upsert(tx, [location])
    return (await store.lock(tx, [location.code]))[location.code]


async def assign(tx: Write, assignments: Sequence[ShopLocation]) -> list[Outcome]:
    """Says which location serves each shop; "refused" where the location does not exist."""
    await reference.exclusive(tx)
    exist = await known(tx, {each.location for each in assignments})
    present = await store.of_shops(tx, {each.key for each in assignments})
    verdicts: list[Outcome] = []
    changed = []
    for each in assignments:
        if each.location not in exist:
            verdicts.append("refused")
        elif present.get(each.key) == each.location:
            verdicts.append("unchanged")
        else:
            verdicts.append("changed" if each.key in present else "created")
            changed.append(each)
    if changed:
        await store.assign(tx, changed)
    return verdicts


async def assign_one(tx: Write, assignment: ShopLocation) -> None:
    """Says which location serves a shop. Raises `UnknownLocation`."""
    if await assign(tx, [assignment]) == ["refused"]:
        raise UnknownLocation(locations=[assignment.location])


async def of_shops(tx: Read, shops: Collection[ShopKey]) -> dict[ShopKey, str]:
    """The location of those shops that have one assigned; the others are served from `rules.MAIN`."""
    return await store.of_shops(tx, shops)


async def known(tx: Read, codes: Collection[str]) -> set[str]:
    """Those of the codes that are locations."""
    return await store.known(tx, codes)


async def require(tx: Read, codes: Collection[str]) -> None:
    """Every code is a location. Raises `UnknownLocation`."""
    exist = await store.known(tx, codes)
    if missing := sorted(set(codes) - exist):
        raise UnknownLocation(locations=missing[:50])
