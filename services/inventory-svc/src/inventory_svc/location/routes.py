"""HTTP of locations and of the shops they serve: list, put, import from CSV. For staff."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import Request, Response
from pydantic import AfterValidator

from channel_events.values import Code, Text
from channel_kit.auth import Caller, scope
from channel_kit.database import Write
from channel_kit.files import ImportReport, upload_body
from channel_kit.http import Body, IfMatch, Router, View, database, etag, json_body
from channel_kit.pagination import Cursor, Page
from inventory_svc.imports import Verdict, take_in
from inventory_svc.location import actions, rules, store
from inventory_svc.location.rules import Location, ShopLocation
from inventory_svc.location.store import Stored
from inventory_svc.rows import visible

router = Router()


class PutLocation(Body):
    """A place where stock lies."""

    code: Annotated[Code, AfterValidator(visible)]
    name: Text


class PutShopLocation(Body):
    """Which location serves a shop."""

    platform: Code
    shop_id: Text
    location: Code


class LocationView(View):
    """A location as it stands."""

    location_id: UUID
    code: str
    name: str
    revision: int

    @classmethod
    def of(cls, stored: Stored) -> "LocationView":
        return cls(location_id=stored.location_id, revision=stored.revision, **stored.location._asdict())


class ShopLocationView(View):
    """Which location serves a shop; shops that are not listed are served from `main`."""

    platform: str
    shop_id: str
    location: str


@router.get("/v1/locations")
async def list_locations(
    caller: Annotated[Caller, scope("stock:read", staff=True)], request: Request, cursor: Cursor
) -> Page[LocationView]:
    """Locations in the order of their codes."""
    after = cursor.values(str)
    async with database(request).read(caller.actor) as tx:
        found = await store.page(tx, after[0] if after else None, cursor.limit + 1)
    views = [LocationView.of(each) for each in found[: cursor.limit]]
    return cursor.page(views, len(found), [views[-1].code] if views else [])


@router.put("/v1/locations")
async def put_location(
    command: Annotated[PutLocation, json_body(PutLocation)],
    caller: Annotated[Caller, scope("stock:write", staff=True)],
    seen: IfMatch,
    request: Request,
    response: Response,
) -> LocationView:
    """Creates a location or changes its name; with If-Match only as it was read."""
    location = Location(command.code, command.name)
    stored = await database(request).transact(caller.actor, lambda tx: actions.put(tx, location, seen))
    response.headers["etag"] = etag(stored.revision)
    return LocationView.of(stored)


@router.post("/v1/locations/import")
async def import_locations(
    raw: Annotated[bytes, upload_body()],
    caller: Annotated[Caller, scope("stock:write", staff=True)],
    request: Request,
) -> ImportReport:
    """Columns: code, and optionally name. The same file again is unchanged."""
    return await take_in(
        request,
        caller,
        raw,
        required=("code",),
        optional=("name",),
        read=rules.of_row,
        key=lambda location: location.code,
        save=_save,
    )


async def _save(tx: Write, locations: Sequence[Location]) -> list[Verdict]:
    return [Verdict(outcome) for outcome in await actions.upsert(tx, locations)]


@router.get("/v1/shop-locations")
async def list_shop_locations(
    caller: Annotated[Caller, scope("stock:read", staff=True)], request: Request, cursor: Cursor
) -> Page[ShopLocationView]:
    """Assigned shops in the order of platform and shop."""
    after = cursor.values(str, str)
    async with database(request).read(caller.actor) as tx:
        found = await store.shop_page(tx, after, cursor.limit + 1)
    shown = found[: cursor.limit]
    views = [ShopLocationView(**each._asdict()) for each in shown]
    return cursor.page(views, len(found), shown[-1].key if shown else [])


@router.put("/v1/shop-locations")
async def put_shop_location(
    command: Annotated[PutShopLocation, json_body(PutShopLocation)],
    caller: Annotated[Caller, scope("stock:write", staff=True)],
    request: Request,
) -> ShopLocationView:
    """Says which location serves a shop from now on; what is held already stays where it is."""
    assignment = ShopLocation(**command.model_dump())
    await database(request).transact(caller.actor, lambda tx: actions.assign_one(tx, assignment))
    return ShopLocationView(**assignment._asdict())


@router.post("/v1/shop-locations/import")
async def import_shop_locations(
    raw: Annotated[bytes, upload_body()],
    caller: Annotated[Caller, scope("stock:write", staff=True)],
    request: Request,
) -> ImportReport:
    """Columns: platform, shop_id, location. The same file again is unchanged."""
    return await take_in(
        request,
        caller,
        raw,
        required=("platform", "shop_id", "location"),
        read=rules.of_shop_row,
        key=lambda assignment: assignment.key,
        save=_assign,
    )


async def _assign(tx: Write, assignments: Sequence[ShopLocation]) -> list[Verdict]:
    return [
        Verdict(outcome, "location: it does not exist" if outcome == "refused" else None)
        for outcome in await actions.assign(tx, assignments)
    ]
