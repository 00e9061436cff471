"""Copies of names that partner-svc and inventory-svc announce; figures carry ids, readers want names.

Never decides anything, so no lock orders it against the facts: a name that comes later is shown later.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from channel_kit.database import Read, Write


class PartnerName(NamedTuple):
    """A partner as its newest event tells it."""

    partner_id: UUID
    version: int
    code: str
    name: str


class ItemName(NamedTuple):
    """An item as its newest event tells it."""

    item_id: UUID
    version: int
    sku: str
    name: str


_SAVE_PARTNERS: Final = """
    insert into partner_name (partner_id, version, code, name)
    select * from unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[])
    on conflict (partner_id) do update
    set version = excluded.version, code = excluded.code, name = excluded.name
    where partner_name.version < excluded.version
"""
_SAVE_ITEMS: Final = """
    insert into item_name (item_id, version, sku, name)
    select * from unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[])
    on conflict (item_id) do update
    set version = excluded.version, sku = excluded.sku, name = excluded.name
    where item_name.version < excluded.version
"""


async def save_partners(tx: Write, names: Sequence[PartnerName]) -> None:
    """Keep the newest version of each partner; one name a partner."""
    if names:
        await tx.execute(_SAVE_PARTNERS, *map(list, zip(*sorted(names), strict=True)))


async def save_items(tx: Write, names: Sequence[ItemName]) -> None:
    """Keep the newest version of each item; one name an item."""
    if names:
        await tx.execute(_SAVE_ITEMS, *map(list, zip(*sorted(names), strict=True)))


async def partner_names(tx: Read, partner_ids: Sequence[UUID]) -> dict[str, str]:
    """The names of those partners that are known and visible, by id as text."""
    rows = await tx.rows(
        "select partner_id::text as partner_id, name from partner_name where partner_id = any($1::uuid[])",
        list(partner_ids),
    )
    return {row.partner_id: row.name for row in rows}


async def item_names(tx: Read, skus: Sequence[str]) -> dict[str, str]:
    """The names of those SKUs that are known."""
    rows = await tx.rows(
        "select sku, name from item_name where sku = any($1::text[]) order by item_id", list(skus)
    )
    return {row.sku: row.name for row in rows}
