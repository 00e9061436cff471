"""Copies of what others announced and order-svc decides with: shop bindings, listings, items."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from channel_kit.database import Read, Write


class Shop(NamedTuple):
    platform: str
    shop_id: str


class ShopSku(NamedTuple):
    platform: str
    shop_id: str
    platform_sku: str


async def bindings(tx: Read, shops: Sequence[Shop]) -> dict[Shop, list[dict[str, Any]]]:
    """The binding lists of these shops, as announced; a shop never announced is absent."""
    rows = await tx.rows(
        """
        select b.platform, b.shop_id, b.bindings::text as bindings
        from shop_binding b join unnest($1::text[], $2::text[]) s(platform, shop_id) using (platform, shop_id)
        """,
        [shop.platform for shop in shops],
        [shop.shop_id for shop in shops],
    )
    return {Shop(row.platform, row.shop_id): json.loads(row.bindings) for row in rows}


async def skus(tx: Read, wanted: Sequence[ShopSku]) -> dict[ShopSku, str]:
    """Our SKU per platform SKU: by its listing, else by being equal to one of our SKUs."""
    rows = await tx.rows(
        """
        select w.platform, w.shop_id, w.platform_sku, coalesce(l.sku, i.sku) as sku
        from unnest($1::text[], $2::text[], $3::text[]) w(platform, shop_id, platform_sku)
        left join listing_copy l using (platform_sku, shop_id, platform)
        left join item_copy i on i.sku = w.platform_sku and l.platform_sku is null
        where coalesce(l.sku, i.sku) is not null
        """,
        [sku.platform for sku in wanted],
        [sku.shop_id for sku in wanted],
        [sku.platform_sku for sku in wanted],
    )
    return {ShopSku(row.platform, row.shop_id, row.platform_sku): row.sku for row in rows}


async def save_bindings(tx: Write, bound: Mapping[Shop, str]) -> None:
    """Replaces the binding lists (JSON text) of these shops."""
    shops = sorted(bound)
    await tx.execute(
        """
        insert into shop_binding (platform, shop_id, bindings)
        select platform, shop_id, bindings::json from unnest($1::text[], $2::text[], $3::text[]) t(platform, shop_id, bindings)
        on conflict (shop_id, platform) do update set bindings = excluded.bindings
        """,
        [shop.platform for shop in shops],
        [shop.shop_id for shop in shops],
        [bound[shop] for shop in shops],
    )


async def save_listings(tx: Write, mapped: Mapping[ShopSku, str | None]) -> None:
    """Maps platform SKUs; None takes a mapping away."""
    keys = sorted(mapped)
    await tx.execute(
        """
        insert into listing_copy (platform, shop_id, platform_sku, sku)
        select * from unnest($1::text[], $2::text[], $3::text[], $4::text[])
        on conflict (platform_sku, shop_id, platform) do update set sku = excluded.sku
        """,
        [key.platform for key in keys],
        [key.shop_id for key in keys],
        [key.platform_sku for key in keys],
        [mapped[key] for key in keys],
    )


async def save_items(tx: Write, items: Mapping[str, str]) -> None:
    """Remembers that these SKUs exist, with their names."""
    skus_known = sorted(items)
    await tx.execute(
        """
        insert into item_copy (sku, name) select * from unnest($1::text[], $2::text[])
        on conflict (sku) do update set name = excluded.name
        """,
        skus_known,
        [items[sku] for sku in skus_known],
    )


async def orders_of_shops(tx: Read, shops: Sequence[Shop]) -> list[UUID]:
    rows = await tx.rows(
        """
        select h.order_id from order_head h
        join unnest($1::text[], $2::text[]) s(platform, shop_id) using (shop_id, platform)
        """,
        [shop.platform for shop in shops],
        [shop.shop_id for shop in shops],
    )
    return [row.order_id for row in rows]


async def orders_waiting_for_listings(tx: Read, keys: Sequence[ShopSku]) -> list[UUID]:
    """Orders with lines that these listings may map; a line that has its SKU keeps it."""
    rows = await tx.rows(
        """
        select distinct l.order_id from order_line l
        join unnest($1::text[], $2::text[], $3::text[]) k(platform, shop_id, platform_sku) using (platform_sku)
        join order_head h on h.order_id = l.order_id and h.platform = k.platform and h.shop_id = k.shop_id
        where l.line_kind = 'product' and l.sku is null
        """,
        [key.platform for key in keys],
        [key.shop_id for key in keys],
        [key.platform_sku for key in keys],
    )
    return [row.order_id for row in rows]


async def orders_waiting_for_items(tx: Read, skus_known: Sequence[str]) -> list[UUID]:
    rows = await tx.rows(
        """
        select distinct order_id from order_line
        where line_kind = 'product' and sku is null and platform_sku = any($1::text[])
        """,
        list(skus_known),
    )
    return [row.order_id for row in rows]
