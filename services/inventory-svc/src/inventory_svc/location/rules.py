"""Locations, and which of them serves a shop.

Pure. A shop without an assignment of its own is served from `main`.
"""

from collections.abc import Mapping
from typing import NamedTuple

from inventory_svc.rows import code, text

MAIN = "main"

ShopKey = tuple[str, str]
"""Platform and shop."""


class Location(NamedTuple):
    """A place where stock lies."""

    code: str
    name: str


class ShopLocation(NamedTuple):
    """Which location serves a shop."""

    platform: str
    shop_id: str
    location: str

    @property
    def key(self) -> ShopKey:
        return self.platform, self.shop_id


def of_row(row: Mapping[str, str]) -> Location:
    """The location a row of a file describes. Raises `BadRow`."""
    return Location(code(row["code"], "code"), text(row["name"] or row["code"], "name"))


def of_shop_row(row: Mapping[str, str]) -> ShopLocation:
    """The assignment a row of a file describes. Raises `BadRow`."""
    return ShopLocation(
        code(row["platform"], "platform"), text(row["shop_id"], "shop_id"), code(row["location"], "location")
    )
