"""Verification, handshakes, dedupe keys: each with vectors computed here by other means, and with abuse."""

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from order_svc.platforms import PLATFORMS
from order_svc.platforms.contract import Answer, BadSignature, Platform
from order_svc.platforms.generic import key_of

SAMPLES = Path(__file__).parents[5] / "shared" / "samples" / "signatures"
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
BODY = b'{"id": 1}'
SECRET = "s3cret & more"


def hmac_sha256(key: bytes, content: bytes) -> str:
    """HMAC written out from its definition, so that it does not lean on what it checks."""
    key = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + content).digest()
    return base64.b64encode(hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).digest()).decode()


def standard(
    body: bytes = BODY, at: datetime = NOW, key: bytes = b"k" * 24, name: str = "webhook"
) -> dict[str, str]:
    stamp = str(int(at.timestamp()))
    signed = hmac_sha256(key, b"msg_1." + stamp.encode() + b"." + body)
    return {f"{name}-id": "msg_1", f"{name}-timestamp": stamp, f"{name}-signature": f"v1,{signed}"}


STANDARD_SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()
SIGNED: dict[str, tuple[Callable[[bytes], dict[str, str]], str]] = {
    "shopify": (lambda body: {"x-shopify-hmac-sha256": hmac_sha256(SECRET.encode(), body)}, SECRET),
    "woocommerce": (lambda body: {"x-wc-webhook-signature": hmac_sha256(SECRET.encode(), body)}, SECRET),
    "generic": (lambda body: standard(body), STANDARD_SECRET),
}
SIGNATURE_HEADER = {
    "shopify": "x-shopify-hmac-sha256",
    "woocommerce": "x-wc-webhook-signature",
    "generic": "webhook-signature",
}


@pytest.fixture(params=sorted(SIGNED))
def platform(request: pytest.FixtureRequest) -> Platform:
    return PLATFORMS[request.param]


def refused(platform: Platform, body: bytes, headers: dict[str, str], secrets: list[str]) -> str:
    with pytest.raises(BadSignature) as problem:
        platform.verify(body, headers, secrets, NOW)
    return problem.value.code


def test_the_secret_that_signed_is_found_among_the_live_ones(platform: Platform) -> None:
    sign, secret = SIGNED[platform.name]
    for secrets, index in (([secret], 0), (["other", secret], 1), (["", secret, secret], 1)):
        assert platform.verify(BODY, sign(BODY), secrets, NOW) == index


def test_any_change_of_the_body_is_refused(platform: Platform) -> None:
    sign, secret = SIGNED[platform.name]
    headers = sign(BODY)
    for index in range(len(BODY)):
        changed = BODY[:index] + bytes([BODY[index] ^ 1]) + BODY[index + 1 :]
        assert refused(platform, changed, headers, [secret]) == "signature-mismatch"
    assert refused(platform, json.dumps(json.loads(BODY)).encode() + b"x", headers, [secret])


def test_any_change_of_the_signature_is_refused(platform: Platform) -> None:
    sign, secret = SIGNED[platform.name]
    name, good = SIGNATURE_HEADER[platform.name], sign(BODY)
    value = good[name]
    digest = base64.b64decode(value.removeprefix("v1,"))
    bad = [
        value[:-2] + ("A=" if value[-2] != "A" else "B="),
        value[:-1],
        value + "=",
        digest.hex(),
        "v1," + digest.hex(),
        value.lower(),
        "v1,",
        "=" * 44,
        "0" * 10_000,
        "v2," + value.removeprefix("v1,"),
    ]
    for other in bad:
        if other != value:
            assert refused(platform, BODY, good | {name: other}, [secret]) == "signature-mismatch", other
    twice = good | {name: f"{value}, {value}"}  # a repeated header, as servers join it
    assert refused(platform, BODY, twice, [secret]) in {"signature-mismatch", "signature-malformed"}
    assert refused(platform, BODY, good | {name: "é" + value}, [secret]) == "signature-malformed"
    assert refused(platform, BODY, good | {name: " "}, [secret]) == "signature-missing"
    del good[name]
    assert refused(platform, BODY, good, [secret]) == "signature-missing"


def test_no_secret_and_an_empty_secret_never_match(platform: Platform) -> None:
    headers = {
        "x-shopify-hmac-sha256": hmac_sha256(b"", BODY),
        "x-wc-webhook-signature": hmac_sha256(b"", BODY),
    } | standard(key=b"")
    for secrets in ([], [""], ["whsec_"], ["", ""]):
        expected = (
            "signature-mismatch" if secrets == ["whsec_"] and platform.name != "generic" else "no-secret"
        )
        assert refused(platform, BODY, headers, secrets) == expected


def test_woocommerce_signs_the_trimmed_body_with_the_decoded_secret() -> None:
    headers = {"x-wc-webhook-signature": hmac_sha256(b"a&b", BODY)}
    assert PLATFORMS["woocommerce"].verify(b"\n" + BODY + b" \0", headers, ["a&amp;b"], NOW) == 0


def test_woocommerce_ping_is_answered_and_nothing_else_is() -> None:
    woo = PLATFORMS["woocommerce"]
    assert woo.handshake(b"webhook_id=42", {}) == Answer(200)
    for body in (b"", b"webhook_id=", b"webhook_id=4&x=1", b'{"webhook_id":4}', b"webhook_id=4x"):
        assert woo.handshake(body, {}) is None
    for name in ("shopify", "generic", "pos"):
        assert PLATFORMS[name].handshake(b"webhook_id=42", {}) is None


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(0, None), (300, None), (-300, None), (301, "timestamp-too-old"), (-301, "timestamp-in-future")],
)
def test_the_signed_time_is_held_to_five_minutes(seconds: int, code: str | None) -> None:
    headers = standard(at=NOW - timedelta(seconds=seconds))
    if code is None:
        assert PLATFORMS["generic"].verify(BODY, headers, [STANDARD_SECRET], NOW) == 0
    else:
        assert refused(PLATFORMS["generic"], BODY, headers, [STANDARD_SECRET]) == code


@pytest.mark.parametrize("stamp", ["hello", "-5", "1e9", "1772366400.5", "9" * 13, "١٧٧٢٣٦٦٤٠٠"])
def test_a_time_that_is_no_number_of_seconds(stamp: str) -> None:
    code = refused(PLATFORMS["generic"], BODY, standard() | {"webhook-timestamp": stamp}, [STANDARD_SECRET])
    assert code in {"timestamp-malformed", "signature-malformed"}


def test_a_list_of_signatures_is_read_to_a_limit_and_only_v1_counts() -> None:
    generic, good = PLATFORMS["generic"], standard()
    value, other = good["webhook-signature"], "v1," + "A" * 43 + "="
    for text in (f"{other} {value}", f"v1a,xx {value} {other}", f"v9 v1 {value}"):
        assert generic.verify(BODY, good | {"webhook-signature": text}, [STANDARD_SECRET], NOW) == 0
    late = " ".join([other] * 1000 + [value])
    assert (
        refused(generic, BODY, good | {"webhook-signature": late}, [STANDARD_SECRET]) == "signature-mismatch"
    )


def test_the_other_header_names_and_their_absence() -> None:
    generic = PLATFORMS["generic"]
    assert generic.verify(BODY, standard(name="svix"), [STANDARD_SECRET], NOW) == 0
    mixed = standard() | standard(name="svix")
    del mixed["webhook-signature"]
    assert refused(generic, BODY, mixed, [STANDARD_SECRET]) == "signature-missing"
    for name in ("webhook-id", "webhook-timestamp"):
        headers = standard()
        del headers[name]
        assert refused(generic, BODY, headers, [STANDARD_SECRET]) == "signature-missing"


def test_secrets_with_and_without_prefix() -> None:
    assert key_of("whsec_" + base64.b64encode(b"abc").decode()) == b"abc"
    assert key_of(base64.b64encode(b"abc").decode()) == b"abc"
    assert key_of("not base64!") == b"not base64!"
    assert key_of("whsec_not base64!") == b""


def test_a_point_of_sale_has_no_webhook() -> None:
    assert refused(PLATFORMS["pos"], BODY, {}, ["x"]) == "no-webhook"


def test_the_dedupe_key_follows_topic_and_body_and_never_an_unsigned_id() -> None:
    for name, header, extra in (
        ("shopify", "x-shopify-topic", "x-shopify-webhook-id"),
        ("woocommerce", "x-wc-webhook-topic", "x-wc-webhook-delivery-id"),
    ):
        adapter = PLATFORMS[name]
        one = adapter.describe(BODY, {header: "a/b", extra: "1"})
        assert one.dedupe_key == hashlib.sha256(b"a/b\0" + BODY).digest()
        assert one.dedupe_key == adapter.describe(BODY, {header: "A/B", extra: "2"}).dedupe_key
        assert one.dedupe_key != adapter.describe(BODY, {header: "a/c", extra: "1"}).dedupe_key
        assert one.dedupe_key != adapter.describe(BODY + b"2", {header: "a/b", extra: "1"}).dedupe_key
        assert (one.message_id, one.signed_id) == ("1", False)


def test_the_generic_key_is_the_signed_id() -> None:
    one = PLATFORMS["generic"].describe(b'{"type":"qudao.order.v1"}', standard())
    assert one.dedupe_key == hashlib.sha256(b"msg_1").digest()
    assert (one.topic, one.message_id, one.signed_id) == ("qudao.order.v1", "msg_1", True)


@pytest.mark.parametrize("name", sorted(PLATFORMS))
@pytest.mark.parametrize("value", ["", "x" * 10_000, "a\x00b", "\ud800", "é\r\nx: y"])
def test_describe_never_raises(name: str, value: str) -> None:
    headers = dict.fromkeys(
        (
            "x-shopify-topic",
            "x-shopify-webhook-id",
            "x-wc-webhook-topic",
            "x-wc-webhook-delivery-id",
            "webhook-id",
        ),
        value,
    )
    for body in (b"", b"\xff\xfe", b"[" * 100_000, b'{"type": 1e999999999999}', b'{"type": {}}'):
        message = PLATFORMS[name].describe(body, headers)
        assert len(message.dedupe_key) == 32
        for text in (message.topic, message.message_id or ""):
            assert "\x00" not in text
            assert len(text.encode()) <= 1_020


def published(name: str) -> list[Any]:
    """Vectors that the platforms publish, where this checkout stands beside them; else an empty list."""
    path = SAMPLES / f"{name}.json"
    return [json.loads(path.read_text("utf-8"))] if path.exists() else []


def test_published_vectors_agree() -> None:
    for vectors in published("shopify_hmac"):
        for case in vectors["cases"]:
            headers = {name.lower(): value for name, value in case["headers"].items()}
            assert accepts("shopify", case["body"], headers, case["secrets"]) is case["expect"], case["name"]
    for vectors in published("standard_webhooks"):
        for case in vectors["cases"]:
            for prefix in vectors["headers_prefixes"]:
                headers = {
                    f"{prefix}{name}": case[name] for name in ("id", "timestamp", "signature") if name in case
                }
                clock = datetime.fromtimestamp(case["clock"], UTC)
                secret = case.get("secret", vectors["secret"])
                accepted = accepts("generic", vectors["body"], headers, [secret], clock)
                assert accepted is (case["expect"] is True), case["name"]


def accepts(name: str, body: str, headers: dict[str, str], secrets: list[str], clock: datetime = NOW) -> bool:
    try:
        PLATFORMS[name].verify(body.encode(), headers, secrets, clock)
    except BadSignature:
        return False
    return True
