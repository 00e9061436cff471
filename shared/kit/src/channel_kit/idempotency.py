"""Idempotency-Key: a command that is sent twice has its effect once, and both senders get one answer.

The row lives in the transaction of the effect, so a crash leaves neither. The caller's subject is part
of the key: nobody can find or block another caller's keys. Answers are kept for seven days; refusals
are not kept, since nothing happened. Routes that move money or stock call `once`.
"""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel

from channel_kit.auth import Caller
from channel_kit.database import Write
from channel_kit.problems import BadRequest, Conflict, Unprocessable

KEEP_DAYS: Final = 7
REPLAYED_HEADER: Final = "Idempotent-Replayed"

# Another use of the same hash function elsewhere must not meet ours.
_LOCK_SEED = 0x1DE4
_KEY = re.compile(r'(?P<quote>"?)(?P<key>[A-Za-z0-9_-]{16,128})(?P=quote)', re.ASCII)


class KeyMissing(BadRequest):
    code = "idempotency-key-missing"
    title = "Send an Idempotency-Key header, new for each command and the same for each repetition"


class KeyMalformed(BadRequest):
    code = "idempotency-key-malformed"
    title = "The Idempotency-Key must be 16 to 128 letters, digits, hyphens or underscores"


class KeyReused(Unprocessable):
    code = "idempotency-key-reused"
    title = "This Idempotency-Key came with another body before; use a new key for a new command"


class InFlight(Conflict):
    code = "request-in-flight"
    title = "The same command is being worked on; ask again after the time in Retry-After"
    retry_after = 1


async def _key(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="16 to 128 of A-Z a-z 0-9 _ -; an answer is kept for seven days",
            json_schema_extra={"pattern": "^[A-Za-z0-9_-]{16,128}$"},
        ),
    ] = None,
) -> str:
    if idempotency_key is None:
        raise KeyMissing
    match = _KEY.fullmatch(idempotency_key)
    if match is None or len(request.headers.getlist("idempotency-key")) > 1:
        raise KeyMalformed
    return match["key"]


_key.required_headers = ("Idempotency-Key",)  # type: ignore[attr-defined]  # for the OpenAPI document

IdempotencyKey = Annotated[str, Depends(_key)]
"""A route parameter `key: IdempotencyKey`: the header's value, refused with 400 when absent or malformed."""


def fingerprint(command: BaseModel) -> bytes:
    """SHA-256 of the command's canonical JSON: independent of member order, blanks and escapes."""
    canonical = json.dumps(command.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).digest()


async def once(
    tx: Write,
    caller: Caller,
    route: str,
    key: str,
    fingerprint: bytes,
    run: Callable[[], Awaitable[tuple[int, BaseModel]]],
) -> Response:
    """Do `run` once per (caller, route, key) and answer its status and body; answer a repetition likewise.

    `route` names the operation and, when the path holds an id, that id too. Everything `run` changes must
    go through `tx`. Raises `InFlight` while a rival works on the same key, `KeyReused` for another body.
    """
    # The lock answers a rival at once; the primary key alone would make it wait for our COMMIT.
    lock_name = json.dumps([caller.subject, route, key])
    lock = "select pg_try_advisory_xact_lock(hashtextextended($1, $2))"
    if not await tx.value(lock, lock_name, _LOCK_SEED):
        raise InFlight
    stored = await tx.row(
        """
        select fingerprint, status, body from idempotency
        where subject = $1 and route = $2 and key = $3 and expires_at > now()
        """,
        caller.subject,
        route,
        key,
    )
    if stored is not None:
        if bytes(stored.fingerprint) != fingerprint:
            raise KeyReused
        return _answer(stored.status, stored.body, replayed=True)
    status, view = await run()
    body = view.model_dump_json(by_alias=True)
    await tx.execute(
        """
        insert into idempotency (subject, route, key, fingerprint, status, body, expires_at)
        values ($1, $2, $3, $4, $5, $6, now() + make_interval(days => $7))
        on conflict (subject, route, key) do update
        set fingerprint = excluded.fingerprint, status = excluded.status,
            body = excluded.body, expires_at = excluded.expires_at
        where idempotency.expires_at <= now()
        """,
        caller.subject,
        route,
        key,
        fingerprint,
        status,
        body,
        KEEP_DAYS,
    )
    return _answer(status, body, replayed=False)


async def purge(tx: Write, limit: int) -> int:
    """Delete up to `limit` answers whose time is over; returns how many."""
    return await tx.execute(
        """
        delete from idempotency where (subject, route, key) in (
            select subject, route, key from idempotency
            where expires_at <= now() order by expires_at limit $1 for update skip locked)
        """,
        limit,
    )


def _answer(status: int, body: str, *, replayed: bool) -> Response:
    headers = {REPLAYED_HEADER: "true"} if replayed else {}
    return Response(body, status, headers=headers, media_type="application/json")
