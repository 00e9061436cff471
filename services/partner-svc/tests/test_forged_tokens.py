"""Every way to forge a token that we know of, and one good token to show that the forger can."""

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from channel_kit import auth
from partner_svc.key import actions as key

Connect = Callable[..., httpx.AsyncClient]


def segment(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


FORGERIES = (
    "alg-none", "alg-none-signed", "hs256-with-public-key", "foreign-key", "unknown-kid", "kid-traversal", "kid-url",
    "kid-missing", "kid-number", "embedded-jwk", "jku", "wrong-audience", "wrong-issuer", "audience-missing",
    "expired", "not-yet-valid", "issued-in-future", "life-too-long", "no-expiry", "expiry-text", "no-subject", "partner-empty",
    "payload-changed", "signature-cut", "two-segments", "not-base64", "garbage", "huge",
)  # fmt: skip


def forge(kind: str, signing: key.Signing, public_jwk: dict[str, str]) -> str:
    """A token that differs from a good one in one respect."""
    present = int(time.time())
    body: dict[str, Any] = {
        "iss": auth.ISSUER,
        "aud": auth.AUDIENCE,
        "sub": "x",
        "scope": "admin partners:read",
    }
    body |= {"iat": present, "nbf": present, "exp": present + 600}
    head: dict[str, Any] = {"kid": signing.kid}
    private: Any = auth.private_key(signing.pem)
    match kind:
        case "good":
            pass
        case "alg-none" | "alg-none-signed":
            unsigned = f"{segment({'alg': 'none', 'typ': 'JWT'} | head)}.{segment(body)}."
            return unsigned + ("c2ln" if kind == "alg-none-signed" else "")
        case "hs256-with-public-key":
            content = f"{segment({'alg': 'HS256', 'typ': 'JWT'} | head)}.{segment(body)}"
            mac = hmac.new(
                base64.urlsafe_b64decode(public_jwk["x"] + "="), content.encode(), "sha256"
            ).digest()
            return f"{content}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
        case "foreign-key":
            private = Ed25519PrivateKey.generate()
        case "unknown-kid":
            head["kid"] = "k-unknown"
        case "kid-traversal":
            head["kid"] = "../../../../dev/null"
        case "kid-url":
            head["kid"] = "https://evil.example/key"
        case "kid-missing":
            head = {}
        case "kid-number":
            raw = f"{segment({'alg': 'EdDSA', 'typ': 'JWT', 'kid': 7})}.{segment(body)}"
            return f"{raw}.{base64.urlsafe_b64encode(private.sign(raw.encode())).rstrip(b'=').decode()}"
        case "embedded-jwk":
            kid, pem, jwk = auth.new_key()
            head, private = {"kid": kid, "jwk": jwk}, auth.private_key(pem)
        case "jku":
            head["jku"] = "https://evil.example/keys"
        case "wrong-audience":
            body["aud"] = "other"
        case "wrong-issuer":
            body["iss"] = "https://evil.example"
        case "audience-missing":
            del body["aud"]
        case "expired":
            body |= {"iat": present - 700, "nbf": present - 700, "exp": present - 100}
        case "not-yet-valid":
            body["nbf"] = present + 300
        case "issued-in-future":
            body |= {"iat": present + 300, "exp": present + 600}
        case "life-too-long":
            body["exp"] = present + 86_400
        case "no-expiry":
            del body["exp"]
        case "expiry-text":
            body["exp"] = "tomorrow"
        case "no-subject":
            del body["sub"]
        case "partner-empty":
            body["partner"] = ""
        case "garbage":
            return "\u00ff"
        case "huge":
            return "a" * 5_000 + ".b.c"
        case "not-base64":
            return "a$.b.c"
    token = jwt.encode(body, private, algorithm="EdDSA", headers=head)
    parts = token.split(".")
    if kind == "payload-changed":
        return f"{parts[0]}.{segment(body | {'scope': 'admin partners:write'})}.{parts[2]}"
    if kind == "signature-cut":
        return token[:-4]
    return ".".join(parts[:2]) if kind == "two-segments" else token


@pytest.mark.parametrize("kind", FORGERIES)
async def test_a_forged_token_opens_nothing(kind: str, signing: key.Signing, connect: Connect) -> None:
    public = (await connect().get("/v1/keys")).json()["keys"][0]
    token = forge(kind, signing, public).encode("latin-1")
    answer = await connect().get("/v1/partners", headers={b"Authorization": b"Bearer " + token})
    assert answer.status_code == 401, answer.text
    assert answer.json()["code"] in {"token-invalid", "token-expired"}
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_the_forger_can_make_a_good_token(signing: key.Signing, connect: Connect) -> None:
    """Without this, every forgery above might be refused for a reason nobody meant."""
    token = forge("good", signing, {})
    assert (await connect(token=token).get("/v1/partners")).status_code == 200


async def test_no_token_and_two_tokens_open_nothing(connect: Connect) -> None:
    nothing = await connect().get("/v1/partners")
    assert (nothing.status_code, nothing.json()["code"]) == (401, "token-missing")
    two = [("Authorization", "Bearer a.b.c"), ("Authorization", "Bearer a.b.c")]
    assert (await connect().get("/v1/partners", headers=two)).status_code == 401
