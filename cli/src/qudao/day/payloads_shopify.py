"""How Shopify tells of a sale: whole orders and refunds, numbers as ids, times of the shop's zone.

Pure. `letters` writes a sale's messages, `headers` signs one. One change may fire several topics with equal content,
as it does there; a refund comes by itself and inside the order.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from qudao.day.catalog import ZONE
from qudao.day.letters import Letter, body, digest
from qudao.day.sales import Back, Sale, State, Step, money

IGNORED_TOPICS = ("carts/update", "products/update", "inventory_levels/update")


def order_id(sale: Sale) -> str:
    """Eighteen digits: beyond what a double can hold."""
    return str(_number(sale))


def headers(topic: str, message_id: str, signed: bytes, secret: str, at: datetime) -> dict[str, str]:
    """The headers of one delivery; the signature is over `signed`."""
    return {
        "content-type": "application/json",
        "x-shopify-topic": topic,
        "x-shopify-hmac-sha256": digest(secret.encode(), signed),
        "x-shopify-webhook-id": message_id,
        "x-shopify-triggered-at": at.isoformat(),
        "x-shopify-api-version": "2025-07",
    }


def letters(sale: Sale) -> list[Letter]:
    """Every message of the sale, in the order in which things happened."""
    found: list[Letter] = []
    for state in sale.states():
        step = state.steps[-1]
        for topic in _topics(state, step):
            if topic == "orders/delete":
                found.append(_letter(sale, topic, {"id": _number(sale)}, step.at, "deletion"))
            elif topic == "refunds/create" and step.back:
                found.append(_letter(sale, topic, _refund(sale, step.back, state), step.at, "refund"))
            else:
                found.append(_letter(sale, topic, order(state), step.at))
    return found


def other(topic: str, number: int, stamp: str, at: datetime) -> Letter:
    """A message that has nothing to do with orders."""
    said = {"id": int(stamp) * 10**6 + 900_000 + number, "updated_at": _time(at), "note": "无关消息"}
    return Letter(topic, body(said), str(uuid5(NAMESPACE_URL, f"{topic}/{stamp}/{number}")), at, "nothing")


def _letter(sale: Sale, topic: str, said: Mapping[str, Any], at: datetime, carries: str = "order") -> Letter:
    message_id = str(uuid5(NAMESPACE_URL, f"{topic}/{_number(sale)}/{at.isoformat()}"))
    return Letter(topic, body(said), message_id, at, carries)


def _topics(state: State, step: Step) -> tuple[str, ...]:
    if step.what == "paid":
        return ("orders/paid", "orders/updated") if state.sale.number % 3 == 0 else ("orders/paid",)
    if step.what == "shipped":
        return ("orders/fulfilled",) if state.fulfilment == "shipped" else ("orders/partially_fulfilled",)
    if step.what == "cancelled":
        return ("orders/cancelled", "refunds/create") if step.back else ("orders/cancelled",)
    return {
        "placed": ("orders/create",),
        "completed": ("orders/updated",),
        "refunded": ("refunds/create", "orders/updated"),
        "deleted": ("orders/delete",),
    }[step.what]


def order(state: State) -> dict[str, Any]:
    """The order resource as it stands in this state."""
    sale, cancelled_at = state.sale, state.when("cancelled")
    status = state.payment
    if status == "unpaid":
        status = "voided" if cancelled_at else "pending"
    fulfilled = {"unfulfilled": None, "partial": "partial", "shipped": "fulfilled"}[state.fulfilment]
    return {
        "id": _number(sale),
        "admin_graphql_api_id": f"gid://shopify/Order/{_number(sale)}",
        "name": f"#{sale.stamp[2:8]}-{sale.number}",
        "order_number": sale.number,
        "test": sale.story == "test",
        "currency": sale.shop.currency,
        "presentment_currency": sale.shop.currency,
        "created_at": _time(sale.placed_at),
        "processed_at": _time(sale.placed_at),
        "updated_at": _time(state.at),
        "cancelled_at": _time(cancelled_at),
        "cancel_reason": "customer" if cancelled_at else None,
        "closed_at": _time(state.when("completed")),
        "financial_status": status,
        "fulfillment_status": fulfilled,
        "taxes_included": True,
        "total_tax": money(sum(line.tax_minor for line in sale.lines)),
        "total_discounts": money(sum(line.discount_minor for line in sale.lines)),
        "total_price": money(sale.total_minor),
        "current_total_price": money(sale.total_minor - state.refunded_minor),
        "discount_applications": [{"type": "discount_code", "code": "QINGMING", "value_type": "percentage"}],
        "line_items": [_line(state, index) for index in range(len(sale.lines))],
        "shipping_lines": _shipping(sale),
        "fulfillments": [_fulfillment(sale, at, step) for at, step in enumerate(state.shipments, 1)],
        "refunds": [_refund(sale, back, state) for back in state.backs],
        "note_attributes": [],
    }


def _line(state: State, index: int) -> dict[str, Any]:
    line = state.sale.lines[index]
    back = sum(int(part.quantity) for each in state.backs for part in each.lines if part.index == index)
    left = int(line.quantity - state.shipped(index))
    allocations = [{"amount": money(line.discount_minor), "discount_application_index": 0}]
    return {
        "id": line.line_id,
        "sku": line.platform_sku,
        "title": line.item.title,
        "quantity": int(line.quantity),
        "current_quantity": int(line.quantity) - back,
        "fulfillable_quantity": max(0, left - back) if not state.when("cancelled") else 0,
        "price": money(line.unit_minor),
        "total_discount": "0.00",
        "discount_allocations": allocations if line.discount_minor else [],
        "tax_lines": [{"title": "VAT", "rate": 0.13, "price": money(line.tax_minor)}],
        "gift_card": False,
    }


def _shipping(sale: Sale) -> list[dict[str, Any]]:
    if not sale.freight_minor:
        return []
    price = money(sale.freight_minor)
    return [
        {
            "id": _number(sale) + 1,
            "title": "顺丰快递",
            "price": price,
            "discounted_price": price,
            "tax_lines": [],
        }
    ]


def _fulfillment(sale: Sale, at: int, step: Step) -> dict[str, Any]:
    return {
        "id": _number(sale) * 10 + at,
        "status": "success",
        "created_at": _time(step.at),
        "tracking_number": f"SF{sale.stamp}{sale.number:05}{at}",
        "line_items": [
            {"id": line.line_id, "quantity": int(quantity)}
            for line, quantity in zip(sale.lines, step.shipped, strict=True)
            if quantity
        ],
    }


def _refund(sale: Sale, back: Back, state: State) -> dict[str, Any]:
    """The refund resource, the same by itself and inside the order."""
    shipped = bool(state.shipments)
    explained = sum(part.amount_minor for part in back.lines) + back.freight_minor
    adjustments = [
        ("shipping_refund", -back.freight_minor),
        ("refund_discrepancy", explained - back.amount_minor),
    ]
    return {
        "id": back.refund_id,
        "order_id": _number(sale),
        "created_at": _time(back.at),
        "processed_at": _time(back.at),
        "note": back.note,
        "refund_line_items": [
            {
                "id": back.refund_id * 10 + part.index,
                "line_item_id": sale.lines[part.index].line_id,
                "quantity": int(part.quantity),
                "subtotal": money(part.amount_minor),
                "total_tax": money(
                    sale.lines[part.index].tax_minor * part.amount_minor // _net(sale, part.index)
                ),
                "restock_type": _restock(shipped, part.restocked),
            }
            for part in back.lines
        ],
        "order_adjustments": [
            {"id": back.refund_id + 1, "kind": kind, "amount": money(amount), "tax_amount": "0.00"}
            for kind, amount in adjustments
            if amount
        ],
        "transactions": [
            {
                "id": back.refund_id + 2,
                "kind": "refund",
                "status": "success",
                "amount": money(back.amount_minor),
                "currency": sale.shop.currency,
            }
        ],
    }


def _restock(shipped: bool, restocked: bool) -> str:
    if not shipped:
        return "cancel"
    return "return" if restocked else "no_restock"


def _net(sale: Sale, index: int) -> int:
    return max(1, sale.lines[index].net_minor)


def _number(sale: Sale) -> int:
    return int(sale.stamp) * 10**6 + sale.number


def _time(at: datetime | None) -> str | None:
    return at.astimezone(ZONE).isoformat() if at else None
