"""What inventory-svc announces that order-svc needs: items, listings, and how each order's stock stands."""

from collections.abc import Sequence
from typing import Any

from channel_events.envelope import Event
from channel_events.inventory import ItemBody, ListingBody, ReservationBody
from channel_kit.database import Write
from order_svc.order import store as orders
from order_svc.reference import actions
from order_svc.reference.store import ShopSku


async def handle(tx: Write, events: Sequence[Event[Any]]) -> None:
    """A poll of the inventory family; later versions of the same thing win. Stock levels are not needed here."""
    listings: dict[ShopSku, str | None] = {}
    items: dict[str, str] = {}
    states: list[tuple[Any, int, str]] = []
    for event in events:
        body = event.data
        if isinstance(body, ListingBody):
            listings[ShopSku(body.platform, body.shop_id, body.platform_sku)] = body.sku
        elif isinstance(body, ItemBody):
            items[body.sku] = body.name
        elif isinstance(body, ReservationBody):
            states.append((event.aggregate_id, event.aggregateversion, body.state))
    await actions.register_items(tx, items)
    await actions.map_listings(tx, listings)
    if states:
        await orders.set_stock_status(tx, states)
