"""Reference data that arrives while a fact is in flight.

An order batch reads "no binding", the binding handler finds "no order", both commit, and nobody ever joins
them. So a batch that *reads* reference copies first takes one lock shared; whoever *changes* a copy takes it
exclusively, makes the change and only marks what it touches; a drain works the marks off in batches. This lock
comes before every row lock of the transaction.
"""

from collections.abc import Sequence
from uuid import UUID

from channel_kit.database import Write

_LOCK = 816


async def shared(tx: Write) -> None:
    """Before reading reference copies that decide something. Held until the transaction ends."""
    await tx.rows("select pg_advisory_xact_lock_shared($1)", _LOCK)


async def exclusive(tx: Write) -> None:
    """Before changing a reference copy. Waits for the batches that are reading."""
    await tx.rows("select pg_advisory_xact_lock($1)", _LOCK)


async def mark(tx: Write, kind: str, ids: Sequence[UUID]) -> None:
    """Says that these things are to be derived again; marking twice is marking once."""
    if ids:
        await tx.execute(
            """
            insert into rederive (kind, id) select $1, id from unnest($2::uuid[]) id order by id
            on conflict (kind, id) do update set at = clock_timestamp()
            """,
            kind,
            sorted(set(ids)),
        )


async def take(tx: Write, kind: str, limit: int = 200) -> list[UUID]:
    """Takes up to `limit` marks, oldest first; they are gone once this transaction commits."""
    rows = await tx.rows(
        """
        delete from rederive where kind = $1 and id in (
          select id from rederive where kind = $1 order by at, id limit $2 for update skip locked)
        returning id
        """,
        kind,
        limit,
    )
    return sorted(row.id for row in rows)
