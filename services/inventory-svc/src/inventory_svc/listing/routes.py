"""HTTP of listings: list, map one (this is how an unknown SKU is resolved), import from CSV. For staff."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response

from channel_events.values import Code, Text
from channel_kit.auth import Caller, scope
from channel_kit.database import Write
from channel_kit.files import ImportReport, upload_body
from channel_kit.http import Body, IfMatch, Router, View, database, etag, json_body
from channel_kit.pagination import Cursor, Page
from inventory_svc.imports import Verdict, take_in
from inventory_svc.listing import actions, rules, store
from inventory_svc.listing.rules import Mapped
from inventory_svc.listing.store import Stored

router = Router()


class MapListing(Body):
    """What a shop's platform SKU means; a null sku takes the mapping away."""

    platform: Code
    shop_id: Text
    platform_sku: Text
    sku: Code | None


class ListingView(View):
    """A listing as it stands."""

    listing_id: UUID
    platform: str
    shop_id: str
    platform_sku: str
    sku: str | None
    revision: int

    @classmethod
    def of(cls, stored: Stored) -> "ListingView":
        return cls(listing_id=stored.listing_id, revision=stored.revision, **stored.mapped._asdict())


@router.get("/v1/listings")
async def list_listings(
    caller: Annotated[Caller, scope("stock:read", staff=True)],
    request: Request,
    cursor: Cursor,
    platform: Annotated[str | None, Query(max_length=100)] = None,
    shop_id: Annotated[str | None, Query(max_length=500)] = None,
    sku: Annotated[str | None, Query(max_length=100)] = None,
    unmapped: bool = False,
) -> Page[ListingView]:
    """Listings in the order of platform, shop and platform SKU; `unmapped` shows those without a SKU of ours."""
    after = cursor.values(str, str, str)
    async with database(request).read(caller.actor) as tx:
        found = await store.page(tx, platform, shop_id, sku, unmapped, after, cursor.limit + 1)
    shown = found[: cursor.limit]
    return cursor.page(
        [ListingView.of(each) for each in shown], len(found), shown[-1].mapped.key if shown else []
    )


@router.put("/v1/listings")
async def map_listing(
    command: Annotated[MapListing, json_body(MapListing)],
    caller: Annotated[Caller, scope("stock:write", staff=True)],
    seen: IfMatch,
    request: Request,
    response: Response,
) -> ListingView:
    """Says what a platform SKU means. Order lines that waited for it are held; mapped lines stay as they are."""
    mapped = Mapped(**command.model_dump())
    stored = await database(request).transact(caller.actor, lambda tx: actions.map_one(tx, mapped, seen))
    response.headers["etag"] = etag(stored.revision)
    return ListingView.of(stored)


@router.post("/v1/listings/import")
async def import_listings(
    raw: Annotated[bytes, upload_body()],
    caller: Annotated[Caller, scope("stock:write", staff=True)],
    request: Request,
) -> ImportReport:
    """Columns: platform, shop_id, platform_sku, sku. The same file again is unchanged."""
    return await take_in(
        request,
        caller,
        raw,
        required=("platform", "shop_id", "platform_sku", "sku"),
        read=rules.of_row,
        key=lambda mapped: mapped.key,
        save=_save,
    )


async def _save(tx: Write, wanted: Sequence[Mapped]) -> list[Verdict]:
    return [
        Verdict(
            outcome, "sku: it is not registered; import the items first" if outcome == "refused" else None
        )
        for outcome in await actions.upsert(tx, wanted)
    ]
