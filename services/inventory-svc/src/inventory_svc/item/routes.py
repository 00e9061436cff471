"""HTTP of items: list, read, register, change, and import from CSV. For staff."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request, Response
from pydantic import AfterValidator, Field

from channel_events.values import Code, MinorUnits, Text
from channel_kit.auth import Caller, scope
from channel_kit.database import Write
from channel_kit.files import ImportReport, upload_body
from channel_kit.http import Body, CurrencyCode, IfMatch, Router, View, database, etag, json_body
from channel_kit.pagination import Cursor, Page
from channel_kit.problems import NotFound
from inventory_svc.imports import Verdict, take_in
from inventory_svc.item import actions, rules, store
from inventory_svc.item.rules import Item
from inventory_svc.item.store import Stored
from inventory_svc.rows import visible

router = Router()

Scale = Annotated[int, Field(ge=0, le=6)]
CategoryPath = Annotated[list[Text], Field(max_length=rules.CATEGORY_DEPTH_MAX)]
OwnCode = Annotated[Code, AfterValidator(visible)]
Barcodes = Annotated[list[OwnCode], Field(max_length=rules.BARCODES_MAX)]


class RegisterItem(Body):
    """A product of ours."""

    sku: OwnCode
    name: Text
    category_path: CategoryPath = Field(default=[])
    uom: OwnCode = "pcs"
    quantity_scale: Scale = 0
    barcodes: Barcodes = Field(default=[])
    unit_cost_minor: MinorUnits | None = None
    currency: CurrencyCode | None = None


class ChangeItem(Body):
    """The members to change; those left out stay."""

    name: Text = ""
    category_path: CategoryPath = Field(default=[])
    uom: OwnCode = ""
    quantity_scale: Scale = 0
    barcodes: Barcodes = Field(default=[])
    unit_cost_minor: MinorUnits | None = None
    currency: CurrencyCode | None = None


class ItemView(View):
    """An item as it stands."""

    item_id: UUID
    sku: str
    name: str
    category_path: list[str]
    uom: str
    quantity_scale: int
    barcodes: list[str]
    unit_cost_minor: int | None
    currency: str | None
    revision: int

    @classmethod
    def of(cls, stored: Stored) -> "ItemView":
        facts = stored.item._asdict()
        facts |= {name: list(facts[name]) for name in ("category_path", "barcodes")}
        return cls(item_id=stored.item_id, revision=stored.revision, **facts)


@router.get("/v1/items")
async def list_items(
    caller: Annotated[Caller, scope("stock:read", staff=True)],
    request: Request,
    cursor: Cursor,
    sku: Annotated[str | None, Query(max_length=100)] = None,
    category: Annotated[str | None, Query(max_length=500)] = None,
) -> Page[ItemView]:
    """Items in the order of their SKUs; `category` is any level of the path."""
    after = cursor.values(str)
    async with database(request).read(caller.actor) as tx:
        found = await store.page(tx, sku, category, after[0] if after else None, cursor.limit + 1)
    views = [ItemView.of(each) for each in found[: cursor.limit]]
    return cursor.page(views, len(found), [views[-1].sku] if views else [])


@router.get("/v1/items/{item_id}")
async def read_item(
    item_id: UUID,
    caller: Annotated[Caller, scope("stock:read", staff=True)],
    request: Request,
    response: Response,
) -> ItemView:
    """One item, with its ETag."""
    async with database(request).read(caller.actor) as tx:
        found = await store.get(tx, item_id)
    if found is None:
        raise NotFound
    return _answer(found, response)


@router.post("/v1/items", status_code=201)
async def register_item(
    command: Annotated[RegisterItem, json_body(RegisterItem)],
    caller: Annotated[Caller, scope("stock:write", staff=True)],
    request: Request,
    response: Response,
) -> ItemView:
    """Registers an item; order lines that waited for its SKU are held."""
    item = Item(**_tuples(command.model_dump()))
    stored = await database(request).transact(caller.actor, lambda tx: actions.register(tx, item))
    return _answer(stored, response)


@router.patch("/v1/items/{item_id}")
async def change_item(
    item_id: UUID,
    command: Annotated[ChangeItem, json_body(ChangeItem)],
    caller: Annotated[Caller, scope("stock:write", staff=True)],
    seen: IfMatch,
    request: Request,
    response: Response,
) -> ItemView:
    """Changes an item; with If-Match only as it was read."""
    changes = _tuples(command.model_dump(exclude_unset=True))
    stored = await database(request).transact(
        caller.actor, lambda tx: actions.replace(tx, item_id, changes, seen)
    )
    return _answer(stored, response)


@router.post("/v1/items/import")
async def import_items(
    raw: Annotated[bytes, upload_body()],
    caller: Annotated[Caller, scope("stock:write", staff=True)],
    request: Request,
) -> ImportReport:
    """Columns: sku, and optionally name, category_path ("A > B"), uom, quantity_scale, barcodes, unit_cost, currency."""
    return await take_in(
        request,
        caller,
        raw,
        required=("sku",),
        optional=rules.COLUMNS,
        read=rules.of_row,
        key=lambda item: item.sku,
        save=_save,
    )


async def _save(tx: Write, items: Sequence[Item]) -> list[Verdict]:
    return [Verdict(outcome) for outcome in await actions.upsert(tx, items)]


def _answer(stored: Stored, response: Response) -> ItemView:
    response.headers["etag"] = etag(stored.revision)
    return ItemView.of(stored)


def _tuples(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
