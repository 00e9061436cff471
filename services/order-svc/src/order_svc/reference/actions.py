"""Taking over what partner-svc and inventory-svc announce: change the copy, mark the orders it touches.

Everything here holds the reference lock exclusively, so no order batch decides on half of a change; the orders
themselves are derived again by a drain, in batches.
"""

from collections.abc import Mapping

from channel_kit import reference
from channel_kit.database import Write
from order_svc.reference import store
from order_svc.reference.store import Shop, ShopSku

ORDER = "order"


async def bind(tx: Write, bound: Mapping[Shop, str]) -> None:
    """Shops with their whole binding lists, as JSON text."""
    if not bound:
        return
    await reference.exclusive(tx)
    await store.save_bindings(tx, bound)
    await reference.mark(tx, ORDER, await store.orders_of_shops(tx, sorted(bound)))


async def map_listings(tx: Write, mapped: Mapping[ShopSku, str | None]) -> None:
    """Platform SKUs with ours, None where a mapping was taken away. Only lines without a SKU are touched: a
    listing that means something else from now on does not change what was sold before."""
    if not mapped:
        return
    await reference.exclusive(tx)
    await store.save_listings(tx, mapped)
    await reference.mark(tx, ORDER, await store.orders_waiting_for_listings(tx, sorted(mapped)))


async def register_items(tx: Write, items: Mapping[str, str]) -> None:
    """SKUs that exist now, with their names; lines that carry them as platform SKU map by themselves."""
    if not items:
        return
    await reference.exclusive(tx)
    await store.save_items(tx, items)
    await reference.mark(tx, ORDER, await store.orders_waiting_for_items(tx, sorted(items)))
