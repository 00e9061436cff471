"""How a till tells of its sales: one file of rows for a day, saved by a spreadsheet in GB18030.

Pure. The first version of the file has faults, as such files do: a wrong price on one receipt and a quantity left
out on another. The corrected one says everything as it was.
"""

import csv
import io
from collections.abc import Sequence

from qudao.day.catalog import ZONE
from qudao.day.sales import Back, Line, Sale, money

HEADER = (
    "store,business_date,time,terminal,receipt,line,sku,title,quantity,unit_price,discount,tax,total,currency,"
    "payment,original_receipt,original_line"
)
ENCODING = "gb18030"
_OVERCHARGED_MINOR = 100


def order_id(sale: Sale) -> str:
    """The receipt as our ledger names it: day, till, number."""
    return f"{sale.placed_at.astimezone(ZONE).date()}/{_terminal(sale)}/{_receipt(sale)}"


def file(sales: Sequence[Sale], *, corrected: bool) -> bytes:
    """The till's file. Before the correction the first sale is overcharged and the second cannot be read."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(HEADER.split(","))
    for at, sale in enumerate(sales):
        wrong = None if corrected else {0: "price", 1: "quantity"}.get(at)
        for number, line in enumerate(sale.lines, 1):
            rows.writerow(_row(sale, number, line, wrong if number == 1 else None))
        for back in sale.last().backs:
            rows.writerows(_returned(sale, back))
    return text.getvalue().encode(ENCODING)


def _row(sale: Sale, number: int, line: Line, wrong: str | None) -> list[str]:
    total = line.net_minor + (_OVERCHARGED_MINOR if wrong == "price" else 0)
    return [
        *_head(sale, _receipt(sale), sale.placed_at.astimezone(ZONE).strftime("%H:%M:%S")),
        str(number),
        line.platform_sku,
        line.item.title,
        "" if wrong == "quantity" else f"{line.quantity:f}",
        money(line.unit_minor),
        money(line.discount_minor),
        money(line.tax_minor),
        money(total),
        sale.shop.currency,
        "微信支付" if sale.number % 2 else "现金",
        "",
        "",
    ]


def _returned(sale: Sale, back: Back) -> list[list[str]]:
    """A receipt of its own for what was brought back."""
    return [
        [
            *_head(sale, f"{_receipt(sale)}R", back.at.astimezone(ZONE).strftime("%H:%M:%S")),
            str(at),
            sale.lines[part.index].platform_sku,
            sale.lines[part.index].item.title,
            f"{-part.quantity:f}",
            money(sale.lines[part.index].unit_minor),
            "",
            "",
            money(-part.amount_minor),
            sale.shop.currency,
            "退款",
            order_id(sale),
            str(part.index + 1),
        ]
        for at, part in enumerate(back.lines, 1)
    ]


def _head(sale: Sale, receipt: str, clock: str) -> list[str]:
    day = sale.placed_at.astimezone(ZONE).date().isoformat()
    return [sale.shop.shop_id, day, clock, _terminal(sale), receipt]


def _receipt(sale: Sale) -> str:
    return f"{sale.stamp}{sale.number:05}"


def _terminal(sale: Sale) -> str:
    return f"T{sale.number % 2 + 1}"
