"""Signatures, dedupe keys and header texts that several adapters share.

Comparison is constant-time and on bytes, every live secret is tried, an empty secret never matches.
Nothing here reads a body. Called by `verify` and `describe` of the adapters only.
"""

import hmac
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from order_svc.platforms.contract import BadSignature, Headers

HEADER_MAX: Final = 255


def signature_header(headers: Headers, *names: str) -> bytes:
    """The first of the named headers that is there, as ASCII bytes; raises BadSignature."""
    for name in names:
        value = headers.get(name, "").strip()
        if value:
            if not value.isascii():
                raise BadSignature("signature-malformed", f"{name} has characters beyond ASCII")
            return value.encode()
    raise BadSignature("signature-missing", f"no {names[0]} header")


def signed_by(given: Sequence[bytes], keys: Sequence[bytes], content: bytes) -> int:
    """Index of the first key whose base64 HMAC-SHA256 of `content` is among `given`; else BadSignature."""
    if not any(keys):
        raise BadSignature("no-secret", "no usable secret is set for this connection")
    found = -1
    for index, key in enumerate(keys):
        digest = b64encode(hmac.digest(key or b"\0", content, "sha256"))
        matches = [hmac.compare_digest(one, digest) for one in given]
        if key and found < 0 and any(matches):
            found = index
    if found < 0:
        raise BadSignature("signature-mismatch", "the signature is not one of this connection's secrets")
    return found


def content_key(topic: str, body: bytes) -> bytes:
    """The dedupe key where no signed id exists: SHA-256 of topic, a zero byte, and the body."""
    return sha256(topic.encode() + b"\0" + body).digest()


def header_text(headers: Headers, *names: str) -> str | None:
    """The first of the named headers that says something, fit to be stored as text."""
    for name in names:
        value = headers.get(name, "").replace("\x00", "").strip()
        if value:
            return value.encode("utf-8", "replace").decode()[:HEADER_MAX]
    return None
