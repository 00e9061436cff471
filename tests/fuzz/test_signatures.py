"""Signature headers of every platform: whatever stands in them is refused in order, unless it is the signature.

What a right signature is, is worked out here from the platforms' published rules.
"""

import base64
import hmac
import random
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from order_svc.platforms import PLATFORMS
from order_svc.platforms.contract import BadSignature

from .budget import tries

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")
SECRETS = {
    "shopify": "a-secret-of-the-shop",
    "woocommerce": "a-secret & of the <shop>",
    "generic": "whsec_" + base64.b64encode(b"k" * 24).decode(),
    "pos": "no-secret-is-used",
}
SIGNED_IN = {
    "shopify": ("x-shopify-hmac-sha256", "shopify-hmac-sha256"),
    "woocommerce": ("x-wc-webhook-signature",),
    "generic": ("webhook-signature", "svix-signature"),
    "pos": (),
}
NAMES = (
    "webhook-id", "webhook-timestamp", "webhook-signature", "svix-id", "svix-timestamp", "svix-signature",
    "x-shopify-hmac-sha256", "shopify-hmac-sha256", "x-shopify-topic", "x-wc-webhook-signature", "x-wc-webhook-topic",
    "authorization", "content-type",
)  # fmt: skip
OTHER = base64.b64encode(b"another digest of 32 bytes .....").decode()

# All of Unicode, halves of surrogate pairs included: a header's bytes reach the adapters as Latin-1, but not all do.
anything = st.text(st.characters(exclude_categories=()), max_size=80)
platforms = st.sampled_from(sorted(PLATFORMS))
some_headers = st.dictionaries(st.sampled_from(NAMES), anything)
bodies = st.binary(max_size=200)
refusals: Counter[str] = Counter()


def digest(platform: str, raw: bytes) -> str:
    """The digest that belongs into the signature header, over what is signed beside the body too."""
    secret = SECRETS[platform]
    if platform == "generic":
        key = base64.b64decode(secret.removeprefix("whsec_"))
        raw = b".".join((b"msg_1", str(int(NOW.timestamp())).encode(), raw))
    else:
        key = secret.encode()
        raw = raw.strip(b" \t\n\r\0\x0b") if platform == "woocommerce" else raw
    return base64.b64encode(hmac.digest(key, raw, "sha256")).decode()


def signed(platform: str, raw: bytes) -> dict[str, str]:
    """The headers of a sound delivery."""
    if platform == "generic":
        stamp = str(int(NOW.timestamp()))
        return {
            "webhook-id": "msg_1",
            "webhook-timestamp": stamp,
            "webhook-signature": f"v1,{digest(platform, raw)}",
        }
    return {SIGNED_IN[platform][0]: digest(platform, raw)} if SIGNED_IN[platform] else {}


def refused(platform: str, raw: bytes, headers: dict[str, str], secrets: list[str]) -> bool:
    """Whether it is refused, in order; any other exception fails the test."""
    try:
        PLATFORMS[platform].verify(raw, headers, secrets, NOW)
    except BadSignature as problem:
        said = problem
    else:
        return False
    assert CODE.fullmatch(said.code), said.code
    assert said.detail
    refusals[said.code] += 1
    return True


def near(chance: random.Random, right: str, raw: bytes) -> str:
    """Something that looks like the right digest and is not."""
    at = chance.randrange(1, len(right) - 1)
    return chance.choice((
        right[:-1], right[1:], right + "=", right.swapcase(), base64.b64decode(right).hex(), right[::-1], f"{right},",
        right[:at] + ("A" if right[at] != "A" else "B") + right[at + 1 :], f"{right[:at]} {right[at:]}", f"sha256={right}",
        f"{right}, {right}", f"{right};{right}", f'"{right}"', f"{right}\u00e9", f"{right}\x00", "=" * 44, OTHER,
        " ".join([f"v1,{OTHER}"] * 1_000), ",".join([OTHER] * 1_000), "v1," * 1_000, "v1", "v1,", f"v2,{right}", f"v1,v1,{right}",
        f"V1,{right}", f"v1,{right[:-1]}", raw.decode("latin-1"),
    ))  # fmt: skip


@tries(300)
@given(
    platform=platforms,
    raw=bodies,
    headers=some_headers,
    secrets=st.lists(anything, max_size=4),
)
@example(
    platform="generic", raw=b"", headers=dict.fromkeys(NAMES, "\ud800"), secrets=["whsec_", "\ud800", ""]
)
@example(platform="shopify", raw=b"", headers=dict.fromkeys(NAMES, "é"), secrets=["é"])
def test_arbitrary_headers_and_secrets_are_refused(
    platform: str, raw: bytes, headers: dict[str, str], secrets: list[str]
) -> None:
    assert refused(platform, raw, headers, secrets)


@tries(300)
@given(platform=platforms, raw=bodies, value=anything, chance=st.randoms(use_true_random=False))
def test_what_nearly_is_the_signature_is_refused(
    platform: str, raw: bytes, value: str, chance: random.Random
) -> None:
    headers, secrets = signed(platform, raw), [SECRETS[platform]]
    for name in SIGNED_IN[platform]:
        headers[name] = chance.choice((value, near(chance, digest(platform, raw), raw)))
    assert refused(platform, raw, headers, secrets)


@tries(200)
@given(platform=platforms, raw=st.binary(min_size=1, max_size=200), at=st.integers(0), bit=st.integers(0, 7))
def test_another_body_is_refused_and_the_signed_one_is_not(
    platform: str, raw: bytes, at: int, bit: int
) -> None:
    at %= len(raw)
    other = raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]
    headers, secrets = signed(platform, raw), ["another", SECRETS[platform]]
    assert refused(platform, raw, headers, secrets) is (platform == "pos")
    if digest(platform, other) != digest(platform, raw):  # what WooCommerce trims off is not signed
        assert refused(platform, other, headers, secrets)


@tries(200)
@given(change=st.sampled_from(("webhook-id", "webhook-timestamp")), value=anything, raw=bodies)
def test_the_generic_contract_signs_its_id_and_its_time(change: str, value: str, raw: bytes) -> None:
    headers = signed("generic", raw)
    expected = value.strip() != headers[change]
    assert refused("generic", raw, headers | {change: value}, [SECRETS["generic"]]) is expected


@tries(200)
@given(platform=platforms, raw=bodies, headers=some_headers)
@example(platform="woocommerce", raw=b"webhook_id=7", headers={})
def test_describing_and_greeting_never_fail(platform: str, raw: bytes, headers: dict[str, str]) -> None:
    message = PLATFORMS[platform].describe(raw, headers)
    assert len(message.dedupe_key) == 32
    for text in (message.topic, message.message_id or ""):
        assert "\x00" not in text
        text.encode()
    hello = PLATFORMS[platform].handshake(raw, headers)
    assert hello is None or (platform, hello.status) == ("woocommerce", 200)


@pytest.fixture(scope="module", autouse=True)
def _told(tell: Callable[[str], Any]) -> Any:
    yield
    tell(
        f"fuzz, signatures: {sum(refusals.values())} refused under {len(refusals)} codes, none taken that is not the signature"
    )
