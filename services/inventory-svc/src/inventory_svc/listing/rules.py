"""Listings: what a platform's SKU means to us.

Pure. A listing is one platform SKU of one shop; `sku` is ours, or null when the mapping was taken away. A platform
SKU without a listing that equals one of our SKUs means that one (`listing.store` resolves so).
"""

from collections.abc import Mapping
from typing import NamedTuple

from inventory_svc.rows import code, text

ListingKey = tuple[str, str, str]
"""Platform, shop and platform SKU."""


class Mapped(NamedTuple):
    """A platform SKU and what it means."""

    platform: str
    shop_id: str
    platform_sku: str
    sku: str | None

    @property
    def key(self) -> ListingKey:
        return self.platform, self.shop_id, self.platform_sku


def of_row(row: Mapping[str, str]) -> Mapped:
    """The mapping a row of a file describes; an empty sku takes it away. Raises `BadRow`."""
    return Mapped(
        code(row["platform"], "platform"),
        text(row["shop_id"], "shop_id"),
        text(row["platform_sku"], "platform_sku"),
        code(row["sku"], "sku") if row["sku"] else None,
    )
