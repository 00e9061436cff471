"""WooCommerce: full order documents, signed with HMAC-SHA256 over the trimmed body.

Reads the `order.*` topics, and refund resources as the REST API gives them. Times are the `*_gmt` fields,
which carry no zone and mean UTC. There is no refund topic: refunds arrive as bare totals inside the order,
and that list is complete. The delivery id can collide and is unsigned, so the dedupe key is a hash of topic
and body.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from order_svc.order.values import ZERO, Deletion, OrderDocument, Refund
from order_svc.platforms import woocommerce_lines
from order_svc.platforms.bill import Bill, minor
from order_svc.platforms.contract import Answer, Documents, Headers, Ignored, Message, Unreadable
from order_svc.platforms.reading import Node, exact, merged, micros, parse, unwrap
from order_svc.platforms.signing import content_key, header_text, signature_header, signed_by

LIFECYCLE: Final = {
    "pending": "open",
    "on-hold": "open",
    "processing": "open",
    "completed": "completed",
    "cancelled": "cancelled",
    "failed": "cancelled",
    "trash": "cancelled",
}
_DRAFTS: Final = frozenset({"draft", "auto-draft", "checkout-draft"})
_PAID: Final = frozenset({"processing", "completed", "refunded"})
_PING: Final = re.compile(rb"webhook_id=[0-9]{1,20}")
_TRIMMED: Final = b" \t\n\r\0\x0b"
_ENTITY: Final = re.compile(
    r"&(?:(?P<name>lt|gt|quot|amp|apos)|#0*(?P<dec>34|38|39|60|62)|#[xX]0*(?P<hex>22|26|27|3[cCeE]));"
)
_NAMED: Final = {"lt": "<", "gt": ">", "quot": '"', "amp": "&", "apos": "'"}
_TIMES: Final = ("date_created_gmt", "date_paid_gmt", "date_completed_gmt", "date_modified_gmt")
# A proxy of the REST API wraps its answers.
_WRAPPERS: Final = frozenset({"data"})


class WooCommerce:
    """The adapter; see `contract.Platform`."""

    name = "woocommerce"

    def handshake(self, raw: bytes, headers: Headers) -> Answer | None:
        """The form-encoded ping that a shop sends, unsigned, when a webhook is saved."""
        return Answer(200) if _PING.fullmatch(raw.strip()) else None

    def verify(self, raw: bytes, headers: Headers, secrets: Sequence[str], now: datetime) -> int:
        given = signature_header(headers, "x-wc-webhook-signature")
        keys = [decoded_secret(secret).encode("utf-8", "surrogatepass") for secret in secrets]
        return signed_by([given], keys, raw.strip(_TRIMMED))

    def describe(self, raw: bytes, headers: Headers) -> Message:
        topic = (header_text(headers, "x-wc-webhook-topic") or "").lower()
        message_id = header_text(headers, "x-wc-webhook-delivery-id")
        return Message(topic, content_key(topic, raw.strip(_TRIMMED)), message_id)

    def normalise(self, topic: str, raw: bytes, received_at: datetime) -> Documents | Ignored:
        topic = topic.strip().lower()
        if topic and not topic.startswith("order."):
            return Ignored("topic-not-used")
        with exact():
            bodies = unwrap(parse(raw.strip(_TRIMMED)), _WRAPPERS)
            return merged([_read_one(topic or guess_topic(body), body, received_at) for body in bodies])

    def accepted(self) -> Answer:
        return Answer(200)


ADAPTER: Final = WooCommerce()


def decoded_secret(secret: str) -> str:
    """The secret as WordPress signs with it: the entities of the five special characters are decoded."""
    return _ENTITY.sub(_character, secret)


def _character(match: re.Match[str]) -> str:
    if match["name"]:
        return _NAMED[match["name"]]
    return chr(int(match["dec"])) if match["dec"] else chr(int(match["hex"], 16))


def guess_topic(body: Node) -> str:
    """The topic that a body without one most likely had; empty when its shape says nothing."""
    return "order.updated" if _is_order(body) or _is_refund(body) else ""


def _is_order(body: Node) -> bool:
    return "status" in body and "currency" in body and "total" in body and not _is_refund(body)


def _is_refund(body: Node) -> bool:
    return "amount" in body and ("refunded_payment" in body or "refunded_by" in body)


def _read_one(topic: str, body: Node, received_at: datetime) -> Documents | Ignored:
    if topic == "":
        return Ignored("shape-not-known")
    if topic == "order.deleted":
        if len(body.value) > 3:
            raise Unreadable(
                "shape-does-not-match-topic", "a deletion is an id alone, this body is a document"
            )
        return Documents(deletions=(Deletion(_order_id(body), micros(received_at)),))
    if _is_refund(body):
        return Documents(refunds=(woocommerce_lines.refund(body),))
    if not _is_order(body):
        raise Unreadable("not-an-order", "status, currency or total is missing: send the order resource")
    status = _status(body)
    if status in _DRAFTS:
        return Ignored("draft-order")
    return Documents(orders=(_order(body, status),))


def _order_id(body: Node) -> str:
    order_id = body.ident("id")
    if order_id is None or order_id == "0":
        raise Unreadable("no-order-id", f"{body.pointer('id')}: the order has no id")
    return order_id


def _status(body: Node) -> str:
    return (body.text("status") or "").lower().removeprefix("wc-")


def _order(body: Node, status: str) -> OrderDocument:
    order_id, currency = _order_id(body), (body.code("currency") or "").upper()
    if "line_items" not in body:
        raise Unreadable("lines-not-stated", "no line_items: send the whole order resource")
    bill = Bill(currency)
    created, paid, completed, modified = (body.instant(name, zoneless_is_utc=True) for name in _TIMES)
    placed_at = created or paid or completed or modified or _local_time(body, bill)
    version = micros(modified) if modified else 0

    shipped = completed is not None or status == "completed"
    woocommerce_lines.add_all(bill, body, shipped)
    lines, total = bill.close(body.number("total"), body.pointer("total"))
    total = max(0, total)
    refunds = _refunds(body, order_id, currency, modified or placed_at, version)
    refunded = sum(refund.amount_minor for refund in refunds)

    if paid is None and status in _PAID:
        paid = placed_at
        bill.flags.add("paid-at-not-stated")
    if status == "refunded":
        payment, lifecycle = "refunded", "completed" if completed else "cancelled"
        if refunded < total:
            bill.flags.add("refunds-not-stated")
    else:
        payment = _payment(paid is not None, total, refunded)
        lifecycle = LIFECYCLE.get(status, "open")
        if status not in LIFECYCLE:
            bill.flags.add("status-unknown")
    if shipped and completed is None:
        bill.flags.add("shipped-at-not-stated")
    if body.text("payment_method") == "cod":
        bill.flags.add("cod")
    return OrderDocument(
        platform_order_id=order_id,
        currency=currency,
        version=version,
        lifecycle=lifecycle,
        payment=payment,
        fulfilment="shipped" if shipped else "unfulfilled",
        placed_at=placed_at,
        lines=lines,
        paid_minor=total if paid else 0,
        paid_at=paid,
        shipped_at=completed,
        completed_at=completed,
        tax_included=body.flag("prices_include_tax"),
        refunds=refunds,
        refunds_complete=isinstance(body.get("refunds"), list),
        number=body.ident("number"),
        source_status=body.text("status"),
        version_text=body.text("date_modified_gmt"),
        flags=tuple(sorted(bill.flags)),
        alt_ids={"number": number} if (number := body.ident("number")) else {},
    )


def _local_time(body: Node, bill: Bill) -> datetime:
    """The shop's local time, read as UTC for want of its zone, and flagged."""
    local = body.instant("date_created", zoneless_is_utc=True)
    if local is None:
        raise Unreadable("no-order-time", "none of the *_gmt times of the order is stated")
    bill.flags.add("time-zone-assumed")
    return local


def _payment(paid: bool, total: int, refunded: int) -> str:
    if not paid:
        return "unpaid"
    if refunded <= 0:
        return "paid"
    return "refunded" if refunded >= total else "partially_refunded"


def _refunds(body: Node, order_id: str, currency: str, at: datetime, version: int) -> tuple[Refund, ...]:
    """The bare totals inside an order. Deleted refunds leave rows without an id or an amount: dropped."""
    found = []
    for one in body.children("refunds"):
        refund_id, total = one.ident("id"), one.number("total") or ZERO
        amount = abs(minor(total, currency, one.pointer("total")))
        if refund_id and refund_id != "0" and amount:
            found.append(
                Refund(
                    external_id=refund_id,
                    platform_order_id=order_id,
                    currency=currency,
                    amount_minor=amount,
                    at=at,
                    version=version,
                    detail=0,
                    at_exact=False,
                    reason=one.text("reason"),
                )
            )
    return tuple(found)
