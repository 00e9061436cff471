"""The lines of a WooCommerce order, and its refunds as full resources.

`total` + `total_tax` is what the buyer pays for a line; `subtotal` − `total` is the coupon. Refund
resources repeat the order's lines with negative numbers and name the refunded line in their meta data.
Called by `woocommerce` only.
"""

import re

from order_svc.order.values import LINES_MAX, ZERO, Refund, RefundLine
from order_svc.platforms.bill import Bill, minor, places_of, refund_lines
from order_svc.platforms.contract import Unreadable
from order_svc.platforms.reading import Node, id_of, micros

_ORDER_IN_LINK = re.compile(r"/orders/([0-9]{1,20})(?:/|$)", re.A)


def add_all(bill: Bill, body: Node, shipped: bool) -> None:
    """Add every line of the order to the bill; `shipped` says that all goods have left."""
    items = body.children("line_items")
    if len(items) > LINES_MAX:
        raise Unreadable("order-too-large", f"{len(items)} lines: more than {LINES_MAX}")
    for number, item in enumerate(items, 1):
        total, tax = item.number("total") or ZERO, item.number("total_tax") or ZERO
        subtotal = item.number("subtotal")
        ordered = item.quantity("quantity") or ZERO
        bill.add(
            "fee" if total < 0 else "product",
            item.ident("id") or f"line:{number}",
            total + tax,
            ordered=ordered,
            shipped=ordered if shipped and total >= 0 else ZERO,
            sku=_sku(item),
            title=item.text("name"),
            pointer=item.at,
            merchant_coupon=min(ZERO, total - subtotal) if subtotal is not None else ZERO,
            tax=tax,
        )
    for kind, name, title in (("freight", "shipping_lines", "method_title"), ("fee", "fee_lines", "name")):
        for number, item in enumerate(body.children(name), 1):
            tax = item.number("total_tax") or ZERO
            bill.add(
                kind,
                item.ident("id") or f"{kind}:{number}",
                (item.number("total") or ZERO) + tax,
                title=item.text(title),
                pointer=item.at,
                tax=tax,
            )


def refund(body: Node) -> Refund:
    """A refund resource of the REST API; it must say its currency, which the plain resource does not."""
    refund_id, order_id = body.ident("id"), _order_id(body)
    if refund_id is None or refund_id == "0":
        raise Unreadable("no-refund-id", f"{body.pointer('id')}: the refund has no id")
    if order_id is None:
        raise Unreadable("no-order-id", "neither parent_id nor a link names the refunded order")
    currency = (body.code("currency") or "").upper()
    if not currency:
        raise Unreadable("currency-not-stated", f"{body.pointer('currency')}: the refund says no currency")
    places_of(currency)
    at = body.instant("date_created_gmt", zoneless_is_utc=True)
    if at is None:
        raise Unreadable("no-refund-time", f"{body.pointer('date_created_gmt')}: the refund has no time")
    lines = [_line(item, currency, freight=False) for item in body.children("line_items")]
    lines += [_line(item, currency, freight=True) for item in body.children("shipping_lines")]
    lines += [_line(item, currency, freight=False) for item in body.children("fee_lines")]
    amount = abs(minor(body.number("amount") or ZERO, currency, body.pointer("amount")))
    return Refund(
        external_id=refund_id,
        platform_order_id=order_id,
        currency=currency,
        amount_minor=amount,
        at=at,
        lines=refund_lines(lines, amount, body.pointer("line_items")),
        version=micros(at),
        reason=body.text("reason"),
    )


def _line(item: Node, currency: str, *, freight: bool) -> RefundLine:
    total, tax = -(item.number("total") or ZERO), -(item.number("total_tax") or ZERO)
    return RefundLine(
        _refunded_item(item),
        ZERO if freight else abs(item.quantity("quantity") or ZERO),
        max(0, minor(total + tax, currency, item.at)),
        tax_minor=minor(tax, currency, item.at),
        freight_minor=minor(total, currency, item.at) if freight else None,
    )


def _refunded_item(item: Node) -> str | None:
    for meta in item.children("meta_data"):
        if meta.get("key") == "_refunded_item_id":
            found = id_of(meta.get("value"), meta.pointer("value"))
            return None if found == "0" else found
    return None


def _order_id(body: Node) -> str | None:
    for name in ("order_id", "parent_id"):
        stated = body.ident(name)
        if stated and stated != "0":
            return stated
    links = body.child("_links")
    for name in ("up", "self"):
        for link in links.children(name) if links else ():
            match = _ORDER_IN_LINK.search(link.text("href", limit=2_000) or "")
            if match:
                return match[1]
    return None


def _sku(item: Node) -> str | None:
    """The seller's SKU; where none was given, the variation or product by its id, so that it can be mapped."""
    for prefix, name in (("variation", "variation_id"), ("product", "product_id")):
        found = item.ident(name)
        if not item.code("sku") and found not in (None, "0"):
            return f"{prefix}:{found}"
    return item.code("sku")
