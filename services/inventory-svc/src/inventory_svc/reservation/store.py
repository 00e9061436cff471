"""Answers kept by Idempotency-Key for a whole batch of reservations. Called by `reservation.actions` only.

The same rows as the kit's `once` writes, but many at a time: requests that wait at one moment share a transaction.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

from channel_kit.database import Write
from channel_kit.idempotency import KEEP_DAYS

ROUTE = "/v1/reservations"
_LOCK_SEED = 0x4E5


class Kept(NamedTuple):
    """An answer given before."""

    fingerprint: bytes
    status: int
    body: str


async def claim(tx: Write, keys: Sequence[tuple[str, str]]) -> list[bool]:
    """Which of these (subject, key) nobody else is working on; claimed until this transaction ends."""
    rows = await tx.rows(
        """
        select pg_try_advisory_xact_lock(hashtextextended(name, $2)) as mine
        from unnest($1::text[]) with ordinality as t(name, n) order by n
        """,
        [json.dumps([subject, ROUTE, key]) for subject, key in keys],
        _LOCK_SEED,
    )
    return [row.mine for row in rows]


async def kept(tx: Write, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Kept]:
    """The answers that were given to these (subject, key) before."""
    rows = await tx.rows(
        """
        select i.subject, i.key, i.fingerprint, i.status, i.body
        from unnest($1::text[], $2::text[]) as t(subject, key)
        join idempotency i on i.subject = t.subject and i.route = $3 and i.key = t.key and i.expires_at > now()
        """,
        [subject for subject, _ in keys],
        [key for _, key in keys],
        ROUTE,
    )
    return {(row.subject, row.key): Kept(bytes(row.fingerprint), row.status, row.body) for row in rows}


async def keep(tx: Write, answers: Sequence[tuple[str, str, Kept]]) -> None:
    """Keeps answers for repetitions."""
    if not answers:
        return
    await tx.execute(
        """
        insert into idempotency (subject, route, key, fingerprint, status, body, expires_at)
        select subject, $6, key, fingerprint, status, body, now() + make_interval(days => $7)
        from unnest($1::text[], $2::text[], $3::bytea[], $4::integer[], $5::text[])
          as t(subject, key, fingerprint, status, body)
        on conflict (subject, route, key) do update
        set fingerprint = excluded.fingerprint, status = excluded.status, body = excluded.body,
            expires_at = excluded.expires_at
        where idempotency.expires_at <= now()
        """,
        [subject for subject, _, _ in answers],
        [key for _, key, _ in answers],
        [answer.fingerprint for _, _, answer in answers],
        [answer.status for _, _, answer in answers],
        [answer.body for _, _, answer in answers],
        ROUTE,
        KEEP_DAYS,
    )
