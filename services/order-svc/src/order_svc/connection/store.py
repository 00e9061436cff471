"""Connections and their sealed secrets."""

import base64
import json
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from channel_kit.database import Read, Row, Write
from channel_kit.vault import Vault
from order_svc.connection.rules import Connection, Secret

_SELECT = """
select c.connection_id, c.platform, c.shop_id, c.slug, c.state, c.revision, c.last_delivery_at, c.created_at,
  coalesce((select json_agg(json_build_array(s.secret_id, encode(s.sealed, 'base64'), s.expires_at) order by s.created_at desc)
            from connection_secret s where s.connection_id = c.connection_id
              and (s.expires_at is null or s.expires_at > now())), '[]')::text as secrets
from connection c
"""


async def by_slug(tx: Read, vault: Vault, platform: str, slug: str) -> Connection | None:
    """The connection with its live secrets, newest first."""
    row = await tx.row(_SELECT + "where c.platform = $1 and c.slug = $2", platform, slug)
    return None if row is None else _connection(row, vault)


async def by_shop(tx: Read, vault: Vault, platform: str, shop_id: str) -> Connection | None:
    row = await tx.row(_SELECT + "where c.platform = $1 and c.shop_id = $2", platform, shop_id)
    return None if row is None else _connection(row, vault)


async def page(tx: Read, after: UUID | None, limit: int) -> Sequence[Row]:
    """Rows for people: no secrets are opened."""
    return await tx.rows(
        _SELECT + "where $1::uuid is null or c.connection_id > $1 order by c.connection_id limit $2",
        after,
        limit,
    )


async def insert(tx: Write, connection: Connection) -> bool:
    """False when the shop or the slug is taken on this platform."""
    return bool(
        await tx.execute(
            """
            insert into connection (connection_id, platform, shop_id, slug, state) values ($1, $2, $3, $4, $5)
            on conflict do nothing
            """,
            connection.connection_id,
            connection.platform,
            connection.shop_id,
            connection.slug,
            connection.state,
        )
    )


async def add_secret(tx: Write, vault: Vault, connection_id: UUID, secret: Secret) -> None:
    await tx.execute(
        "insert into connection_secret (secret_id, connection_id, sealed, expires_at) values ($1, $2, $3, $4)",
        secret.secret_id,
        connection_id,
        vault.close(secret.text, str(secret.secret_id)),
        secret.expires_at,
    )


async def expire_secrets(tx: Write, connection_id: UUID, at: datetime) -> None:
    """The secrets so far end at `at`, unless they end before."""
    await tx.execute(
        """
        update connection_secret set expires_at = least(coalesce(expires_at, $2), $2) where connection_id = $1
        """,
        connection_id,
        at,
    )


async def touch(tx: Write, connection_id: UUID) -> int:
    """Moves the revision; returns the new one."""
    return int(
        await tx.value(
            "update connection set revision = revision + 1 where connection_id = $1 returning revision",
            connection_id,
        )
    )


def _connection(row: Row, vault: Vault) -> Connection:
    found = []
    for secret_id, sealed, expires_at in json.loads(row.secrets):
        text = vault.open(base64.b64decode(sealed), secret_id)
        if text is not None:  # sealed under a lost key: useless, and the signature check will say so
            found.append(
                Secret(UUID(secret_id), text, datetime.fromisoformat(expires_at) if expires_at else None)
            )
    return Connection(
        row.connection_id, row.platform, row.shop_id, row.slug, row.state, row.revision, tuple(found)
    )
