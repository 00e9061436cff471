"""HTTP of holds: what each order line was promised, and where stock could not follow the platforms' word.

Partners see the holds of their own orders; row level security sees to it. Discrepancies are for staff.
"""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query, Request

from channel_events.values import Quantity
from channel_kit.auth import Caller, scope
from channel_kit.http import Router, View, database
from channel_kit.pagination import Cursor, Page
from inventory_svc.hold import store
from inventory_svc.hold.values import Hold

router = Router()


class HoldView(View):
    """One order line at one location: demanded = held + committed + issued + short + expired."""

    order_id: UUID
    line_no: int
    location: str
    platform_sku: str | None
    sku: str | None
    demanded: Quantity
    shipped: Quantity
    held: Quantity
    committed: Quantity
    issued: Quantity
    short: Quantity
    expired: Quantity
    restocked: Quantity
    expires_at: datetime | None

    @classmethod
    def of(cls, hold: Hold) -> "HoldView":
        return cls(**{name: getattr(hold, name) for name in cls.model_fields})


class DiscrepancyView(View):
    """How far stock is from what the platform says of a line."""

    order_id: UUID
    line_no: int
    location: str
    sku: str
    kind: str
    quantity: Quantity


@router.get("/v1/holds")
async def list_holds(
    caller: Annotated[Caller, scope("stock:read")],
    request: Request,
    cursor: Cursor,
    order_id: UUID | None = None,
    sku: Annotated[str | None, Query(max_length=100)] = None,
    only: Literal["short", "unmapped", "expired"] | None = None,
) -> Page[HoldView]:
    """Holds in the order of order and line; `only` shows those that need somebody's attention."""
    after = cursor.values(UUID, int)
    async with database(request).read(caller.actor) as tx:
        found = await store.page(tx, order_id, sku, only, after, cursor.limit + 1)
    views = [HoldView.of(hold) for hold in found[: cursor.limit]]
    return cursor.page(views, len(found), [views[-1].order_id, views[-1].line_no] if views else [])


@router.get("/v1/discrepancies")
async def list_discrepancies(
    caller: Annotated[Caller, scope("stock:read", staff=True)], request: Request, cursor: Cursor
) -> Page[DiscrepancyView]:
    """Open discrepancies: shipped beyond stock, or a return that stock did not follow."""
    after = cursor.values(UUID, int, str, str, str)
    async with database(request).read(caller.actor) as tx:
        found = await store.discrepancies(tx, after, cursor.limit + 1)
    shown = found[: cursor.limit]
    return cursor.page(
        [DiscrepancyView(**each._asdict()) for each in shown],
        len(found),
        list(shown[-1][:5]) if shown else [],
    )
