"""What can be done to clients: register, rotate, revoke, and exchange a secret for a token.

A secret leaves this module once, in the answer to whoever asked for it, and is stored as a digest. Called by this
noun's routes; `register_admin` by the service after its migrations.
"""

import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from channel_kit import auth
from channel_kit.clock import now
from channel_kit.database import Read, Write
from channel_kit.ids import uuid7
from channel_kit.problems import BadRequest, Conflict, NotFound, Problem, Unprocessable
from channel_kit.vault import Vault
from partner_svc.client import rules, store
from partner_svc.client.rules import Client, Secret
from partner_svc.key import actions as key
from partner_svc.partner import actions as partner
from partner_svc.partner.rules import Refusal


class InvalidClient(Problem):
    status = 401
    code = "invalid-client"
    title = "The client identifier or the secret is not accepted"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Basic realm="qudao"'}, error="invalid_client")


class InvalidScope(BadRequest):
    code = "invalid-scope"
    title = "The client does not hold every scope that it asks for"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, error="invalid_scope")


class UnknownScope(Unprocessable):
    code = "unknown-scope"
    title = "Some of the scopes do not exist; see the documentation"


class ScopeReserved(Unprocessable):
    code = "scope-reserved"
    title = "Some of the scopes are never given to a partner's client"


class ExpiryPassed(Unprocessable):
    code = "expiry-passed"
    title = "The client would be over before it begins; choose a later expires_at"


class ClientRevoked(Conflict):
    code = "client-revoked"
    title = "The client is revoked for ever; register a new one"


class Issued(NamedTuple):
    """A client and the secret that was made for it, which cannot be read again."""

    client: Client
    secret: str


class Token(NamedTuple):
    """An access token, what it is good for, and for how many seconds."""

    access_token: str
    scopes: frozenset[str]
    expires_in: int


async def register(
    tx: Write,
    *,
    name: str,
    scopes: frozenset[str],
    partner_id: UUID | None,
    expires_at: datetime | None,
    created_by: str,
) -> Issued:
    """A new client. Raises `UnknownScope`, `ScopeReserved`, `ExpiryPassed`, `UnknownPartner`, `PartnerTerminated`."""
    present = now()
    if refusal := rules.grantable(scopes, partner_id):
        partner.refuse(refusal, UnknownScope, ScopeReserved)
    if expires_at is not None and expires_at <= present:
        raise ExpiryPassed
    if partner_id is not None:
        answer = (await partner.known(tx, [partner_id]))[partner_id]
        if isinstance(answer, Refusal):
            partner.refuse(answer, partner.UnknownPartner, partner.PartnerTerminated)
    secret = new_secret()
    stored = (Secret(rules.digest(secret), present),)
    client = Client(
        f"client-{uuid7().hex}", name, scopes, partner_id, created_by, present, expires_at, None, stored
    )
    await store.save(tx, [client])
    return Issued(client, secret)


async def rotate(tx: Write, client_id: str, grace: timedelta) -> Issued:
    """A new secret; the newest one before it stays good until the grace ends, older ones end now.

    Raises `NotFound`, `ClientRevoked`.
    """
    client = await _locked(tx, client_id)
    if client.revoked_at is not None:
        raise ClientRevoked
    secret = new_secret()
    remaining = rules.rotated(client.secrets, Secret(rules.digest(secret), now()), grace)
    after = replace(client, secrets=remaining, revision=client.revision + 1)
    await store.save(tx, [after])
    return Issued(after, secret)


async def revoke(tx: Write, client_id: str) -> Client:
    """The client without secrets, for ever; no token is given from here on. Raises `NotFound`."""
    client = await _locked(tx, client_id)
    if client.revoked_at is not None:
        return client
    after = replace(client, revoked_at=now(), secrets=(), revision=client.revision + 1)
    await store.save(tx, [after])
    return after


async def exchange(tx: Read, vault: Vault, client_id: str, secret: str, scope: str | None) -> Token:
    """A token for a client that shows its secret. Raises `InvalidClient`, `InvalidScope`, `KeysNotYetKnown`."""
    present = now()
    client = (await store.by_ids(tx, [client_id])).get(client_id)
    if not rules.authenticate(client, secret, present) or client is None:
        raise InvalidClient
    scopes = rules.requested_scopes(client, scope)
    if isinstance(scopes, Refusal):
        raise InvalidScope(scopes.detail)
    signing = await key.signing(tx, vault)
    seconds = int(rules.token_life(client, present).total_seconds())
    access_token = auth.sign(
        signing.pem,
        signing.kid,
        subject=client.client_id,
        scopes=scopes,
        partner_id=client.partner_id,
        lifetime_seconds=seconds,
        issued_at=present,
    )
    return Token(access_token, scopes, seconds)


async def register_admin(tx: Write, client_id: str, secret: str) -> bool:
    """Make sure that this client exists, holds every scope and takes exactly this secret; True when it changed.

    Raises `ValueError` for an identifier or a secret that is not fit: a digest protects random secrets only.
    """
    if not rules.is_client_id(client_id):
        raise ValueError("QUDAO_ADMIN_CLIENT_ID must be 1 to 100 visible ASCII characters")
    if len(secret) < rules.SECRET_LENGTH_MIN:
        raise ValueError(
            f"QUDAO_ADMIN_CLIENT_SECRET needs {rules.SECRET_LENGTH_MIN} random characters or more"
        )
    present = now()
    before = (await store.by_ids(tx, [client_id], lock=True)).get(client_id)
    if before is None:
        wanted = Client(client_id, "admin", rules.SCOPES, None, "migration", present, None, None, ())
    else:
        wanted = replace(before, scopes=rules.SCOPES, expires_at=None, revoked_at=None)
    held = [
        each for each in wanted.secrets if each.digest == rules.digest(secret) and each.expires_at is None
    ]
    if wanted == before and held == list(before.secrets):
        return False
    stored = tuple(held) or (Secret(rules.digest(secret), present),)
    revision = wanted.revision if before is None else before.revision + 1
    await store.save(tx, [replace(wanted, secrets=stored, revision=revision)])
    return True


def new_secret() -> str:
    """256 random bits after a prefix that scanners for leaked secrets can look for."""
    return rules.SECRET_PREFIX + secrets.token_urlsafe(32)


async def _locked(tx: Write, client_id: str) -> Client:
    client = (await store.by_ids(tx, [client_id], lock=True)).get(client_id)
    if client is None:
        raise NotFound
    return client
