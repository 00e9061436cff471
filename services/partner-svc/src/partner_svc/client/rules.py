"""PURE: what a client may be given, its secrets, and what a token request gets.

A secret is 256 random bits, so its SHA-256 can be stored: nothing can be guessed offline, and a slow password hash
would only make the token endpoint easy to exhaust.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from partner_svc.partner.rules import Refusal

SCOPES: Final = frozenset(
    {
        "admin",
        "deliveries:replay",
        "insight:read",
        "orders:read",
        "orders:write",
        "partners:read",
        "partners:write",
        "plans:read",
        "plans:write",
        "statements:read",
        "stock:read",
        "stock:write",
    }
)
# These act for the enterprise as a whole; a client that belongs to a partner never holds them.
STAFF_ONLY: Final = frozenset({"admin", "deliveries:replay", "partners:write", "plans:write"})

SECRET_PREFIX: Final = "qd_"  # noqa: S105  what every secret begins with, so that leaks can be searched for
SECRET_LENGTH_MIN: Final = 40
GRACE_MAX: Final = timedelta(days=7)
TOKEN_LIFE: Final = timedelta(minutes=15)
_CLIENT_ID: Final = re.compile(r"[\x21-\x39\x3b-\x7e]{1,100}")
_NOBODY: Final = hashlib.sha256(b"nobody").digest()


@dataclass(frozen=True, slots=True)
class Secret:
    """A stored secret: its SHA-256 and until when it is taken (None = no end)."""

    digest: bytes
    created_at: datetime
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Client:
    """A client as stored; `partner_id` None = staff."""

    client_id: str
    name: str
    scopes: frozenset[str]
    partner_id: UUID | None
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    secrets: tuple[Secret, ...]
    revision: int = 1


def digest(secret: str) -> bytes:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def is_client_id(text: str) -> bool:
    """Whether this can be a client's identifier: visible ASCII without the colon that ends it in HTTP Basic."""
    return bool(_CLIENT_ID.fullmatch(text))


def grantable(scopes: Iterable[str], partner_id: UUID | None) -> Refusal | None:
    """None when a client may be given these scopes."""
    wanted = frozenset(scopes)
    if unknown := wanted - SCOPES:
        return Refusal("unknown-scope", f"{len(unknown)} of the scopes do not exist; see the documentation.")
    if partner_id is not None and (reserved := wanted & STAFF_ONLY):
        return Refusal("scope-reserved", f"A partner's client cannot hold: {' '.join(sorted(reserved))}.")
    return None


def is_live(client: Client, present: datetime) -> bool:
    """Whether the client may get tokens at all."""
    return client.revoked_at is None and (client.expires_at is None or present < client.expires_at)


def rotated(secrets: Sequence[Secret], new: Secret, grace: timedelta) -> tuple[Secret, ...]:
    """At most two live secrets: `new`, and the newest one before it until its grace ends; the rest end now."""
    present = new.created_at
    live = sorted(_live(secrets, present), key=lambda secret: secret.created_at)
    kept = tuple(
        replace(secret, expires_at=_earlier(secret.expires_at, present + grace))
        for secret in live[-1:]
        if grace
    )
    return (*kept, new)


def authenticate(client: Client | None, presented: str, present: datetime) -> bool:
    """Whether `presented` is a live secret of a live client.

    A client that does not exist takes the same steps as a wrong secret, in constant time per secret.
    """
    offered = digest(presented)
    stored = [secret.digest for secret in _live(client.secrets, present)] if client else []
    matched = False
    for candidate in (*stored, _NOBODY):
        matched |= hmac.compare_digest(offered, candidate) and candidate is not _NOBODY
    return matched and client is not None and is_live(client, present)


def requested_scopes(client: Client, scope: str | None) -> frozenset[str] | Refusal:
    """The scopes of the token: all the client has, or the subset it names, separated by spaces."""
    if scope is None or not scope.strip():
        return client.scopes
    wanted = frozenset(scope.split())
    if not wanted <= client.scopes:
        return Refusal("invalid-scope", "The client does not hold every scope it asks for.")
    return wanted


def token_life(client: Client, present: datetime) -> timedelta:
    """How long a token given now lasts: 15 minutes, never beyond the client itself."""
    if client.expires_at is None:
        return TOKEN_LIFE
    return max(timedelta(seconds=1), min(TOKEN_LIFE, client.expires_at - present))


def _live(secrets: Iterable[Secret], present: datetime) -> list[Secret]:
    return [secret for secret in secrets if secret.expires_at is None or present < secret.expires_at]


def _earlier(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else min(one, other)
