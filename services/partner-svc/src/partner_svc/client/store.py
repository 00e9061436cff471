"""The tables of clients: `client` and `client_secret`, which holds digests only.

No partner has any right on them; staff routes and the token endpoint read them.
"""

from collections.abc import Sequence

from channel_kit.database import Read, Row, Write
from partner_svc.client.rules import Client, Secret

_SELECT = """
select client_id, name, scopes, partner_id, created_by, created_at, expires_at, revoked_at, revision from client
"""


async def by_ids(tx: Read, client_ids: Sequence[str], *, lock: bool = False) -> dict[str, Client]:
    """These clients with their secrets; `lock` takes them for an update, in order."""
    suffix = 'order by client_id collate "C" for no key update' if lock else ""
    heads = await tx.rows(f"{_SELECT} where client_id = any($1::text[]) {suffix}", sorted(set(client_ids)))
    return {each.client_id: each for each in await _with_secrets(tx, heads)}


async def page(tx: Read, *, after: str | None, limit: int) -> list[Client]:
    """Clients by id, from after `after`."""
    heads = await tx.rows(
        f"{_SELECT} where ($1::text is null or client_id > $1) order by client_id limit $2", after, limit
    )
    return await _with_secrets(tx, heads)


async def save(tx: Write, clients: Sequence[Client]) -> None:
    """New clients, or all that may change of locked ones; of their secrets exactly those named remain."""
    for client in clients:
        await tx.execute(
            """
            insert into client
              (client_id, name, scopes, partner_id, created_by, created_at, expires_at, revoked_at, revision)
            values ($1, $2, $3::text[], $4::uuid, $5, $6, $7::timestamptz, $8::timestamptz, $9)
            on conflict (client_id) do update
            set name = excluded.name, scopes = excluded.scopes, expires_at = excluded.expires_at,
                revoked_at = excluded.revoked_at, revision = excluded.revision
            """,
            client.client_id,
            client.name,
            sorted(client.scopes),
            client.partner_id,
            client.created_by,
            client.created_at,
            client.expires_at,
            client.revoked_at,
            client.revision,
        )
    secrets = [(client.client_id, secret) for client in clients for secret in client.secrets]
    await tx.execute(
        "delete from client_secret where client_id = any($1::text[])", [each.client_id for each in clients]
    )
    await tx.execute(
        """
        insert into client_secret (client_id, digest, created_at, expires_at)
        select * from unnest($1::text[], $2::bytea[], $3::timestamptz[], $4::timestamptz[])
        """,
        [client_id for client_id, _ in secrets],
        [secret.digest for _, secret in secrets],
        [secret.created_at for _, secret in secrets],
        [secret.expires_at for _, secret in secrets],
    )


async def _with_secrets(tx: Read, heads: Sequence[Row]) -> list[Client]:
    rows = await tx.rows(
        """
        select client_id, digest, created_at, expires_at from client_secret
        where client_id = any($1::text[]) order by client_id, created_at, digest
        """,
        [head.client_id for head in heads],
    )
    secrets: dict[str, list[Secret]] = {}
    for row in rows:
        secrets.setdefault(row.client_id, []).append(
            Secret(bytes(row.digest), row.created_at, row.expires_at)
        )
    return [
        Client(
            head.client_id,
            head.name,
            frozenset(head.scopes),
            head.partner_id,
            head.created_by,
            head.created_at,
            head.expires_at,
            head.revoked_at,
            tuple(secrets.get(head.client_id, ())),
            head.revision,
        )
        for head in heads
    ]
