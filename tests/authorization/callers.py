"""Everybody who may come to the door with something in the hand, and what the guard must answer each.

Strangers hold nothing, or a token that is forged in one respect; staff and the partners A and B hold sound tokens
with no scope, with each scope alone, with exactly those of the operation and with all others.
"""

import base64
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import UUID

import jwt

from channel_kit import auth

from .house import House
from .operations import OPEN_TO_PARTNERS, PUBLIC, SCOPES, A, B, Operation

Headers = list[tuple[str, str]]
ADMITTED = (0, "")
"""Whatever the route then says, it is neither 401 nor 403."""


class Caller(NamedTuple):
    """One who comes: the row of the summary, and what is sent."""

    kind: str
    name: str
    headers: Headers
    scopes: frozenset[str] | None = None
    partner: UUID | None = None
    code: str = ""

    def expects(self, operation: Operation) -> tuple[int, str]:
        """Status and code, or ADMITTED."""
        if operation.name in PUBLIC:
            return ADMITTED
        if self.scopes is None:
            return 401, self.code
        if not set(operation.scopes) <= self.scopes and "admin" not in self.scopes:
            return 403, "scope-missing"
        if self.partner is not None and operation.name not in OPEN_TO_PARTNERS:
            return 403, "staff-only"
        return ADMITTED


def callers(house: House, operation: Operation) -> Iterator[Caller]:
    """All of them, for one operation."""
    for name, token in _forged(house).items():
        kind = "strangers: a forged token"
        code = "token-expired" if name == "expired" else "token-invalid"
        yield Caller(kind, name, _bearer(token), code=code)
    real = house.token("admin")
    for name, headers, code in (
        ("none", [], "token-missing"),
        ("two", _bearer(real) * 2, "token-invalid"),
        ("basic", [("Authorization", "Basic YTpi")], "token-invalid"),
        ("in the query's way", [("Authorization", real)], "token-invalid"),
    ):
        yield Caller("strangers: no token", name, headers, code=code)
    for who, partner in (("staff", None), ("partner A", A), ("partner B", B)):
        grants: dict[str, tuple[str, ...]] = {
            "no scope": (),
            "exactly its scopes": operation.scopes,
            "all other scopes": tuple(s for s in SCOPES if s not in operation.scopes and s != "admin"),
            "scopes that look like it": tuple(f"{s}s {s.upper()} {s[:-1]}" for s in operation.scopes),
        }
        for scope in SCOPES:
            if (scope,) != operation.scopes:
                grants[f"{scope} alone"] = (scope,)
        for grant, scopes in grants.items():
            kind = f"{who}: {grant if not grant.endswith('alone') else 'each scope alone'}"
            token = house.token(*scopes, partner=partner)
            held = frozenset(" ".join(scopes).split())
            yield Caller(kind, grant, _bearer(token), held, partner)


def _bearer(token: str) -> Headers:
    return [("Authorization", f"Bearer {token}")]


def _segment(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def _forged(house: House) -> dict[str, str]:
    """Tokens of an administrator that differ from a good one in one respect."""
    present = int(time.time())
    claims = {"iss": auth.ISSUER, "aud": auth.AUDIENCE, "sub": "staff", "scope": "admin"}
    claims |= {"iat": present, "nbf": present, "exp": present + 600}  # type: ignore[dict-item]
    ours = auth.private_key(house.pem)

    def signed(*, key: Any = ours, head: dict[str, Any] | None = None, **changes: Any) -> str:
        whole = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        return jwt.encode(whole, key, "EdDSA", {"kid": house.kid, **(head or {})})

    foreign_kid, foreign_pem, foreign_jwk = auth.new_key()
    foreign = auth.private_key(foreign_pem)
    of_a = house.token("orders:read", partner=A).split(".")
    confused = f"{_segment({'alg': 'HS256', 'typ': 'JWT', 'kid': house.kid})}.{_segment(claims)}"
    mac = hmac.digest(base64.urlsafe_b64decode(house.jwk["x"] + "="), confused.encode(), "sha256")
    unsigned = f"{_segment({'alg': 'none', 'typ': 'JWT', 'kid': house.kid})}.{_segment(claims)}."
    return {
        "expired": signed(iat=present - 800, nbf=present - 800, exp=present - 1),
        "alg none": unsigned,
        "alg none, signed": unsigned + "c2ln",
        "HS256 with the public key": f"{confused}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}",
        "signed by somebody else": signed(key=foreign),
        "another's key by its own name": signed(key=foreign, head={"kid": foreign_kid}),
        "its own key inside": signed(key=foreign, head={"jwk": foreign_jwk}),
        "key that is a path": signed(head={"kid": "../../../../dev/null"}),
        "key that is an address": signed(head={"kid": "https://example.com/key"}),
        "key at an address": signed(head={"jku": "https://example.com/keys"}),
        "for another audience": signed(aud="other"),
        "of another issuer": signed(iss="https://example.com"),
        "for no audience": signed(aud=None),
        "not yet valid": signed(nbf=present + 300),
        "issued in the future": signed(iat=present + 300, exp=present + 900),
        "valid for a day": signed(exp=present + 86_400),
        "valid for ever": signed(exp=None),
        "partner of no name": signed(partner=""),
        "A's made staff's": f"{of_a[0]}.{_segment(claims)}.{of_a[2]}",
        "half of it": signed()[:-20],
    }
