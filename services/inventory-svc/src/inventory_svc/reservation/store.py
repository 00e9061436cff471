"""Answers kept by Idempotency-Key for a whole batch of reservations. Called by `reservation.actions` only.

The same rows as the kit's `once` writes, but many at a time: requests that wait at one moment share a transaction.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from channel_kit import arrays
from channel_kit.database import Read, Write
from channel_kit.idempotency import KEEP_DAYS
from channel_kit.statements import Statement

ROUTE = "/v1/reservations"
_LOCK_SEED = 0x4E5


class Kept(NamedTuple):
    """An answer given before."""

    fingerprint: bytes
    status: int
    body: str


class Claims(NamedTuple):
    """What is known of a batch's keys, by their position in it."""

    now: datetime
    """When the transaction began, by the database's clock."""
    mine: list[bool]
    """Nobody else is working on it; claimed until the transaction ends."""
    kept: dict[int, Kept]


async def claim(tx: Write, keys: Sequence[tuple[str, str]]) -> Claims:
    """Claims (subject, key) pairs and reads the answers that were given to them before.

    In one statement, so an answer that a rival committed between the statement's beginning and the claim is not
    seen: `keep` then touches fewer rows than it was given. Where nothing is kept, ask `answered`.
    """
    opening = {subject: json.dumps([subject, ROUTE])[:-1] for subject in {subject for subject, _ in keys}}
    # The text of [subject, route, key]; a key has no character that JSON would escape.
    named = [(subject, key, f'{opening[subject]}, "{key}"]') for subject, key in keys]
    (row,) = await tx.rows(_CLAIM, *arrays.columns(named, _CLAIM_TYPES), ROUTE, _LOCK_SEED)
    now, mine, *found = row
    kept = {n - 1: Kept(*each) for n, *each in zip(*found, strict=True)} if found[0] else {}
    return Claims(now, mine, kept)


_CLAIM_TYPES = ("text", "text", "text")
_CLAIM = f"""
with claimed as materialized (
  select n, subject, key, pg_try_advisory_xact_lock(hashtextextended(name, $5)) as mine
  from {arrays.unnest(_CLAIM_TYPES)} with ordinality as t(subject, key, name, n))
select now(), array_agg(mine order by n), array_agg(n) filter (where found), array_agg(fingerprint) filter (where found),
       array_agg(status) filter (where found), array_agg(body) filter (where found)
from claimed left join (select *, true as found from idempotency where route = $4 and expires_at > now()) i
  on i.subject = claimed.subject and i.key = claimed.key
"""  # noqa: S608


async def answered(tx: Read, keys: Sequence[tuple[str, str]]) -> bool:
    """Whether an answer is kept for any of these (subject, key)."""
    found: bool = await tx.value(_ANSWERED, *arrays.columns(keys, _KEY_TYPES), ROUTE)
    return found


_KEY_TYPES = ("text", "text")
_ANSWERED = f"""
select exists (
  select from {arrays.unnest(_KEY_TYPES)} as t(subject, key)
  join idempotency i on i.subject = t.subject and i.route = $3 and i.key = t.key and i.expires_at > now())
"""  # noqa: S608


def keep(answers: Sequence[tuple[str, str, Kept]]) -> Statement:
    """Keeps answers for repetitions; touches no row of a key that has one already."""
    rows = [(subject, key, *answer) for subject, key, answer in answers]
    return Statement(_KEEP, [*arrays.columns(rows, _ANSWER_TYPES), ROUTE, KEEP_DAYS])


_ANSWER_TYPES = ("text", "text", "bytea", "integer", "text")
_KEEP = f"""
insert into idempotency (subject, route, key, fingerprint, status, body, expires_at)
select subject, $6, key, fingerprint, status, body, now() + make_interval(days => $7)
from {arrays.unnest(_ANSWER_TYPES)} as t(subject, key, fingerprint, status, body)
on conflict (subject, route, key) do update
set fingerprint = excluded.fingerprint, status = excluded.status, body = excluded.body, expires_at = excluded.expires_at
where idempotency.expires_at <= now()
"""  # noqa: S608
