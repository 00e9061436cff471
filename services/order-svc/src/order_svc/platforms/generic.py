"""The contract that Qudao itself publishes: orders, refunds and deletions under a Standard Webhooks signature.

`schemas/` describes the bodies for senders; this reader is as strict as they are and refuses with a JSON
pointer. The signed `webhook-id` identifies a delivery, and the signed time must be within five minutes.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final

from order_svc.order.values import Deletion
from order_svc.platforms import generic_documents
from order_svc.platforms.contract import (
    Answer,
    BadSignature,
    Documents,
    Headers,
    Ignored,
    Message,
    Unreadable,
)
from order_svc.platforms.generic_documents import Fields
from order_svc.platforms.reading import Node, exact, micros, parse
from order_svc.platforms.signing import HEADER_MAX, header_text, signature_header, signed_by

ORDER: Final = "qudao.order.v1"
REFUND: Final = "qudao.refund.v1"
DELETED: Final = "qudao.order-deleted.v1"
TOLERANCE_SECONDS: Final = 300
SIGNATURES_MAX: Final = 32

_PREFIXES: Final = ("webhook", "svix")
_SECONDS: Final = re.compile(r"[0-9]{1,12}", re.A)


class Generic:
    """The adapter; see `contract.Platform`."""

    name = "generic"

    def handshake(self, raw: bytes, headers: Headers) -> Answer | None:
        return None

    def verify(self, raw: bytes, headers: Headers, secrets: Sequence[str], now: datetime) -> int:
        prefix = _prefix(headers)
        message_id = signature_header(headers, f"{prefix}-id")
        stamp = signature_header(headers, f"{prefix}-timestamp")
        given = signature_header(headers, f"{prefix}-signature")
        if len(message_id) > HEADER_MAX:
            raise BadSignature("id-too-long", f"{prefix}-id has more than {HEADER_MAX} characters")
        if b", " in given:
            raise BadSignature("signature-malformed", f"{prefix}-signature was sent twice")
        _check_time(stamp.decode(), now)
        versions = [one.partition(b",") for one in given.split(b" ")[:SIGNATURES_MAX]]
        signatures = [signature for version, _, signature in versions if version == b"v1" and signature]
        content = b".".join((message_id, stamp, raw))
        return signed_by(signatures, [key_of(secret) for secret in secrets], content)

    def describe(self, raw: bytes, headers: Headers) -> Message:
        message_id = header_text(headers, f"{_prefix(headers)}-id") or ""
        return Message(guess_topic(raw), sha256(message_id.encode()).digest(), message_id, signed_id=True)

    def normalise(self, topic: str, raw: bytes, received_at: datetime) -> Documents | Ignored:
        with exact():
            body = parse(raw)
            if not isinstance(body, dict):
                raise Unreadable("not-an-object", "the body is not an object: send {type, timestamp, data}")
            return _read(Fields(body), received_at)

    def accepted(self) -> Answer:
        return Answer(200)


ADAPTER: Final = Generic()


def key_of(secret: str) -> bytes:
    """The key bytes of a secret: base64 after `whsec_`; without the prefix base64 or else the text itself.

    Empty, so that it never matches, when a prefixed secret is not base64.
    """
    text = secret.strip()
    encoded = text.removeprefix("whsec_")
    try:
        return b64decode(encoded.encode(), validate=True)
    except (binascii.Error, ValueError):
        return b"" if text.startswith("whsec_") else text.encode("utf-8", "surrogatepass")


def guess_topic(raw: bytes) -> str:
    """The body's own `type`, which is the topic; empty when there is none."""
    try:
        body = parse(raw)
        return (Node(body).text("type", limit=100) or "") if isinstance(body, dict) else ""
    except Unreadable:
        return ""


def _prefix(headers: Headers) -> str:
    return next((one for one in _PREFIXES if headers.get(f"{one}-id")), _PREFIXES[0])


def _check_time(stamp: str, now: datetime) -> None:
    if not _SECONDS.fullmatch(stamp):
        raise BadSignature("timestamp-malformed", "the timestamp is not a number of seconds")
    age = int(now.timestamp()) - int(stamp)
    if age > TOLERANCE_SECONDS:
        raise BadSignature("timestamp-too-old", f"signed more than {TOLERANCE_SECONDS} seconds ago")
    if age < -TOLERANCE_SECONDS:
        raise BadSignature("timestamp-in-future", f"signed more than {TOLERANCE_SECONDS} seconds ahead")


def _read(fields: Fields, received_at: datetime) -> Documents | Ignored:
    kind = fields.need_string("type")
    if kind not in (ORDER, REFUND, DELETED):
        return Ignored("type-not-used")
    fields.need_instant("timestamp")
    data = fields.need_object("data")
    if kind == ORDER:
        order = generic_documents.order(data)
        return Ignored("draft-order") if order.lifecycle == "draft" else Documents(orders=(order,))
    if kind == REFUND:
        return Documents(refunds=(generic_documents.refund(data),))
    version, _ = generic_documents.version(data)
    deletion = Deletion(data.need_string("order_id"), version or micros(received_at))
    return Documents(deletions=(deletion,))
