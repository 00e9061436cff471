"""Connecting a shop and rotating its secret; and finding the connection of a delivery, fast."""

import re
import time
from dataclasses import replace
from datetime import datetime

from channel_kit.clock import now
from channel_kit.database import STAFF, Database, Write
from channel_kit.ids import uuid7
from channel_kit.vault import Vault
from order_svc.connection import store
from order_svc.connection.rules import (
    GRACE,
    SLUG,
    Connection,
    ConnectionExists,
    Secret,
    UnknownConnection,
    check_secret,
    fresh_secret,
)

FRESH_SECONDS = 2.0
KNOWN_MAX = 10_000
_SLUG = re.compile(SLUG)


async def connect(
    tx: Write, vault: Vault, platform: str, shop_id: str, slug: str, secret: str | None
) -> Connection:
    """A new connection with its first secret (ours, when none is given). Raises ConnectionExists, UnusableSecret."""
    text = secret or fresh_secret(platform)
    check_secret(platform, text)
    connection = Connection(uuid7(), platform, shop_id, slug, "active", 1, (Secret(uuid7(), text),))
    if not await store.insert(tx, connection):
        raise ConnectionExists
    await store.add_secret(tx, vault, connection.connection_id, connection.secrets[0])
    return connection


async def rotate(
    tx: Write, vault: Vault, platform: str, slug: str, secret: str | None, grace_until: datetime | None
) -> Connection:
    """Adds a secret; the ones before stay good until `grace_until` (24 h when not said)."""
    connection = await store.by_slug(tx, vault, platform, slug)
    if connection is None:
        raise UnknownConnection
    text = secret or fresh_secret(platform)
    check_secret(platform, text)
    until = grace_until or now() + GRACE
    await store.expire_secrets(tx, connection.connection_id, until)
    fresh, at = Secret(uuid7(), text), now()
    await store.add_secret(tx, vault, connection.connection_id, fresh)
    revision = await store.touch(tx, connection.connection_id)
    live = (each for each in connection.secrets if until > at and each.live(at))
    return replace(connection, revision=revision, secrets=(fresh, *live))


class Connections:
    """The connections of one process, fresh for two seconds, so that a delivery costs no query of its own."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database, self._vault = database, vault
        self._known: dict[tuple[str, str], tuple[float, Connection | None]] = {}
        self._changes = 0

    async def get(self, platform: str, slug: str, *, seconds: float = FRESH_SECONDS) -> Connection | None:
        """The connection, at most `seconds` old; None where there is none."""
        if not _SLUG.fullmatch(slug):  # anybody may ask, with anything that a path can hold
            return None
        key, at = (platform, slug), time.monotonic()
        found = self._known.get(key)
        if found is not None and at - found[0] < seconds:
            return found[1]
        changes = self._changes
        async with self._database.read(STAFF) as tx:
            connection = await store.by_slug(tx, self._vault, platform, slug)
        if changes != self._changes:
            return connection  # read while one was being changed here: good for this delivery, not to be kept
        if len(self._known) >= KNOWN_MAX:  # strangers may ask for any slug
            self._known.clear()
        self._known[key] = (at, connection)
        return connection

    def forget(self, platform: str, slug: str) -> None:
        """After a change made by this process, so that it holds at once here."""
        self._changes += 1
        self._known.pop((platform, slug), None)
