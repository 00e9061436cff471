"""The table `listing`: every statement about it, many rows at a time.

Called by `listing.actions` and its routes. Resolving reads `item` too, the noun below: a platform SKU that has
no listing and equals one of our SKUs maps by itself.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from channel_kit.database import Read, Write
from inventory_svc.listing.rules import ListingKey, Mapped

_COLUMNS = "platform, shop_id, platform_sku, sku, listing_id, revision, stream_version"


class Stored(NamedTuple):
    """A listing with its identity and versions."""

    mapped: Mapped
    listing_id: UUID
    revision: int
    stream_version: int


def _stored(row: Any) -> Stored:
    platform, shop_id, platform_sku, sku, listing_id, revision, version = row
    return Stored(Mapped(platform, shop_id, platform_sku, sku), listing_id, revision, version)


async def lock(tx: Write, keys: Collection[ListingKey]) -> dict[ListingKey, Stored]:
    """Those of the listings that exist, under lock, by key."""
    ordered = sorted(keys)
    rows = await tx.rows(
        """
        select l.platform, l.shop_id, l.platform_sku, l.sku, l.listing_id, l.revision, l.stream_version
        from unnest($1::text[], $2::text[], $3::text[]) as key(platform, shop_id, platform_sku)
        join listing l using (platform_sku, shop_id, platform)
        order by l.platform, l.shop_id, l.platform_sku
        for update of l
        """,
        *(list(column) for column in zip(*ordered, strict=True)),
    )
    found = [_stored(row) for row in rows]
    return {each.mapped.key: each for each in found}


async def save(tx: Write, listings: Sequence[Stored]) -> None:
    """Adds or overwrites listings, sorted by key."""
    ordered = sorted(listings, key=lambda each: each.mapped.key)
    await tx.execute(
        """
        insert into listing (listing_id, platform, shop_id, platform_sku, sku, revision, stream_version)
        select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[],
                             $7::bigint[])
        on conflict (platform_sku, shop_id, platform) do update
        set sku = excluded.sku, revision = excluded.revision, stream_version = excluded.stream_version,
            changed_at = clock_timestamp()
        """,
        [each.listing_id for each in ordered],
        [each.mapped.platform for each in ordered],
        [each.mapped.shop_id for each in ordered],
        [each.mapped.platform_sku for each in ordered],
        [each.mapped.sku for each in ordered],
        [each.revision for each in ordered],
        [each.stream_version for each in ordered],
    )


async def resolve(tx: Read, keys: Collection[ListingKey]) -> dict[ListingKey, str]:
    """Our SKU for those platform SKUs that have one."""
    if not keys:
        return {}
    rows = await tx.rows(
        """
        select key.platform, key.shop_id, key.platform_sku, coalesce(l.sku, i.sku) as sku
        from unnest($1::text[], $2::text[], $3::text[]) as key(platform, shop_id, platform_sku)
        left join listing l using (platform_sku, shop_id, platform)
        left join item i on i.sku = key.platform_sku and l.listing_id is null
        where coalesce(l.sku, i.sku) is not null
        """,
        *(list(column) for column in zip(*sorted(keys), strict=True)),
    )
    return {(row.platform, row.shop_id, row.platform_sku): row.sku for row in rows}


async def page(
    tx: Read,
    platform: str | None,
    shop_id: str | None,
    sku: str | None,
    unmapped: bool,
    after: ListingKey | None,
    limit: int,
) -> list[Stored]:
    """Listings after a key, in the order of platform, shop and platform SKU."""
    rows = await tx.rows(
        f"""
        select {_COLUMNS} from listing
        where ($1::text is null or platform = $1) and ($2::text is null or shop_id = $2)
          and ($3::text is null or sku = $3) and (not $4::boolean or sku is null)
          and ($5::text is null or (platform, shop_id, platform_sku) > ($5, $6::text, $7::text))
        order by platform, shop_id, platform_sku limit $8
        """,  # noqa: S608
        platform,
        shop_id,
        sku,
        unmapped,
        *(after or (None, None, None)),
        limit,
    )
    return [_stored(row) for row in rows]
