"""Who calls: access tokens, the keys they are verified with, and what a route demands.

Tokens are JWTs signed with Ed25519 and nothing else; partner-svc signs, every service verifies from its
own copy of the public keys. A route declares `scope(…)`, or `public` when anybody may call it;
`http.create_app` refuses a route with neither. What a caller may see is row level security's business:
`Caller.actor` is what `Database.read` and `write` take.
"""

import asyncio
import base64
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast
from uuid import UUID

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from fastapi import Depends, Request

from channel_events.partner import SigningKeyBody
from channel_kit.clock import now
from channel_kit.database import STAFF, Actor, Database, Write
from channel_kit.http import database
from channel_kit.ids import uuid7
from channel_kit.problems import Problem, Unavailable

ALGORITHM: Final = "EdDSA"
ISSUER: Final = "qudao"
AUDIENCE: Final = "qudao-api"
ADMIN: Final = "admin"
LIFETIME_SECONDS_MAX: Final = 15 * 60
LEEWAY_SECONDS: Final = 30
TOKEN_CHARACTERS_MAX: Final = 4096
KEYS_FRESH_SECONDS: Final = 60
RELOAD_SECONDS_MIN: Final = 1
VERIFIED_MAX: Final = 2_000

_KID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_SUBJECT = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)


class TokenMissing(Problem):
    status = 401
    code = "token-missing"
    title = "Send an access token as Authorization: Bearer …"

    def __init__(self, detail: str = "") -> None:
        parameters = "" if type(self) is TokenMissing else ', error="invalid_token"'
        super().__init__(detail, headers={"WWW-Authenticate": f'Bearer realm="qudao"{parameters}'})


class TokenInvalid(TokenMissing):
    code = "token-invalid"
    title = "The access token is not acceptable; obtain a new one"


class TokenExpired(TokenMissing):
    code = "token-expired"
    title = "The access token has expired; obtain a new one"


class ScopeMissing(Problem):
    status = 403
    code = "scope-missing"
    title = "The access token lacks a scope; ask for a client that has it"


class StaffOnly(Problem):
    status = 403
    code = "staff-only"
    title = "This is for clients of the brand itself, not for those of a partner"


class KeysNotYetKnown(Unavailable):
    code = "keys-not-yet-known"
    title = "This service has not yet received any signing key; send it again after the time in Retry-After"


@dataclass(frozen=True, slots=True)
class Caller:
    """The bearer of a valid token. Without a partner the caller is staff."""

    subject: str
    scopes: frozenset[str]
    partner_id: UUID | None = None

    @property
    def actor(self) -> Actor:
        """On whose behalf the database works: the partner, or staff."""
        return STAFF if self.partner_id is None else Actor.partner(self.partner_id)

    def may(self, scope: str) -> bool:
        """Whether the caller holds the scope; `admin` implies all."""
        return scope in self.scopes or ADMIN in self.scopes


@dataclass(frozen=True, slots=True)
class Key:
    """A public key and when it may be used."""

    kid: str
    public: Ed25519PublicKey
    not_before: datetime
    not_after: datetime


class KeyRing:
    """The public keys of one process, loaded at need: fresh for a minute, at most one load a second.

    It also remembers whose tokens were verified with which key, since a signature costs more than most
    routes; key and expiry are checked every time.
    """

    def __init__(self, load: Callable[[], Awaitable[Sequence[Key]]]) -> None:
        self._load = load
        self._keys: dict[str, Key] = {}
        self._loaded_at = -float("inf")
        self._loading = asyncio.Lock()
        self.verified: dict[str, tuple[Key, int, Caller]] = {}

    async def get(self, kid: str) -> Key:
        """The key of this id, if it may be used now. Raises `KeysNotYetKnown` or `TokenInvalid`."""
        age = time.monotonic() - self._loaded_at
        if age > KEYS_FRESH_SECONDS or (kid not in self._keys and age > RELOAD_SECONDS_MIN):
            await self._reload()
        if not self._keys:
            raise KeysNotYetKnown
        key, moment = self._keys.get(kid), now()
        leeway = timedelta(seconds=LEEWAY_SECONDS)
        if key is None or not key.not_before - leeway <= moment < key.not_after:
            raise TokenInvalid
        return key

    async def _reload(self) -> None:
        started_at = self._loaded_at
        async with self._loading:
            if self._loaded_at != started_at:
                return  # Somebody else loaded while this one waited.
            keys = await self._load()
            self._keys = {key.kid: key for key in keys}
            self._loaded_at = time.monotonic()


async def stored_keys(database: Database) -> list[Key]:
    """The keys of the service's `signing_key` table that have not run out."""
    async with database.read(STAFF) as tx:
        rows = await tx.rows(
            """
            select kid, public_jwk::text as jwk, not_before, not_after
            from signing_key where not_after > now()
            """
        )
    return [Key(row.kid, public_key(json.loads(row.jwk)), row.not_before, row.not_after) for row in rows]


async def remember_keys(tx: Write, keys: Sequence[tuple[UUID, SigningKeyBody]]) -> None:
    """Copy announced keys, each with its aggregate id, into `signing_key`. A later one of a kid prevails."""
    latest = {body.kid: (key_id, body) for key_id, body in keys}
    if not latest:
        return
    kids = sorted(latest)
    bodies = [latest[kid][1] for kid in kids]
    await tx.execute(
        """
        insert into signing_key (kid, key_id, public_jwk, not_before, not_after)
        select kid, key_id, jwk::json, not_before, not_after
        from unnest($1::text[], $2::uuid[], $3::text[], $4::timestamptz[], $5::timestamptz[])
            as key (kid, key_id, jwk, not_before, not_after)
        on conflict (kid) do update
        set key_id = excluded.key_id, public_jwk = excluded.public_jwk,
            not_before = excluded.not_before, not_after = excluded.not_after
        """,
        kids,
        [latest[kid][0] for kid in kids],
        [json.dumps(body.public_jwk) for body in bodies],
        [body.not_before for body in bodies],
        [body.not_after for body in bodies],
    )


def scope(*names: str, staff: bool = False) -> Any:
    """A route's demand: a valid token with all these scopes. The dependency's value is the `Caller`.

    `staff` refuses clients that act for a partner, whatever their scopes: what lies there is the brand's own.
    """
    if not names:
        raise TypeError("name at least one scope, or mark the route as public")

    async def authorise(request: Request) -> Caller:
        caller = await authenticate(request)
        missing = [name for name in names if not caller.may(name)]
        if missing:
            raise ScopeMissing(f"It needs {' and '.join(missing)}.", scopes=missing)
        if staff and caller.partner_id is not None:
            raise StaffOnly
        return caller

    authorise.guard = True  # type: ignore[attr-defined]  # http.assert_guarded looks for it
    authorise.scopes = names  # type: ignore[attr-defined]  # openapi documents them
    return Depends(authorise)


async def _anybody() -> None:
    return None


_anybody.guard = True  # type: ignore[attr-defined]

public: Final = Depends(_anybody)
"""Marks a route that anybody may call: `@router.get("/v1/jwks", dependencies=[public])`."""


async def authenticate(request: Request) -> Caller:
    """The caller of the bearer token. Raises the four problems of tokens and keys above."""
    headers = request.headers.getlist("authorization")
    if not headers:
        raise TokenMissing
    kind, _, token = headers[0].partition(" ")
    if len(headers) > 1 or kind.lower() != "bearer":
        raise TokenInvalid("Send exactly one Authorization header, of the Bearer kind.")
    return await verify(token.strip(), key_ring(request))


def key_ring(request: Request) -> KeyRing:
    """The application's key ring: `app.state.key_ring`, made from its database when there is none yet."""
    state = request.app.state
    if not hasattr(state, "key_ring"):
        source = database(request)
        state.key_ring = KeyRing(lambda: stored_keys(source))
    return cast("KeyRing", state.key_ring)


async def verify(token: str, keys: KeyRing) -> Caller:
    """Check a token by RFC 8725: pinned algorithm, known key, issuer, audience, times."""
    if known := keys.verified.get(token):
        key, expires, caller = known
        if await keys.get(key.kid) == key:
            return _unless_expired(caller, expires)
    if len(token) > TOKEN_CHARACTERS_MAX or not _TOKEN.fullmatch(token):
        raise TokenInvalid
    try:
        header = jwt.get_unverified_header(token)
    except _UNREADABLE:
        raise TokenInvalid from None
    kid = header.pop("kid", None)
    # Nothing else may stand there: no embedded keys, no addresses of keys, no extensions.
    if header not in ({"alg": ALGORITHM}, {"alg": ALGORITHM, "typ": "JWT"}):
        raise TokenInvalid
    if not isinstance(kid, str) or not _KID.fullmatch(kid):
        raise TokenInvalid
    key = await keys.get(kid)
    try:
        claims = jwt.decode(
            token,
            key.public,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iat", "sub", "iss", "aud"], "verify_exp": False},
        )
    except _UNREADABLE:
        raise TokenInvalid from None
    caller, expires = _caller(claims), claims["exp"]
    if len(keys.verified) >= VERIFIED_MAX:
        keys.verified.clear()
    keys.verified[token] = (key, expires, caller)
    return _unless_expired(caller, expires)


def _unless_expired(caller: Caller, expires: int) -> Caller:
    if expires <= time.time():
        raise TokenExpired
    return caller


_UNREADABLE = (jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError, RecursionError)


def _caller(claims: dict[str, Any]) -> Caller:
    issued, expires = claims["iat"], claims["exp"]
    if not (_is_time(issued) and _is_time(expires)) or not 0 < expires - issued <= LIFETIME_SECONDS_MAX:
        raise TokenInvalid
    subject, scopes, partner = claims["sub"], claims.get("scope", ""), claims.get("partner")
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject) or not isinstance(scopes, str):
        raise TokenInvalid
    try:
        partner_id = None if "partner" not in claims else UUID(partner)
    except (ValueError, TypeError, AttributeError):
        raise TokenInvalid from None
    return Caller(subject, frozenset(scopes.split()), partner_id)


def _is_time(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def sign(
    private: Ed25519PrivateKey | str,
    kid: str,
    *,
    subject: str,
    scopes: Iterable[str],
    partner_id: UUID | None = None,
    lifetime_seconds: int = LIFETIME_SECONDS_MAX,
    issued_at: datetime | None = None,
) -> str:
    """An access token. `private` is a key or its PEM. Raises `ValueError` for a life beyond 15 minutes."""
    if not 0 < lifetime_seconds <= LIFETIME_SECONDS_MAX:
        raise ValueError(f"a token lives from 1 to {LIFETIME_SECONDS_MAX} seconds")
    issued = int((issued_at or now()).timestamp())
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": subject,
        "scope": " ".join(sorted(scopes)),
        "iat": issued,
        "nbf": issued,
        "exp": issued + lifetime_seconds,
        "jti": str(uuid7()),
    }
    if partner_id is not None:
        claims["partner"] = str(partner_id)
    return jwt.encode(claims, private_key(private), algorithm=ALGORITHM, headers={"kid": kid})


def new_key() -> tuple[str, str, dict[str, str]]:
    """A new signing key: its id, the private part as PEM (keep it encrypted), the public part as JWK."""
    private, kid = Ed25519PrivateKey.generate(), f"k-{uuid7().hex}"
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    coordinate = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": coordinate, "kid": kid, "alg": ALGORITHM, "use": "sig"}
    return kid, pem, jwk


def private_key(private: Ed25519PrivateKey | str) -> Ed25519PrivateKey:
    """The key behind a PEM. Raises `ValueError` unless it is Ed25519."""
    if isinstance(private, str):
        try:
            loaded = load_pem_private_key(private.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            loaded = None
        if not isinstance(loaded, Ed25519PrivateKey):
            raise ValueError("the private key is not an unencrypted Ed25519 PEM")
        return loaded
    return private


def public_key(jwk: dict[str, str]) -> Ed25519PublicKey:
    """The key of a public JWK. Raises `ValueError` unless it is Ed25519."""
    if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
        raise ValueError("the public key is not an Ed25519 JWK")
    padded = jwk["x"] + "=" * (-len(jwk["x"]) % 4)
    return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(padded))
