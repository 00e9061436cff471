"""What can be done with signing keys: make the next one when it is due, and pick the one that signs.

`make_due` runs as a job in every worker; one of them makes the key. The client noun signs tokens with `signing`.
"""

from typing import NamedTuple

import structlog

from channel_events.catalog import PARTNER_SIGNING_KEY_PUBLISHED
from channel_kit.auth import KeysNotYetKnown, new_key
from channel_kit.clock import now
from channel_kit.database import Read, Write
from channel_kit.ids import uuid7
from channel_kit.outbox import Announcement, announce
from channel_kit.vault import Vault
from partner_svc.key import rules, store
from partner_svc.key.rules import SigningKey
from partner_svc.key.store import Sealed

log = structlog.get_logger(__name__)


class Signing(NamedTuple):
    """The key id and the private key, as PEM, to sign with now."""

    kid: str
    pem: str


async def make_due(tx: Write, vault: Vault) -> int:
    """Make and announce the next key when it is due; returns 1 then, else 0.

    A key that cannot be opened (the secret key was replaced) counts as absent for signing; others still believe
    what it signed.
    """
    await store.lock(tx)
    usable = [key for key, _ in await _opened(tx, vault)]
    window = rules.next_window(usable, now())
    if window is None:
        return 0
    kid, pem, public_jwk = new_key()
    key = SigningKey(uuid7(), kid, public_jwk, *window)
    await store.insert(tx, [Sealed(key, vault.close(pem, kid))])
    await announce(tx, [Announcement(PARTNER_SIGNING_KEY_PUBLISHED, key.key_id, 1, store.body(key), uuid7())])
    log.info("a signing key was made", kid=kid, not_before=str(key.not_before), not_after=str(key.not_after))
    return 1


async def signing(tx: Read, vault: Vault) -> Signing:
    """The key that signs now. Raises `KeysNotYetKnown` while there is none (a worker makes it within a minute)."""
    opened = await _opened(tx, vault)
    signer = rules.signer([key for key, _ in opened], now())
    if signer is None:
        raise KeysNotYetKnown
    return next(Signing(key.kid, pem) for key, pem in opened if key == signer)


async def published(tx: Read) -> list[SigningKey]:
    """The keys that anybody may know."""
    return [each.key for each in await store.unexpired(tx)]


async def _opened(tx: Read, vault: Vault) -> list[tuple[SigningKey, str]]:
    """The keys whose private part (PEM) this deployment's secret key opens."""
    sealed = await store.unexpired(tx)
    return [(each.key, pem) for each in sealed if (pem := vault.open(each.private, each.key.kid)) is not None]
