"""The table of signing keys, `signing_secret`, and how a private key lies in it: sealed, never in the clear.

The kit's vault seals it, bound to the key's own id, so a dump of the database signs nothing and rows cannot be
swapped. The public sides are copied into the kit's `signing_key` by `insert`.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

from channel_events.partner import SigningKeyBody
from channel_kit.auth import remember_keys
from channel_kit.database import Read, Write
from partner_svc.key.rules import SigningKey

_LOCKS = 815  # first key of this service's advisory locks
_KEY_LOCK = 2


class Sealed(NamedTuple):
    """A key and its private part under seal."""

    key: SigningKey
    private: bytes


async def lock(tx: Write) -> None:
    """Alone with the keys until the transaction ends."""
    await tx.rows("select pg_advisory_xact_lock($1::int, $2::int)", _LOCKS, _KEY_LOCK)


async def unexpired(tx: Read) -> list[Sealed]:
    """The keys that are, or will be, believed; oldest first."""
    rows = await tx.rows(
        """
        select key_id, kid, public_jwk::text as jwk, not_before, not_after, sealed
        from signing_secret where not_after > now() order by not_before, kid
        """
    )
    return [
        Sealed(
            SigningKey(row.key_id, row.kid, json.loads(row.jwk), row.not_before, row.not_after),
            bytes(row.sealed),
        )
        for row in rows
    ]


async def insert(tx: Write, keys: Sequence[Sealed]) -> None:
    """New keys, announced once each, and the copies that this service itself verifies with."""
    await tx.execute(
        """
        insert into signing_secret (key_id, kid, sealed, public_jwk, not_before, not_after, stream_version)
        select key_id, kid, sealed, jwk::json, not_before, not_after, 1
        from unnest($1::uuid[], $2::text[], $3::bytea[], $4::text[], $5::timestamptz[], $6::timestamptz[])
          as n(key_id, kid, sealed, jwk, not_before, not_after)
        """,
        [each.key.key_id for each in keys],
        [each.key.kid for each in keys],
        [each.private for each in keys],
        [json.dumps(each.key.public_jwk) for each in keys],
        [each.key.not_before for each in keys],
        [each.key.not_after for each in keys],
    )
    await remember_keys(tx, [(each.key.key_id, body(each.key)) for each in keys])


def body(key: SigningKey) -> SigningKeyBody:
    """The key as it is announced and copied."""
    return SigningKeyBody(
        kid=key.kid, public_jwk=key.public_jwk, not_before=key.not_before, not_after=key.not_after
    )
