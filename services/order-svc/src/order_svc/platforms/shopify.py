"""Shopify: full order documents and refunds, signed with HMAC-SHA256 over the raw body.

Reads the `orders/*` topics, `refunds/create` and `orders/delete`; everything else is understood and
ignored. Money is the shop's own (`currency`), never the buyer's presentment currency. Headers other than
the signature are unsigned, so they are evidence only: the dedupe key is a hash of topic and body, and a
deletion is believed only from a body that is nothing but an id.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from order_svc.order.values import Deletion, Line, OrderDocument
from order_svc.platforms import shopify_lines, shopify_refunds
from order_svc.platforms.bill import Bill
from order_svc.platforms.contract import Answer, Documents, Headers, Ignored, Message, Unreadable
from order_svc.platforms.reading import Node, exact, merged, micros, parse, unwrap
from order_svc.platforms.signing import content_key, header_text, signature_header, signed_by

PAYMENT: Final = {
    "pending": "unpaid",
    "unpaid": "unpaid",
    "authorized": "authorized",
    "partially_paid": "partially_paid",
    "paid": "paid",
    "partially_refunded": "partially_refunded",
    "refunded": "refunded",
    "voided": "voided",
    "expired": "voided",
}
FULFILMENT: Final = {
    "fulfilled": "shipped",
    "partial": "partial",
    "partially_fulfilled": "partial",
    "unfulfilled": "unfulfilled",
    "unshipped": "unfulfilled",
    "on_hold": "on_hold",
}
_ORDER_TOPICS: Final = frozenset(
    f"orders/{event}"
    for event in ("create", "updated", "paid", "cancelled", "fulfilled", "partially_fulfilled")
)
_ORDER_MARKS: Final = frozenset(
    {"financial_status", "fulfillment_status", "order_number", "current_total_price"}
)
_WRAPPERS: Final = frozenset({"order", "orders", "refund", "refunds"})
_FOREIGN_MARKS: Final = frozenset({"abandoned_checkout_url", "invoice_url", "invoice_sent_at"})


class Shopify:
    """The adapter; see `contract.Platform`."""

    name = "shopify"

    def handshake(self, raw: bytes, headers: Headers) -> Answer | None:
        return None

    def verify(self, raw: bytes, headers: Headers, secrets: Sequence[str], now: datetime) -> int:
        given = signature_header(headers, "x-shopify-hmac-sha256", "shopify-hmac-sha256")
        return signed_by([given], [secret.encode("utf-8", "surrogatepass") for secret in secrets], raw)

    def describe(self, raw: bytes, headers: Headers) -> Message:
        topic = _topic(header_text(headers, "x-shopify-topic", "shopify-topic") or "")
        message_id = header_text(
            headers,
            "x-shopify-webhook-id",
            "shopify-webhook-id",
            "x-shopify-event-id",
            "shopify-event-id",
        )
        return Message(topic, content_key(topic, raw), message_id)

    def normalise(self, topic: str, raw: bytes, received_at: datetime) -> Documents | Ignored:
        topic = _topic(topic)
        if topic and not topic.startswith(("orders/", "refunds/")):
            return Ignored("topic-not-used")
        with exact():
            bodies = unwrap(parse(raw), _WRAPPERS)
            return merged([_read_one(topic or guess_topic(body), body, received_at) for body in bodies])

    def accepted(self) -> Answer:
        return Answer(200)


ADAPTER: Final = Shopify()


def guess_topic(body: Node) -> str:
    """The topic that a body without one most likely had; empty when its shape says nothing."""
    keys = body.value.keys()
    if "refund_line_items" in keys or {"order_adjustments", "transactions"} <= keys:
        return "refunds/create"
    if _is_order(body):
        return "orders/updated"
    return ""


def _topic(text: str) -> str:
    """One spelling: `orders/create`, also for ORDERS_CREATE as the GraphQL API writes it."""
    topic = text.strip().lower()
    return topic if "/" in topic else topic.replace("_", "/", 1)


def _is_order(body: Node) -> bool:
    keys = body.value.keys()
    return bool(_ORDER_MARKS & keys) and "total_price" in keys and not _FOREIGN_MARKS & keys


def _read_one(topic: str, body: Node, received_at: datetime) -> Documents | Ignored:
    if topic == "":
        return Ignored("shape-not-known")
    if topic.startswith("refunds/"):
        if "refund_line_items" not in body and _is_order(body):
            raise Unreadable("shape-does-not-match-topic", "an order came under a refund topic")
        refund = shopify_refunds.read(body)
        return Documents(refunds=(refund,)) if refund else Ignored("refund-without-money")
    if topic == "orders/delete":
        if len(body.value) > 3:
            raise Unreadable(
                "shape-does-not-match-topic", "a deletion is an id alone, this body is a document"
            )
        return Documents(deletions=(Deletion(_order_id(body), micros(received_at)),))
    if _is_order(body):
        return Ignored("test-order") if body.flag("test") else Documents(orders=(_order(body),))
    if topic in _ORDER_TOPICS:
        raise Unreadable(
            "not-an-order", "the body lacks what makes an order: subscribe without a field filter"
        )
    return Ignored("topic-not-used")


def _order_id(body: Node) -> str:
    order_id = body.ident("id")
    if order_id is None:
        raise Unreadable("no-order-id", f"{body.pointer('id')}: the order has no id")
    return order_id


def _order(body: Node) -> OrderDocument:
    order_id, currency = _order_id(body), (body.code("currency") or "").upper()
    if "line_items" not in body:
        raise Unreadable("lines-not-stated", "no line_items: subscribe without a field filter")
    bill = Bill(currency)
    updated = body.instant("updated_at")
    placed = body.instant("processed_at") or body.instant("created_at")
    stamps = (placed, body.instant("cancelled_at"), body.instant("closed_at"), updated)
    placed_at = next((at for at in stamps if at), None)
    if placed_at is None:
        raise Unreadable(
            "no-order-time", "none of processed_at, created_at, updated_at is a time with its zone"
        )
    version = micros(updated) if updated else 0

    freight = shopify_lines.freight_ids(body)
    refunds = tuple(
        refund
        for one in body.children("refunds")
        if (refund := shopify_refunds.read(one, order_id, currency, version, placed_at, freight))
    )
    shipped = shopify_lines.Shipments(body)
    shopify_lines.add_all(bill, body, shipped, shopify_lines.refunded_quantities(refunds))
    lines, total = bill.close(body.number("total_price"), body.pointer("total_price"))

    payment = PAYMENT.get((body.text("financial_status") or "").lower())
    if payment is None:
        payment = "unpaid"
        bill.flags.add("payment-status-unknown")
    paid_minor = _paid(body, bill, payment, total, edited=not refunds and any(line.removed for line in lines))
    if shipped.first_at is None and any(line.shipped for line in lines):
        bill.flags.add("shipped-at-not-stated")
    cancelled_at, closed_at = body.instant("cancelled_at"), body.instant("closed_at")
    lifecycle = "cancelled" if cancelled_at else "completed" if closed_at else "open"
    return OrderDocument(
        platform_order_id=order_id,
        currency=currency,
        version=version,
        lifecycle=lifecycle,
        payment=payment,
        fulfilment=_fulfilment(body, lines),
        placed_at=placed_at,
        lines=lines,
        paid_minor=paid_minor,
        paid_at=_paid_at(body, placed_at) if paid_minor else None,
        shipped_at=shipped.first_at,
        cancelled_at=cancelled_at,
        completed_at=closed_at,
        tax_included=body.flag("taxes_included"),
        refunds=refunds,
        number=body.code("name") or body.ident("order_number"),
        source_status=_source_status(body),
        version_text=body.text("updated_at"),
        flags=tuple(sorted(bill.flags)),
        alt_ids=_alt_ids(body),
    )


def _paid(body: Node, bill: Bill, payment: str, total: int, *, edited: bool) -> int:
    """All money captured. `edited`: lines were taken off before anything was given back, so that the
    original total was never paid and the current one was."""
    current = body.number("current_total_price")
    if payment == "paid" and edited and current is not None:
        return max(0, min(total, bill.minor(current, body.pointer("current_total_price"))))
    if payment in {"paid", "partially_refunded", "refunded"}:
        return max(0, total)
    outstanding = body.number("total_outstanding")
    if payment == "partially_paid" and outstanding is not None:
        return max(0, total - bill.minor(outstanding, body.pointer("total_outstanding")))
    return 0


def _paid_at(body: Node, placed_at: datetime) -> datetime:
    """The first capture that the document lists, else when the order was processed: both are stable."""
    captures = [
        at
        for one in body.children("transactions")
        if one.get("kind") in ("sale", "capture") and one.get("status") == "success"
        for at in (one.instant("processed_at") or one.instant("created_at"),)
        if at
    ]
    return min(captures, default=placed_at)


def _fulfilment(body: Node, lines: tuple[Line, ...]) -> str:
    """The status where the platform's word is known, else what the shipped quantities say."""
    status = (body.text("fulfillment_status") or "").lower()
    if status in FULFILMENT:
        return FULFILMENT[status]
    goods = [line for line in lines if line.line_kind in shopify_lines.GOODS]
    if not any(line.shipped for line in goods):
        return "unfulfilled"
    if status == "restocked":
        return "returned"
    return "shipped" if all(line.shipped >= line.ordered - line.removed for line in goods) else "partial"


def _source_status(body: Node) -> str | None:
    parts = [body.text(name) for name in ("financial_status", "fulfillment_status", "cancel_reason")]
    return "/".join(part or "-" for part in parts)[:255] if any(parts) else None


def _alt_ids(body: Node) -> dict[str, str]:
    names = {"name": "name", "order_number": "order_number", "graphql_id": "admin_graphql_api_id"}
    found = {ours: body.ident(theirs) for ours, theirs in names.items()}
    return {ours: value for ours, value in found.items() if value}
