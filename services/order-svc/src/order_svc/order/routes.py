"""`/v1/orders` and `/v1/exceptions`: orders found by any number, their lines, entries and evidence.

Reading only: an order changes by what its platform says, or by reference data that partner-svc and
inventory-svc own. Partners see their own orders; what is not theirs does not exist for them.
"""

import json
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from pydantic import AfterValidator, AwareDatetime, BeforeValidator

from channel_events.values import Quantity
from channel_kit.auth import Caller, scope
from channel_kit.http import Router, View, database, etag
from channel_kit.pagination import Cursor, Page
from channel_kit.problems import NotFound, Unprocessable
from order_svc.block import store as blocks
from order_svc.order import store
from order_svc.order.rules import NEEDS_REVIEW
from order_svc.order.store import Search

router = Router(tags=["orders"])

Text = Annotated[str | None, Query(max_length=255)]


class UnknownOrder(NotFound):
    code = "unknown-order"
    title = "There is no order with this id"


class NotYetKnown(Unprocessable):
    code = "not-yet-known"
    title = "Give a known_at that has passed; what will be known later cannot be said now"


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("give a time between the years 1 and 9999") from None


def _written_out(value: object) -> object:
    # Pydantic would also take a bare number, as seconds since 1970.
    if isinstance(value, str) and "T" not in value.upper():
        raise ValueError("use an instant with its zone, such as 2026-01-31T00:00:00+08:00")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_in_utc)]


class OrderView(View):
    """An order as it stands. Without a document (only a refund of it came so far) most members are null."""

    order_id: UUID
    platform: str
    shop_id: str
    platform_order_id: str
    number: str | None
    revision: int
    stream_version: int
    lifecycle: str | None
    payment: str | None
    fulfilment: str | None
    currency: str | None
    partner_id: UUID | None
    channel: str | None
    business_at: datetime | None
    paid_at: datetime | None
    flags: list[str]
    needs_review: bool
    stock_status: str | None
    ordered_net_minor: int
    paid_minor: int
    refunded_minor: int
    net_sales_minor: int
    created_at: datetime
    updated_at: datetime


class LineView(View):
    line_no: int
    external_id: str
    line_kind: str
    platform_sku: str | None
    sku: str | None
    title: str | None
    ordered: Quantity
    cancelled: Quantity
    shipped: Quantity
    returned: Quantity
    restocked: Quantity
    net_minor: int


class OrderDetail(OrderView):
    lines: list[LineView]


class EntryView(View):
    """One ledger entry; `block_no` null while it is not sealed yet, `live` false once it is taken back."""

    entry_id: UUID
    line_no: int
    line_kind: str
    kind: str
    quantity: Quantity
    currency: str
    list_minor: int
    promo_minor: int
    platform_coupon_minor: int
    merchant_coupon_minor: int
    freight_minor: int
    tax_minor: int
    platform_fee_minor: int
    net_minor: int
    tax_included: bool
    partner_id: UUID | None
    channel: str | None
    sku: str | None
    business_at: datetime
    origin_at: datetime
    recorded_at: datetime
    cause_delivery_id: UUID | None
    reverses_entry_id: UUID | None
    origin_entry_id: UUID | None
    entry_hash: str
    block_no: int | None
    live: bool


class EntriesView(View):
    """Entries in the order they were recorded. With `known_at`: as of the last block sealed by then."""

    order_id: UUID
    known_at: datetime | None
    entries: list[EntryView]


class DocumentView(View):
    """One document the platform sent, and what it did: applied, or stale because a newer one was known."""

    revision_id: UUID
    delivery_id: UUID | None
    outcome: str
    version: int
    content_hash: str
    recorded_at: datetime
    document: dict[str, Any]


class ExceptionView(View):
    """A cause that keeps orders from being complete, and the money that waits for it."""

    code: str
    platform: str
    shop_id: str
    subject: str | None
    currency: str | None
    orders: int
    net_minor: int
    since: datetime
    examples: list[UUID]


class QuarantineView(View):
    reason: str
    platform: str
    shop_id: str
    deliveries: int
    since: datetime


class ExceptionsView(View):
    orders: list[ExceptionView]
    quarantine: list[QuarantineView]


def _search(
    platform_order_id: Text = None,
    platform: Text = None,
    shop_id: Text = None,
    partner_id: UUID | None = None,
    channel: Text = None,
    flag: Text = None,
    lifecycle: Text = None,
    payment: Text = None,
) -> Search:
    return Search(platform_order_id, platform, shop_id, partner_id, channel, flag, lifecycle, payment)


def _view(row: Any) -> dict[str, Any]:
    return {**row, "needs_review": not NEEDS_REVIEW.isdisjoint(row.flags)}


@router.get("/v1/orders")
async def orders(
    caller: Annotated[Caller, scope("orders:read")],
    cursor: Cursor,
    search: Annotated[Search, Depends(_search)],
    request: Request,
) -> Page[OrderView]:
    """Orders, latest known first. `platform_order_id` finds the platform's id or the number that people read."""
    before = cursor.values(UUID)
    async with database(request).read(caller.actor) as tx:
        rows = await store.page(tx, search, before[0] if before else None, cursor.limit + 1)
    items = [OrderView(**_view(row)) for row in rows[: cursor.limit]]
    return cursor.page(items, len(rows), (items[-1].order_id,) if items else ())


@router.get("/v1/orders/{order_id}")
async def order(
    order_id: UUID, caller: Annotated[Caller, scope("orders:read")], request: Request, response: Response
) -> OrderDetail:
    async with database(request).read(caller.actor) as tx:
        row = await store.one(tx, order_id)
        if row is None:
            raise UnknownOrder
        lines = await store.lines(tx, order_id)
    response.headers["etag"] = etag(row.revision)
    return OrderDetail(**_view(row), lines=[LineView(**line) for line in lines])


@router.get("/v1/orders/{order_id}/entries")
async def entries(
    order_id: UUID,
    caller: Annotated[Caller, scope("orders:read")],
    request: Request,
    known_at: Annotated[Moment | None, Query()] = None,
) -> EntriesView:
    """The order's ledger entries; `known_at` repeats what was known then, whatever came later."""
    async with database(request).read(caller.actor) as tx:
        if await store.one(tx, order_id) is None:
            raise UnknownOrder
        if known_at is not None and known_at > await blocks.sealed_until_now(tx):
            raise NotYetKnown
        rows = await blocks.entries_of(tx, order_id, known_at)
    reversed_ids = {row.reverses_entry_id for row in rows}
    return EntriesView(
        order_id=order_id,
        known_at=known_at,
        entries=[
            EntryView(
                **{name: value for name, value in row.items() if name != "order_id"},
                live=row.reverses_entry_id is None and row.entry_id not in reversed_ids,
            )
            for row in rows
        ],
    )


@router.get("/v1/orders/{order_id}/documents")
async def documents(
    order_id: UUID, caller: Annotated[Caller, scope("orders:read", staff=True)], request: Request
) -> list[DocumentView]:
    """The evidence: every document received for the order, oldest first."""
    async with database(request).read(caller.actor) as tx:
        if await store.one(tx, order_id) is None:
            raise UnknownOrder
        rows = await store.documents(tx, order_id)
    return [DocumentView(**{**row, "document": json.loads(row.document)}) for row in rows]


@router.get("/v1/exceptions")
async def exceptions(
    caller: Annotated[Caller, scope("orders:read", staff=True)], request: Request
) -> ExceptionsView:
    """What waits for somebody: orders by cause (map the SKU in inventory-svc, bind the shop in partner-svc),
    and quarantined deliveries by reason (`POST /v1/deliveries/reprocess`)."""
    async with database(request).read(caller.actor) as tx:
        causes = await store.exceptions(tx, sorted(NEEDS_REVIEW))
        waiting = await store.quarantine(tx)
    return ExceptionsView(
        orders=[ExceptionView(**{**row, "subject": row.subject or None}) for row in causes],
        quarantine=[QuarantineView(**row) for row in waiting],
    )
