"""How WooCommerce tells of a sale: whole orders again and again, refunds as bare totals inside them.

Pure. Times are GMT without a zone, line prices are JSON numbers beside exact strings, a shipment is the status
"completed", and a deletion is an id alone.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import md5
from html import unescape
from typing import Any

from qudao.day.letters import Letter, body, digest
from qudao.day.sales import Line, Sale, State, money

IGNORED_TOPICS = ("product.updated", "customer.created", "coupon.updated")
PING = b"webhook_id=17"


def order_id(sale: Sale) -> str:
    return str(_number(sale))


def headers(topic: str, message_id: str, signed: bytes, secret: str, at: datetime) -> dict[str, str]:
    """The headers of one delivery; the signature is over `signed`, with what the secret's entities mean."""
    return {
        "content-type": "application/json",
        "x-wc-webhook-topic": topic,
        "x-wc-webhook-delivery-id": message_id,
        "x-wc-webhook-signature": digest(unescape(secret).encode(), signed),
        "x-wc-webhook-source": "https://shop.leafway.example/",
    }


def letters(sale: Sale) -> list[Letter]:
    """Every message of the sale, in the order in which things happened."""
    found = []
    for state in sale.states():
        step = state.steps[-1]
        if step.what == "shipped":  # said by the completion, in the same second
            continue
        if step.what == "deleted":
            found.append(_letter("order.deleted", {"id": _number(sale)}, step.at, "deletion"))
        else:
            topic = "order.created" if step.what == "placed" else "order.updated"
            found.append(_letter(topic, order(state), step.at))
    return found


def other(topic: str, number: int, stamp: str, at: datetime) -> Letter:
    """A message that has nothing to do with orders."""
    return _letter(topic, {"id": number, "name": "Sencha & friends", "run": stamp}, at, "nothing")


def _letter(topic: str, said: Mapping[str, Any], at: datetime, carries: str = "order") -> Letter:
    # As the platform does it: two deliveries within a second get one id.
    message_id = md5(f"17{at.isoformat()}".encode(), usedforsecurity=False).hexdigest()
    return Letter(topic, body(said), message_id, at, carries)


def order(state: State) -> dict[str, Any]:
    """The order resource as it stands in this state."""
    sale = state.sale
    return {
        "id": _number(sale),
        "number": str(_number(sale)),
        "status": _status(state),
        "currency": sale.shop.currency,
        "prices_include_tax": False,
        "date_created_gmt": _time(sale.placed_at),
        "date_modified_gmt": _time(state.at),
        "date_paid_gmt": _time(state.paid_at),
        "date_completed_gmt": _time(state.when("completed")),
        "discount_total": money(sum(line.discount_minor for line in sale.lines)),
        "shipping_total": money(sale.freight_minor),
        "total_tax": money(sum(line.tax_minor for line in sale.lines)),
        "total": money(sale.total_minor),
        "payment_method": "stripe",
        "line_items": [_line(line) for line in sale.lines],
        "shipping_lines": [
            {
                "id": _number(sale) + 1,
                "method_title": "Flat rate",
                "total": money(sale.freight_minor),
                "total_tax": "0.00",
            }
        ]
        if sale.freight_minor
        else [],
        "fee_lines": [],
        "refunds": [
            {"id": back.refund_id, "reason": back.note, "total": money(-back.amount_minor)}
            for back in state.backs
        ],
        "meta_data": [{"id": 1, "key": "_gift_note", "value": "with love 赠"}],
    }


def _status(state: State) -> str:
    if state.payment == "refunded":
        return "refunded"
    if state.when("cancelled"):
        return "cancelled"
    if state.when("completed"):
        return "completed"
    return "processing" if state.paid_at else "pending"


def _line(line: Line) -> dict[str, Any]:
    whole = line.quantity == int(line.quantity)
    return {
        "id": line.line_id,
        "name": line.item.english,
        "sku": line.platform_sku,
        "quantity": int(line.quantity) if whole else float(line.quantity),
        "price": float(line.unit_minor) / 100,  # a number, as the platform sends it; nobody should read it
        "subtotal": money(line.gross_minor),
        "total": money(line.goods_minor),
        "total_tax": money(line.tax_minor),
    }


def _number(sale: Sale) -> int:
    return int(sale.stamp) * 10**5 + sale.number


def _time(at: datetime | None) -> str | None:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S") if at else None
