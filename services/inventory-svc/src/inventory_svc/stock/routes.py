"""HTTP of stock: levels, availability, movements; receipts, adjustments and transfers.

Staff only, but for availability, which partners may ask too: it is read with the rights of staff and shows no
more than what may still be promised. Every command carries an Idempotency-Key and does all its lines or none.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query, Request, Response
from pydantic import AfterValidator, Field, PlainSerializer

from channel_events.values import Code, Quantity, Text, quantity_text
from channel_kit.auth import Caller, scope
from channel_kit.database import STAFF, Write
from channel_kit.files import ImportReport, upload_body
from channel_kit.http import Body, IfMatch, Router, View, database, etag, json_body
from channel_kit.idempotency import IdempotencyKey, fingerprint, once
from channel_kit.pagination import Cursor, Page
from channel_kit.problems import NotFound
from inventory_svc.imports import Verdict, take_in
from inventory_svc.location.rules import MAIN
from inventory_svc.stock import actions, rules, store
from inventory_svc.stock.actions import Change
from inventory_svc.stock.rules import ZERO, Opening, Shelf

LINES_MAX = 1_000
SKUS_MAX = 200

router = Router()


def _positive(value: Decimal) -> Decimal:
    if value <= 0:
        raise ValueError("give a quantity above zero")
    return value


def _not_negative(value: Decimal) -> Decimal:
    if value < 0:
        raise ValueError("give a quantity from zero up")
    return value


def _not_zero(value: Decimal) -> Decimal:
    if value == 0:
        raise ValueError("give a quantity other than zero")
    return value


Positive = Annotated[Quantity, AfterValidator(_positive)]
NotNegative = Annotated[Quantity, AfterValidator(_not_negative)]
NotZero = Annotated[Quantity, AfterValidator(_not_zero)]


class ReceiptLine(Body):
    """What came in."""

    sku: Code
    location: Code = MAIN
    quantity: Positive


class ReceiveStock(Body):
    """A delivery that came in."""

    lines: Annotated[list[ReceiptLine], Field(min_length=1, max_length=LINES_MAX)]
    reason: Text | None = None


class AdjustmentLine(Body):
    """A correction: signed; `scrap` goes out for good."""

    sku: Code
    location: Code = MAIN
    quantity: NotZero
    kind: Literal["adjustment", "scrap"] = "adjustment"


class AdjustStock(Body):
    """Corrections with the reason for them."""

    lines: Annotated[list[AdjustmentLine], Field(min_length=1, max_length=LINES_MAX)]
    reason: Text


class TransferLine(Body):
    """What goes from one location to another."""

    sku: Code
    source: Code
    destination: Code
    quantity: Positive


class TransferStock(Body):
    """Goods moved between locations, out and in at once."""

    lines: Annotated[list[TransferLine], Field(min_length=1, max_length=LINES_MAX)]
    reason: Text | None = None


class LimitStock(Body):
    """The members to set; those left out stay."""

    safety: NotNegative | None = None
    quarantined: NotNegative | None = None


class StockView(View):
    """A stock row as it stands."""

    stock_id: UUID
    sku: str
    location: str
    on_hand: Quantity
    reserved: Quantity
    allocated: Quantity
    quarantined: Quantity
    safety: Quantity
    available: Quantity
    version: int

    @classmethod
    def of(cls, row: store.Level | Shelf) -> "StockView":
        free = row.on_hand - row.quarantined - row.reserved - row.allocated - row.safety
        return cls(
            stock_id=row.stock_id,
            sku=row.sku,
            location=row.location,
            on_hand=row.on_hand,
            reserved=row.reserved,
            allocated=row.allocated,
            quarantined=row.quarantined,
            safety=row.safety,
            available=max(ZERO, free),
            version=row.stream_version,
        )


class ChangeView(View):
    """The stock rows a command touched, as they stand after it."""

    stock: list[StockView]


Total = Annotated[Decimal, PlainSerializer(quantity_text, return_type=str)]
"""A sum of quantities, which may outgrow the bounds of one."""


class AvailableAt(View):
    """What one location may still promise."""

    location: str
    available: Quantity


class AvailabilityView(View):
    """What may still be promised of a SKU; zero for one that is not stocked."""

    sku: str
    available: Total
    locations: list[AvailableAt]


class AskAvailability(Body):
    """The SKUs to ask for."""

    skus: Annotated[list[Code], Field(min_length=1, max_length=SKUS_MAX)]


class AvailabilityList(View):
    """One answer per SKU, in the order asked."""

    items: list[AvailabilityView]


class MovementView(View):
    """One change of what is physically there."""

    movement_id: UUID
    sku: str
    location: str
    kind: str
    quantity: Quantity
    cause: str
    order_id: UUID | None
    line_no: int | None
    reason: str | None
    recorded_at: datetime


@router.post("/v1/receipts", status_code=201, response_model=ChangeView)
async def receive(
    command: Annotated[ReceiveStock, json_body(ReceiveStock)],
    caller: Annotated[Caller, scope("stock:write", staff=True)],
    key: IdempotencyKey,
    request: Request,
) -> Response:
    """Takes goods in; order lines that wait for them are served, oldest first."""
    changes = [
        Change("receipt", each.sku, each.location, each.quantity, command.reason) for each in command.lines
    ]
    return await _change(request, caller, "/v1/receipts", key, fingerprint(command), "receipt", changes)


@router.post("/v1/adjustments", status_code=201, response_model=ChangeView)
async def adjust(
    command: Annotated[AdjustStock, json_body(AdjustStock)],
    caller: Annotated[Caller, scope("stock:write", staff=True)],
    key: IdempotencyKey,
    request: Request,
) -> Response:
    """Corrects what is there. What was promised to somebody cannot be taken away: 409 says how much is free."""
    changes = [
        Change(each.kind, each.sku, each.location, each.quantity, command.reason) for each in command.lines
    ]
    return await _change(request, caller, "/v1/adjustments", key, fingerprint(command), "adjustment", changes)


@router.post("/v1/transfers", status_code=201, response_model=ChangeView)
async def transfer(
    command: Annotated[TransferStock, json_body(TransferStock)],
    caller: Annotated[Caller, scope("stock:write", staff=True)],
    key: IdempotencyKey,
    request: Request,
) -> Response:
    """Moves goods between locations."""
    changes = [
        change
        for each in command.lines
        for change in (
            Change("transfer_out", each.sku, each.source, -each.quantity, command.reason),
            Change("transfer_in", each.sku, each.destination, each.quantity, command.reason),
        )
    ]
    return await _change(request, caller, "/v1/transfers", key, fingerprint(command), "transfer", changes)


async def _change(
    request: Request,
    caller: Caller,
    route: str,
    key: str,
    digest: bytes,
    cause: str,
    changes: Sequence[Change],
) -> Response:
    async def run(tx: Write) -> Response:
        async def effect() -> tuple[int, ChangeView]:
            shelves = await actions.change(tx, cause, changes)
            return 201, ChangeView(stock=[StockView.of(shelf) for shelf in shelves])

        return await once(tx, caller, route, key, digest, effect)

    return await database(request).transact(caller.actor, run)


@router.post("/v1/stock/import")
async def import_opening(
    raw: Annotated[bytes, upload_body()],
    caller: Annotated[Caller, scope("stock:write", staff=True)],
    request: Request,
) -> ImportReport:
    """Opening stock, once per shelf. Columns: sku, quantity, and optionally location."""
    return await take_in(
        request,
        caller,
        raw,
        required=("sku", "quantity"),
        optional=("location",),
        read=rules.of_row,
        key=lambda opening: opening.key,
        save=_open,
    )


async def _open(tx: Write, openings: Sequence[Opening]) -> list[Verdict]:
    return [
        Verdict("created")
        if word == "created"
        else Verdict("unchanged")
        if word == "unchanged"
        else Verdict("refused", word)
        for word in await actions.open_stock(tx, openings)
    ]


@router.get("/v1/stock")
async def list_stock(
    caller: Annotated[Caller, scope("stock:read", staff=True)],
    request: Request,
    cursor: Cursor,
    sku: Annotated[str | None, Query(max_length=100)] = None,
    location: Annotated[str | None, Query(max_length=100)] = None,
) -> Page[StockView]:
    """Stock rows in the order of SKU and location."""
    after = cursor.values(str, str)
    async with database(request).read(caller.actor) as tx:
        found = await store.page(tx, sku, location, after, cursor.limit + 1)
    views = [StockView.of(row) for row in found[: cursor.limit]]
    return cursor.page(views, len(found), [views[-1].sku, views[-1].location] if views else [])


@router.get("/v1/stock/{sku:path}")
async def read_stock(
    sku: str, caller: Annotated[Caller, scope("stock:read", staff=True)], request: Request
) -> list[StockView]:
    """All rows of one SKU."""
    async with database(request).read(caller.actor) as tx:
        rows = await store.levels(tx, [sku])
    if not rows:
        raise NotFound
    return [StockView.of(row) for row in rows]


@router.patch("/v1/stock/levels/{stock_id}")
async def limit_stock(
    stock_id: UUID,
    command: Annotated[LimitStock, json_body(LimitStock)],
    caller: Annotated[Caller, scope("stock:write", staff=True)],
    seen: IfMatch,
    request: Request,
    response: Response,
) -> StockView:
    """Sets the safety stock and what is quarantined; with If-Match only as it was read."""
    shelf = await database(request).transact(
        caller.actor, lambda tx: actions.limit(tx, stock_id, command.safety, command.quarantined, seen)
    )
    response.headers["etag"] = etag(shelf.stream_version)
    return StockView.of(shelf)


@router.get("/v1/availability")
async def ask_availability(
    sku: Annotated[list[Code], Query(min_length=1, max_length=SKUS_MAX)],
    caller: Annotated[Caller, scope("stock:read")],
    request: Request,
) -> AvailabilityList:
    """What may still be promised: `?sku=A&sku=B`, at most 200."""
    return await _availability(request, sku)


@router.post("/v1/availability")
async def ask_availability_in_bulk(
    question: Annotated[AskAvailability, json_body(AskAvailability)],
    caller: Annotated[Caller, scope("stock:read")],
    request: Request,
) -> AvailabilityList:
    """The same with the SKUs in a body."""
    return await _availability(request, question.skus)


async def _availability(request: Request, skus: Sequence[str]) -> AvailabilityList:
    async with database(request).read(STAFF) as tx:
        rows = await store.levels(tx, skus)
    at: dict[str, list[AvailableAt]] = {}
    for row in rows:
        view = StockView.of(row)
        at.setdefault(row.sku, []).append(AvailableAt(location=row.location, available=view.available))
    return AvailabilityList(
        items=[
            AvailabilityView(
                sku=sku,
                available=sum((each.available for each in at.get(sku, ())), ZERO),
                locations=at.get(sku, []),
            )
            for sku in dict.fromkeys(skus)
        ]
    )


@router.get("/v1/movements")
async def list_movements(
    caller: Annotated[Caller, scope("stock:read", staff=True)],
    request: Request,
    cursor: Cursor,
    sku: Annotated[str | None, Query(max_length=100)] = None,
    location: Annotated[str | None, Query(max_length=100)] = None,
    kind: Annotated[str | None, Query(max_length=100)] = None,
    order_id: UUID | None = None,
) -> Page[MovementView]:
    """Movements, newest first."""
    before = cursor.values(UUID)
    async with database(request).read(caller.actor) as tx:
        found = await store.movements(
            tx, sku, location, kind, order_id, before[0] if before else None, cursor.limit + 1
        )
    views = [MovementView(**each._asdict()) for each in found[: cursor.limit]]
    return cursor.page(views, len(found), [views[-1].movement_id] if views else [])
