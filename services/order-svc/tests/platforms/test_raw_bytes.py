"""A signature is over the very bytes that came: the same document written otherwise is another message."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from order_svc.platforms import PLATFORMS
from order_svc.platforms.contract import BadSignature

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()

# One JSON document; none of the writings is what `json.dumps` would make of it.
WRITINGS = [
    b'{ "id" : 1.0, "note" : "\\u4ef7",\n  "tags":[ ] }',
    b'{"id":1.0,"note":"\xe4\xbb\xb7","tags":[]}',
    b'{"note":"\\u4EF7","tags":[],"id":1.0}',
    b'{"id":1.0,"id":1.0,"note":"\\u4ef7","tags":[]}',
]


def _hmac(key: bytes, content: bytes) -> str:
    return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def _standard(body: bytes) -> dict[str, str]:
    signature = _hmac(b"k" * 24, f"m.{STAMP}.".encode() + body)
    return {"webhook-id": "m", "webhook-timestamp": STAMP, "webhook-signature": f"v1,{signature}"}


SIGN: dict[str, Callable[[bytes], dict[str, str]]] = {
    "generic": _standard,
    "shopify": lambda body: {"x-shopify-hmac-sha256": _hmac(SECRET.encode(), body)},
    "woocommerce": lambda body: {"x-wc-webhook-signature": _hmac(SECRET.encode(), body)},
}


def verdict(platform: str, body: bytes, headers: dict[str, str]) -> str:
    try:
        return f"secret {PLATFORMS[platform].verify(body, headers, [SECRET], NOW)}"
    except BadSignature as error:
        return error.code


@pytest.mark.parametrize("platform", sorted(SIGN))
@pytest.mark.parametrize("signed", range(len(WRITINGS)))
def test_one_writing_of_a_document_does_not_sign_another(platform: str, signed: int) -> None:
    headers = SIGN[platform](WRITINGS[signed])
    assert [verdict(platform, body, headers) for body in WRITINGS] == [
        "secret 0" if n == signed else "signature-mismatch" for n in range(len(WRITINGS))
    ]


def test_the_generic_signature_covers_id_and_time_too() -> None:
    headers = _standard(WRITINGS[0])
    for name, value in (("webhook-id", "n"), ("webhook-timestamp", str(int(STAMP) + 1))):
        assert verdict("generic", WRITINGS[0], headers | {name: value}) == "signature-mismatch"
