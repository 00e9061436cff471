"""How a system without an adapter of its own tells of a sale: the generic contract, Standard Webhooks signature.

Pure. Amounts and quantities are decimal strings. Half of the senders count their changes (`sequence`), half stamp
them (`updated_at`). A refund is a message of its own, and the order says only how it is paid now.
"""

from base64 import b64decode
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from qudao.day.catalog import ZONE
from qudao.day.letters import Letter, body, digest
from qudao.day.sales import Back, Line, Sale, State, money

IGNORED_TOPICS = ("com.example.cart.v1", "com.example.member.v1")
_ORDER, _REFUND, _DELETED = "qudao.order.v1", "qudao.refund.v1", "qudao.order-deleted.v1"


def order_id(sale: Sale) -> str:
    return f"QL{sale.stamp}-{sale.number:05}"


def headers(topic: str, message_id: str, signed: bytes, secret: str, at: datetime) -> dict[str, str]:
    """The headers of one delivery; the signature is over id, time and `signed`. The topic is in the body."""
    stamp = str(int(at.timestamp()))
    content = b".".join((message_id.encode(), stamp.encode(), signed))
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{digest(b64decode(secret.removeprefix('whsec_')), content)}",
    }


def letters(sale: Sale) -> list[Letter]:
    """Every message of the sale, in the order in which things happened."""
    found: list[Letter] = []
    for state in sale.states():
        step = state.steps[-1]
        if step.what == "deleted":
            # It says no version: the moment we receive it counts.
            found.append(_letter(sale, _DELETED, {"order_id": order_id(sale)}, step.at, "deletion"))
            continue
        if step.back:
            found.append(_letter(sale, _REFUND, _refund(sale, step.back), step.at, "refund"))
        found.append(_letter(sale, _ORDER, _order(state), step.at))
    return found


def other(topic: str, number: int, stamp: str, at: datetime) -> Letter:
    """A message that has nothing to do with orders."""
    said = {"type": topic, "timestamp": _time(at), "data": {"id": f"{stamp}-{number}", "note": "无关消息"}}
    return Letter(topic, body(said), f"msg_{stamp}_other_{number:05}", at, "nothing")


def _letter(sale: Sale, topic: str, data: Mapping[str, Any], at: datetime, carries: str = "order") -> Letter:
    said = {"type": topic, "timestamp": _time(at), "data": data}
    message_id = f"msg_{sale.stamp}_{sale.number:05}_{carries}_{int(at.timestamp())}"
    return Letter(topic, body(said), message_id, at, carries)


def _version(state: State) -> dict[str, Any]:
    """What tells two accounts of the order apart."""
    if state.sale.number % 2:
        return {"sequence": len(state.steps)}
    return {"updated_at": _time(state.at)}


def _order(state: State) -> dict[str, Any]:
    sale, shipments = state.sale, state.shipments
    lines = [_line(state, index, line) for index, line in enumerate(sale.lines)]
    if sale.freight_minor:
        lines.append(_row("freight", "freight", "1", sale.freight_minor, freight=money(sale.freight_minor)))
    if state.paid_at:
        # The marketplace keeps one percent; it is no part of what the buyer pays.
        lines.append(_row("platform_fee", "fee", "1", -(sale.total_minor // 100)))
    return {
        "order_id": order_id(sale),
        "number": f"{sale.number:05}",
        **_version(state),
        "currency": sale.shop.currency,
        "lifecycle": state.lifecycle,
        "payment": state.payment,
        "fulfilment": state.fulfilment,
        "placed_at": _time(sale.placed_at),
        "paid_at": _time(state.paid_at),
        "shipped_at": _time(shipments[0].at) if shipments else None,
        "cancelled_at": _time(state.when("cancelled")),
        "completed_at": _time(state.when("completed")),
        "tax_included": True,
        "total": money(sale.total_minor),
        "paid": money(state.paid_minor),
        "lines": lines,
    }


def _line(state: State, index: int, line: Line) -> dict[str, Any]:
    shown = {
        "sku": line.platform_sku,
        "title": line.item.title,
        "list": money(line.gross_minor - line.tax_minor),
        "merchant_coupon": money(-line.discount_minor),
        "platform_coupon": money(-line.platform_coupon_minor),
        "tax": money(line.tax_minor),
    }
    shipped = _text(state.shipped(index))
    return _row("product", str(line.line_id), _text(line.quantity), line.net_minor, shipped=shipped, **shown)


def _row(kind: str, line_id: str, quantity: str, total_minor: int, **more: str) -> dict[str, Any]:
    return {"line_id": line_id, "kind": kind, "quantity": quantity, "total": money(total_minor), **more}


def _refund(sale: Sale, back: Back) -> dict[str, Any]:
    lines: list[dict[str, Any]] = [
        {
            "line_id": str(sale.lines[part.index].line_id),
            "quantity": _text(part.quantity),
            "amount": money(part.amount_minor),
            "restocked": _text(part.quantity) if part.restocked else "0",
        }
        for part in back.lines
    ]
    if back.freight_minor:
        freight = money(back.freight_minor)
        lines.append({"line_id": "freight", "quantity": "0", "amount": freight, "freight": freight})
    return {
        "refund_id": str(back.refund_id),
        "order_id": order_id(sale),
        "currency": sale.shop.currency,
        "amount": money(back.amount_minor),
        "at": _time(back.at),
        "updated_at": _time(back.at),
        "reason": back.note,
        "lines": lines,
    }


def _text(quantity: Decimal) -> str:
    return f"{quantity:f}"


def _time(at: datetime | None) -> str | None:
    return at.astimezone(ZONE).isoformat() if at else None
