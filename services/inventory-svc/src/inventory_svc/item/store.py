"""The table `item`: every statement about it, many rows at a time. Called by `item.actions` and its routes."""

import json
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from channel_kit.database import Read, Write
from inventory_svc.item.rules import Item

_COLUMNS = (
    "sku, name, category_path, uom, quantity_scale, barcodes, unit_cost_minor, currency, "
    "item_id, revision, stream_version"
)


class Stored(NamedTuple):
    """An item with its identity and versions."""

    item: Item
    item_id: UUID
    revision: int
    stream_version: int


def _stored(row: Any) -> Stored:
    sku, name, path, uom, scale, barcodes, cost, currency, item_id, revision, version = row
    item = Item(sku, name, tuple(path), uom, scale, tuple(barcodes), cost, currency)
    return Stored(item, item_id, revision, version)


async def lock(tx: Write, skus: Collection[str]) -> dict[str, Stored]:
    """Those of the items that exist, under lock, by SKU."""
    rows = await tx.rows(
        f"select {_COLUMNS} from item where sku = any($1::text[]) order by sku for update",  # noqa: S608
        sorted(skus),
    )
    return {row.sku: _stored(row) for row in rows}


async def insert(tx: Write, items: Sequence[Stored]) -> set[str]:
    """Adds items, sorted by SKU; returns the SKUs that were new. A rival's are left as they are."""
    rows = await tx.rows(
        """
        insert into item (item_id, sku, name, category_path, uom, quantity_scale, barcodes, unit_cost_minor,
                          currency, revision, stream_version)
        select item_id, sku, name, array(select json_array_elements_text(path::json)), uom, scale,
               array(select json_array_elements_text(barcodes::json)), cost, currency, revision, version
        from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::smallint[], $7::text[],
                    $8::bigint[], $9::text[], $10::bigint[], $11::bigint[])
          as new(item_id, sku, name, path, uom, scale, barcodes, cost, currency, revision, version)
        order by sku
        on conflict (sku) do nothing
        returning sku
        """,
        *_columns(items),
    )
    return {row.sku for row in rows}


async def update(tx: Write, items: Sequence[Stored]) -> None:
    """Writes items that are locked."""
    await tx.execute(
        """
        update item set name = new.name, category_path = array(select json_array_elements_text(new.path::json)),
          uom = new.uom, quantity_scale = new.scale,
          barcodes = array(select json_array_elements_text(new.barcodes::json)), unit_cost_minor = new.cost,
          currency = new.currency, revision = new.revision, stream_version = new.version,
          changed_at = clock_timestamp()
        from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::smallint[], $7::text[],
                    $8::bigint[], $9::text[], $10::bigint[], $11::bigint[])
          as new(item_id, sku, name, path, uom, scale, barcodes, cost, currency, revision, version)
        where item.item_id = new.item_id
        """,
        *_columns(items),
    )


async def scales(tx: Read, skus: Collection[str]) -> dict[str, int]:
    """Digits after the point by SKU, for those that exist."""
    rows = await tx.rows("select sku, quantity_scale from item where sku = any($1::text[])", sorted(skus))
    return {row.sku: row.quantity_scale for row in rows}


async def get(tx: Read, item_id: UUID) -> Stored | None:
    """One item."""
    row = await tx.row(f"select {_COLUMNS} from item where item_id = $1", item_id)  # noqa: S608
    return None if row is None else _stored(row)


async def page(
    tx: Read, sku: str | None, category: str | None, after: str | None, limit: int
) -> list[Stored]:
    """Items after a SKU, in the order of SKUs; `category` is any level of the path."""
    rows = await tx.rows(
        f"""
        select {_COLUMNS} from item
        where ($1::text is null or sku = $1) and ($2::text is null or $2 = any(category_path))
          and ($3::text is null or sku > $3)
        order by sku limit $4
        """,  # noqa: S608
        sku,
        category,
        after,
        limit,
    )
    return [_stored(row) for row in rows]


def _columns(items: Sequence[Stored]) -> tuple[list[Any], ...]:
    # Arrays of arrays would have to be rectangular, so lists travel as JSON.
    return (
        [each.item_id for each in items],
        [each.item.sku for each in items],
        [each.item.name for each in items],
        [json.dumps(each.item.category_path) for each in items],
        [each.item.uom for each in items],
        [each.item.quantity_scale for each in items],
        [json.dumps(each.item.barcodes) for each in items],
        [each.item.unit_cost_minor for each in items],
        [each.item.currency for each in items],
        [each.revision for each in items],
        [each.stream_version for each in items],
    )
