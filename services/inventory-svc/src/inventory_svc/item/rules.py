"""Items: what makes two descriptions of a product the same, and what a row of a file must hold.

Pure. Called by `item.actions` and the import route. Money is minor units of the row's currency; a cost that does
not come out even in it is refused, since an import is our own command and nothing should be rounded silently.
"""

from collections.abc import Mapping
from typing import NamedTuple

from channel_kit.money import BadNumber, UnknownCurrency, exponent, parse_decimal, to_minor
from inventory_svc.rows import BadRow, code, text

CATEGORY_DEPTH_MAX = 20
BARCODES_MAX = 100
COLUMNS = ("name", "category_path", "uom", "quantity_scale", "barcodes", "unit_cost", "currency")


class Item(NamedTuple):
    """A product of ours, without its identity and versions."""

    sku: str
    name: str
    category_path: tuple[str, ...] = ()
    uom: str = "pcs"
    quantity_scale: int = 0
    barcodes: tuple[str, ...] = ()
    unit_cost_minor: int | None = None
    currency: str | None = None


def of_row(row: Mapping[str, str]) -> Item:
    """The item a row describes. Raises `BadRow`."""
    scale = row["quantity_scale"] or "0"
    if scale not in "0123456" or len(scale) != 1:
        raise BadRow("quantity_scale: give a digit from 0 to 6")
    path = tuple(part.strip() for part in row["category_path"].split(">") if part.strip())
    barcodes = tuple(row["barcodes"].replace("|", " ").split())
    if len(path) > CATEGORY_DEPTH_MAX or len(barcodes) > BARCODES_MAX:
        raise BadRow(f"at most {CATEGORY_DEPTH_MAX} category levels and {BARCODES_MAX} barcodes")
    cost, currency = _cost(row["unit_cost"], row["currency"])
    return Item(
        code(row["sku"], "sku"),
        text(row["name"] or row["sku"], "name"),
        tuple(text(part, "category_path") for part in path),
        code(row["uom"] or "pcs", "uom"),
        int(scale),
        tuple(code(barcode, "barcodes") for barcode in barcodes),
        cost,
        currency,
    )


def _cost(cost: str, currency: str) -> tuple[int | None, str | None]:
    try:
        if currency:
            exponent(currency)
        if not cost:
            return None, currency or None
        if not currency:
            raise BadRow("currency: say what the unit_cost is in")
        minor, rest = to_minor(parse_decimal(cost), currency)
    except (BadNumber, UnknownCurrency) as error:
        raise BadRow(f"unit_cost, currency: {error}") from None
    if rest:
        raise BadRow(f"unit_cost: {currency} does not have that many decimal places")
    return minor, currency
