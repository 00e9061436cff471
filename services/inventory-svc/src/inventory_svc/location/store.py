"""The tables `location` and `shop_location`. Called by `location.actions` and its routes."""

from collections.abc import Collection, Sequence
from typing import NamedTuple
from uuid import UUID

from channel_kit.database import Read, Write
from inventory_svc.location.rules import Location, ShopKey, ShopLocation


class Stored(NamedTuple):
    """A location with its identity and revision."""

    location: Location
    location_id: UUID
    revision: int


async def lock(tx: Write, codes: Collection[str]) -> dict[str, Stored]:
    """Those of the locations that exist, under lock, by code."""
    rows = await tx.rows(
        """
        select code, name, location_id, revision from location
        where code = any($1::text[]) order by code for update
        """,
        sorted(codes),
    )
    return {row.code: Stored(Location(row.code, row.name), row.location_id, row.revision) for row in rows}


async def save(tx: Write, locations: Sequence[Stored]) -> None:
    """Adds or overwrites locations, sorted by code."""
    ordered = sorted(locations, key=lambda each: each.location.code)
    await tx.execute(
        """
        insert into location (location_id, code, name, revision)
        select * from unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[])
        on conflict (code) do update
        set name = excluded.name, revision = excluded.revision, changed_at = clock_timestamp()
        """,
        [each.location_id for each in ordered],
        [each.location.code for each in ordered],
        [each.location.name for each in ordered],
        [each.revision for each in ordered],
    )


async def known(tx: Read, codes: Collection[str]) -> set[str]:
    """Those of the codes that are locations."""
    rows = await tx.rows("select code from location where code = any($1::text[])", sorted(codes))
    return {row.code for row in rows}


async def page(tx: Read, after: str | None, limit: int) -> list[Stored]:
    """Locations after a code, in their order."""
    rows = await tx.rows(
        """
        select code, name, location_id, revision from location
        where ($1::text is null or code > $1) order by code limit $2
        """,
        after,
        limit,
    )
    return [Stored(Location(row.code, row.name), row.location_id, row.revision) for row in rows]


async def of_shops(tx: Read, shops: Collection[ShopKey]) -> dict[ShopKey, str]:
    """The location of those shops that have one assigned."""
    if not shops:
        return {}
    rows = await tx.rows(
        """
        select platform, shop_id, location
        from unnest($1::text[], $2::text[]) as shop(platform, shop_id)
        join shop_location using (platform, shop_id)
        """,
        *(list(column) for column in zip(*sorted(shops), strict=True)),
    )
    return {(row.platform, row.shop_id): row.location for row in rows}


async def assign(tx: Write, assignments: Sequence[ShopLocation]) -> None:
    """Adds or overwrites which location serves a shop."""
    ordered = sorted(assignments)
    await tx.execute(
        """
        insert into shop_location (platform, shop_id, location)
        select * from unnest($1::text[], $2::text[], $3::text[])
        on conflict (shop_id, platform) do update
        set location = excluded.location, changed_at = clock_timestamp()
        """,
        *(list(column) for column in zip(*ordered, strict=True)),
    )


async def shop_page(tx: Read, after: ShopKey | None, limit: int) -> list[ShopLocation]:
    """Assignments after a (platform, shop), in that order."""
    rows = await tx.rows(
        """
        select platform, shop_id, location from shop_location
        where ($1::text is null or (platform, shop_id) > ($1, $2::text))
        order by platform, shop_id limit $3
        """,
        *(after or (None, None)),
        limit,
    )
    return [ShopLocation(row.platform, row.shop_id, row.location) for row in rows]
