"""The lines of a Shopify order: goods, gift cards, tips, duties, fees and shipping.

Adds them to a `Bill` in shop money. A stated discount is the merchant's; one that a discount application
calls automatic (or a script's) is a price promotion. Called by `shopify` only.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from order_svc.order.values import LINES_MAX, ZERO, Refund
from order_svc.platforms.bill import ONE, Bill
from order_svc.platforms.contract import Unreadable
from order_svc.platforms.reading import Node, number_of

GOODS = frozenset({"product", "gift_card"})
_AUTOMATIC = frozenset({"automatic", "script"})
_NEVER_LEFT = frozenset({"cancelled", "error", "failure", "pending", "open"})


class Shipments:
    """What left, by line id: from the fulfilments, else from the statuses that the document carries."""

    def __init__(self, body: Node) -> None:
        self.stated = False
        self.first_at = None
        self._by_line: dict[str, Decimal] = {}
        self._all_left = (body.text("fulfillment_status") or "").lower() == "fulfilled"
        for one in body.children("fulfillments"):
            if (one.text("status") or "success").lower() in _NEVER_LEFT:
                continue
            self.stated = True
            at = one.instant("created_at")
            if at and (self.first_at is None or at < self.first_at):
                self.first_at = at
            for line in one.children("line_items"):
                line_id = line.ident("id")
                if line_id:
                    left = self._by_line.get(line_id, ZERO)
                    self._by_line[line_id] = left + (line.quantity("quantity") or ZERO)

    def of(self, line: Node, ordered: Decimal, gone: Decimal) -> Decimal:
        """The quantity of one line that ever left; `gone` was taken off or refunded."""
        if self.stated:
            return self._by_line.get(line.ident("id") or "", ZERO)
        status = (line.text("fulfillment_status") or "").lower()
        if self._all_left or status == "fulfilled":
            return max(ZERO, ordered)
        left_to_ship = line.quantity("fulfillable_quantity")
        if status == "partial" and left_to_ship is not None:
            return max(ZERO, ordered - left_to_ship - gone)
        return ZERO


def shop_amount(node: Node, name: str) -> Decimal | None:
    """An amount in shop money: the plain field, else the shop side of its `_set`."""
    amount = node.number(name)
    if amount is not None:
        return amount
    return set_amount(node, f"{name}_set")


def set_amount(node: Node, name: str) -> Decimal | None:
    """The shop side of a money set, None when it is not there."""
    money = node.child(name)
    shop = money.child("shop_money") if money else None
    return shop.number("amount") if shop else None


def set_currency(node: Node, name: str) -> str | None:
    """The currency of the shop side of a money set."""
    money = node.child(name)
    shop = money.child("shop_money") if money else None
    return shop.code("currency_code") if shop else None


def freight_ids(body: Node) -> tuple[str, ...]:
    """The line ids that the shipping lines get."""
    return tuple(
        one.ident("id") or f"freight:{number}"
        for number, one in enumerate(body.children("shipping_lines"), 1)
    )


def refunded_quantities(refunds: Sequence[Refund]) -> dict[str, Decimal]:
    """How much of each line its refunds account for."""
    quantities: dict[str, Decimal] = {}
    for refund in refunds:
        for line in refund.lines:
            if line.line_external_id:
                quantities[line.line_external_id] = (
                    quantities.get(line.line_external_id, ZERO) + line.quantity
                )
    return quantities


def add_all(bill: Bill, body: Node, shipments: Shipments, refunded: Mapping[str, Decimal]) -> None:
    """Add every line of the order to the bill, in document order."""
    items = body.children("line_items")
    if len(items) > LINES_MAX:
        raise Unreadable("order-too-large", f"{len(items)} lines: more than {LINES_MAX}")
    automatic = _automatic_discounts(body)
    included = body.flag("taxes_included")
    tips = ZERO
    for number, item in enumerate(items, 1):
        kind, line_id = _kind(item), item.ident("id") or f"line:{number}"
        ordered = item.quantity("quantity") or ZERO
        taken = refunded.get(line_id, ZERO)
        current = item.quantity("current_quantity")
        removed = ZERO if current is None else max(ZERO, ordered - current - taken)
        gross = (shop_amount(item, "price") or ZERO) * ordered
        promo, coupon = _discounts(item, automatic, "total_discount")
        tax = _tax(item)
        net = gross - promo - coupon + (ZERO if included else tax)
        tips += net if kind == "tip" else ZERO
        bill.add(
            "fee" if kind == "product" and gross < 0 else kind,
            line_id,
            net,
            ordered=ordered,
            removed=removed,
            shipped=shipments.of(item, ordered, removed + taken) if kind in GOODS else ZERO,
            sku=_sku(item),
            title=item.text("title") or item.text("name"),
            pointer=item.at,
            promo=-promo,
            merchant_coupon=-coupon,
            tax=tax,
        )
        _add_duties(bill, item, line_id)
    _add_shipping(bill, body, automatic, included)
    _add_tip(bill, body, tips)
    _add_fees(bill, body, items)
    bill.spread_tax(shop_amount(body, "total_tax"), included=included, pointer=body.pointer("total_tax"))


def _kind(item: Node) -> str:
    if item.flag("gift_card"):
        return "gift_card"
    return "tip" if item.child("tip") else "product"


def _add_shipping(bill: Bill, body: Node, automatic: frozenset[int], included: bool) -> None:
    for number, one in enumerate(body.children("shipping_lines"), 1):
        price = shop_amount(one, "price") or ZERO
        promo, coupon = _discounts(one, automatic, None)
        discounted = shop_amount(one, "discounted_price")
        if not promo and not coupon and discounted is not None:
            coupon = price - discounted
        tax = _tax(one)
        bill.add(
            "freight",
            one.ident("id") or f"freight:{number}",
            price - promo - coupon + (ZERO if included else tax),
            removed=ONE if one.flag("is_removed") else ZERO,
            title=one.text("title"),
            pointer=one.at,
            promo=-promo,
            merchant_coupon=-coupon,
            tax=tax,
        )


def _add_tip(bill: Bill, body: Node, on_lines: Decimal) -> None:
    """A tip is stated at the header, and in some shops also as a line: it is counted once."""
    stated = shop_amount(body, "total_tip_received") or ZERO
    if stated > on_lines:
        bill.add("tip", "tip", stated - on_lines, pointer=body.pointer("total_tip_received"))


def _add_duties(bill: Bill, item: Node, line_id: str) -> None:
    for number, duty in enumerate(item.children("duties"), 1):
        price = shop_amount(duty, "price") or ZERO
        tax = _tax(duty)
        bill.add(
            "fee",
            duty.ident("id") or f"duty:{line_id}:{number}",
            price + tax,
            title="duty",
            pointer=duty.at,
            tax=tax,
        )


def _add_fees(bill: Bill, body: Node, items: list[Node]) -> None:
    """Duties that no line states, and the additional fees, which only the header states."""
    duties = set_amount(body, "original_total_duties_set") or set_amount(body, "current_total_duties_set")
    if duties and not any(item.children("duties") for item in items):
        bill.add("fee", "duties", duties, title="duties", pointer=body.at)
    fees = set_amount(body, "original_total_additional_fees_set") or set_amount(
        body, "current_total_additional_fees_set"
    )
    if fees:
        bill.add("fee", "additional-fees", fees, title="additional fees", pointer=body.at)


def _automatic_discounts(body: Node) -> frozenset[int]:
    return frozenset(
        index
        for index, one in enumerate(body.children("discount_applications"))
        if (one.text("type") or "").lower() in _AUTOMATIC
    )


def _discounts(node: Node, automatic: frozenset[int], fallback: str | None) -> tuple[Decimal, Decimal]:
    """(price promotions, coupons) of one line as positive amounts."""
    promo = coupon = ZERO
    for one in node.children("discount_allocations"):
        amount = shop_amount(one, "amount") or ZERO
        index = number_of(one.get("discount_application_index"), one.pointer("discount_application_index"))
        if index in automatic:
            promo += amount
        else:
            coupon += amount
    if not promo and not coupon and fallback:
        coupon = shop_amount(node, fallback) or ZERO
    return promo, coupon


def _tax(node: Node) -> Decimal:
    return sum([shop_amount(one, "price") or ZERO for one in node.children("tax_lines")], ZERO)


def _sku(item: Node) -> str | None:
    """The seller's SKU; where none was given, the variant or product by its id, so that it can be mapped."""
    if sku := item.code("sku"):
        return sku
    for prefix, name in (("variant", "variant_id"), ("product", "product_id")):
        if found := item.ident(name):
            return f"{prefix}:{found}"
    return None
