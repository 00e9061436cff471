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
from partner_svc.key import rules, store
from partner_svc.key.rules import SigningKey
from partner_svc.key.store import Seal, Sealed

log = structlog.get_logger(__name__)


class Signing(NamedTuple):
    """The key id and the private key, as PEM, to sign with now."""

    kid: str
    pem: str


async def make_due(tx: Write, seal: Seal) -> int:
    """Make and announce the next key when it is due; returns 1 then, else 0.

    A key that cannot be opened (the secret key was replaced) counts as absent for signing; others still believe
    what it signed.
    """
    await store.lock(tx)
    usable = [each.key for each in await store.unexpired(tx) if seal.open(each) is not None]
    window = rules.next_window(usable, now())
    if window is None:
        return 0
    kid, pem, public_jwk = new_key()
    key = SigningKey(uuid7(), kid, public_jwk, *window)
    await store.insert(tx, [Sealed(key, seal.close(kid, pem))])
    await announce(tx, [Announcement(PARTNER_SIGNING_KEY_PUBLISHED, key.key_id, 1, store.body(key), uuid7())])
    log.info("a signing key was made", kid=kid, not_before=str(key.not_before), not_after=str(key.not_after))
    return 1


async def signing(tx: Read, seal: Seal) -> Signing:
    """The key that signs now. Raises `KeysNotYetKnown` while there is none (a worker makes it within a minute)."""
    opened = {each.key.kid: (each.key, pem) for each in await store.unexpired(tx) if (pem := seal.open(each))}
    key = rules.signer([key for key, _ in opened.values()], now())
    if key is None:
        raise KeysNotYetKnown
    return Signing(key.kid, opened[key.kid][1])


async def published(tx: Read) -> list[SigningKey]:
    """The keys that anybody may know."""
    return [each.key for each in await store.unexpired(tx)]
