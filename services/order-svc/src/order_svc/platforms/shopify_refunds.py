"""Shopify refunds: the same shape inside an order document and under `refunds/create`.

What was given back is the sum of the successful refund transactions; the lines say for what. Whatever the
lines do not explain becomes one line without a line id, of either sign. Called by `shopify` only.
"""

from datetime import datetime
from decimal import Decimal

from order_svc.order.values import ZERO, Refund, RefundLine
from order_svc.platforms.bill import minor, places_of, refund_lines
from order_svc.platforms.contract import Unreadable
from order_svc.platforms.reading import Node, micros
from order_svc.platforms.shopify_lines import set_amount, set_currency, shop_amount

_RESTOCKED = frozenset({"return", "cancel"})


def read(
    body: Node,
    order_id: str | None = None,
    currency: str | None = None,
    version: int = 0,
    fallback_at: datetime | None = None,
    freight: tuple[str, ...] = (),
) -> Refund | None:
    """One refund; None for the record of an unpaid line taken off an order, and for an empty one.

    The keyword values come from the order when the refund stands inside one; alone it must say them.
    """
    refund_id, order_id = body.ident("id"), order_id or body.ident("order_id")
    if refund_id is None:
        raise Unreadable("no-refund-id", f"{body.pointer('id')}: the refund has no id")
    if order_id is None:
        raise Unreadable("no-order-id", f"{body.pointer('order_id')}: the refund names no order")
    currency = currency or _currency(body)
    places_of(currency)
    stated = _given_back(body, currency)
    if stated is None and _is_removal(body):
        return None

    at, exact_at = body.instant("processed_at") or body.instant("created_at"), True
    if at is None:
        times = [when for one in body.children("transactions") if (when := one.instant("created_at"))]
        at, exact_at = min(times, default=fallback_at), bool(times)
    if at is None:
        raise Unreadable("no-refund-time", "none of processed_at, created_at is a time with its zone")

    lines = _lines(body, currency, freight, stated)
    explained = sum(line.amount_minor for line in lines)
    if stated is None:
        # Signs: an adjustment below zero gave more back than the lines say.
        adjusted = sum((_adjustment(one) for one in _discrepancies(body)), ZERO)
        amount = max(0, explained - minor(adjusted, currency, body.at))
    else:
        amount = max(0, minor(stated, currency, body.at))
    if not amount and not lines:
        return None
    return Refund(
        external_id=refund_id,
        platform_order_id=order_id,
        currency=currency,
        amount_minor=amount,
        at=at,
        lines=refund_lines(lines, amount, body.at),
        version=version or micros(at),
        at_exact=exact_at,
        reason=body.text("note"),
    )


def _given_back(body: Node, currency: str) -> Decimal | None:
    """The sum of the successful refund transactions, None when none is listed in the shop's currency."""
    refunds = [one for one in body.children("transactions") if one.text("kind") == "refund"]
    if not refunds:
        return None
    total = ZERO
    for one in refunds:
        if one.get("status") not in (None, "success"):
            continue
        in_shop_money = set_amount(one, "amount_set")
        if in_shop_money is None and (one.code("currency") or currency).upper() != currency:
            return None
        total += in_shop_money if in_shop_money is not None else one.number("amount") or ZERO
    return total


def _is_removal(body: Node) -> bool:
    """Stated to have no money in it, and only lines cancelled before they left."""
    lines = body.children("refund_line_items")
    return (
        isinstance(body.get("transactions"), list)
        and not any(one.text("kind") == "refund" for one in body.children("transactions"))
        and not body.children("order_adjustments")
        and bool(lines)
        and all(one.text("restock_type") == "cancel" for one in lines)
    )


def _lines(body: Node, currency: str, freight: tuple[str, ...], stated: Decimal | None) -> list[RefundLine]:
    items, shipping = body.children("refund_line_items"), _shipping(body, freight)
    included = _tax_is_included(items, shipping, stated)
    lines = []
    for item in items:
        subtotal, tax = shop_amount(item, "subtotal") or ZERO, shop_amount(item, "total_tax") or ZERO
        line, quantity = item.child("line_item"), item.quantity("quantity") or ZERO
        if quantity < 0:
            raise Unreadable("negative-quantity", f"{item.pointer('quantity')}: below zero")
        lines.append(
            RefundLine(
                item.ident("line_item_id") or (line.ident("id") if line else None),
                quantity,
                # Never below zero on a line; the line without an id takes what differs.
                max(0, minor(subtotal if included else subtotal + tax, currency, item.at)),
                tax_minor=minor(tax, currency, item.at),
                restocked=quantity if _restocked(item, body) else ZERO,
            )
        )
    for line_id, amount, tax in shipping:
        lines.append(
            RefundLine(
                line_id,
                ZERO,
                max(0, minor(amount + tax, currency, body.at)),
                tax_minor=minor(tax, currency, body.at),
                freight_minor=minor(amount, currency, body.at),
            )
        )
    return lines


def _tax_is_included(
    items: list[Node], shipping: list[tuple[str | None, Decimal, Decimal]], stated: Decimal | None
) -> bool:
    """Whether subtotals already hold their tax, which only the money given back can tell."""
    if stated is None:
        return False
    rest = stated - sum((amount + tax for _, amount, tax in shipping), ZERO)
    tax = sum((shop_amount(item, "total_tax") or ZERO for item in items), ZERO)
    return bool(tax) and rest == sum((shop_amount(item, "subtotal") or ZERO for item in items), ZERO)


def _restocked(item: Node, body: Node) -> bool:
    kind = item.text("restock_type")
    if kind in (None, "legacy_restock"):
        return body.flag("restock")
    return kind in _RESTOCKED


def _shipping(body: Node, freight: tuple[str, ...]) -> list[tuple[str | None, Decimal, Decimal]]:
    """(line id, amount, tax) of each shipping refund; newer documents list the lines, older ones a sum."""
    only = freight[0] if len(freight) == 1 else None
    listed = []
    for one in body.children("refund_shipping_lines"):
        line = one.child("shipping_line")
        line_id = one.ident("shipping_line_id") or (line.ident("id") if line else None)
        amount = set_amount(one, "subtotal_amount_set") or shop_amount(one, "subtotal") or ZERO
        listed.append((line_id or only, amount, _shipping_tax(one)))
    if listed:
        return listed
    return [
        (only, -(shop_amount(one, "amount") or ZERO), -(shop_amount(one, "tax_amount") or ZERO))
        for one in body.children("order_adjustments")
        if one.text("kind") == "shipping_refund"
    ]


def _shipping_tax(one: Node) -> Decimal:
    return set_amount(one, "tax_amount_set") or shop_amount(one, "total_tax") or ZERO


def _discrepancies(body: Node) -> list[Node]:
    return [one for one in body.children("order_adjustments") if one.text("kind") != "shipping_refund"]


def _adjustment(one: Node) -> Decimal:
    return (shop_amount(one, "amount") or ZERO) + (shop_amount(one, "tax_amount") or ZERO)


def _currency(body: Node) -> str:
    """The shop's currency: from a money set where there is one, since a transaction may be in the buyer's."""
    sets = [(body, "total_duties_set")]
    for name, fields in (
        ("refund_line_items", ("subtotal_set", "total_tax_set")),
        ("order_adjustments", ("amount_set",)),
        ("refund_shipping_lines", ("subtotal_amount_set",)),
        ("transactions", ("amount_set",)),
    ):
        sets += [(one, field) for one in body.children(name) for field in fields]
    found = next((code for node, name in sets if (code := set_currency(node, name))), None)
    found = found or body.code("currency")
    found = found or next(
        (code for one in body.children("transactions") if (code := one.code("currency"))), None
    )
    if found is None:
        raise Unreadable("currency-not-stated", "no money set and no transaction says the refund's currency")
    return found.upper()
