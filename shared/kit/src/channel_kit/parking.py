"""Events that cannot be applied now, kept in the consumer's database in their exact text.

`gap`: an earlier version is missing; drains itself when that one comes. `failed`: applying or decoding it
failed for good; waits for a redrive, and the later versions of its key wait behind it while other keys flow.
`redrive`: an operator asked for another try.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from channel_kit.database import Read, Row, Write
from channel_kit.watermark import Key

GAP, FAILED, REDRIVE = "gap", "failed", "redrive"


@dataclass(frozen=True, slots=True)
class Parked:
    key: Key
    version: int
    event: str
    reason: str
    error: str | None = None


async def load(tx: Read, consumer: str, keys: Sequence[Key]) -> list[Parked]:
    """What is parked under these keys, by key and version."""
    rows = await tx.rows(
        """
        select p.aggregate_id, p.aggregate_type, p.version, p.event, p.reason, p.error
        from parked p join unnest($2::uuid[], $3::text[]) k(aggregate_id, aggregate_type) using (aggregate_id, aggregate_type)
        where p.consumer = $1 order by p.aggregate_id, p.aggregate_type, p.version
        """,
        consumer,
        [key.aggregate_id for key in keys],
        [key.aggregate_type for key in keys],
    )
    return [
        Parked(Key(row.aggregate_id, row.aggregate_type), row.version, row.event, row.reason, row.error)
        for row in rows
    ]


async def save(tx: Write, consumer: str, parked: Sequence[Parked]) -> None:
    """Parks events; one that is parked already gets the new text, reason and error, and one attempt more."""
    if parked:
        await tx.execute(
            """
            insert into parked (consumer, aggregate_id, aggregate_type, version, event, reason, error)
            select $1, * from unnest($2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[])
            on conflict (consumer, aggregate_id, aggregate_type, version) do update
              set attempts = parked.attempts + 1, event = excluded.event, reason = excluded.reason,
                  error = coalesce(excluded.error, parked.error)
            """,
            consumer,
            [item.key.aggregate_id for item in parked],
            [item.key.aggregate_type for item in parked],
            [item.version for item in parked],
            [item.event for item in parked],
            [item.reason for item in parked],
            [item.error for item in parked],
        )


async def remove(tx: Write, consumer: str, upto: Sequence[tuple[Key, int]]) -> None:
    """Forgets what the watermark has passed: everything of each aggregate up to its version."""
    if upto:
        await tx.execute(
            """
            delete from parked p using unnest($2::uuid[], $3::text[], $4::bigint[]) k(aggregate_id, aggregate_type, version)
            where p.consumer = $1 and p.aggregate_id = k.aggregate_id and p.aggregate_type = k.aggregate_type
              and p.version <= k.version
            """,
            consumer,
            [key.aggregate_id for key, _ in upto],
            [key.aggregate_type for key, _ in upto],
            [version for _, version in upto],
        )


async def to_redrive(tx: Read, consumer: str, limit: int = 100) -> list[Key]:
    """Keys that an operator wants tried again."""
    rows = await tx.rows(
        "select distinct aggregate_id, aggregate_type from parked where consumer = $1 and reason = 'redrive' limit $2",
        consumer,
        limit,
    )
    return [Key(row.aggregate_id, row.aggregate_type) for row in rows]


async def ask_redrive(tx: Write, consumer: str | None) -> int:
    """Marks every failed event (of one consumer, or of all) for another try; returns how many."""
    return await tx.execute(
        "update parked set reason = 'redrive' where reason = 'failed' and ($1::text is null or consumer = $1)",
        consumer,
    )


async def count(tx: Read, consumer: str) -> int:
    """How many events of one consumer are parked."""
    return int(await tx.value("select count(*) from parked where consumer = $1", consumer))


async def counts(tx: Read) -> list[Row]:
    """`consumer, reason, count, first_at` of everything that is parked."""
    return await tx.rows(
        """
        select consumer, reason, count(*) as count, min(first_at) as first_at from parked
        group by consumer, reason order by consumer, reason
        """
    )


async def page(
    tx: Read,
    *,
    consumer: str | None,
    reason: str | None,
    after: tuple[str, UUID, str, int] | None,
    limit: int,
) -> list[Row]:
    """Parked events by consumer, key and version, after the given place; without their text."""
    return await tx.rows(
        """
        select consumer, aggregate_type, aggregate_id, version, reason, error, attempts, first_at from parked
        where ($1::text is null or consumer = $1) and ($2::text is null or reason = $2)
          and ($3::text is null or (consumer, aggregate_id, aggregate_type, version) > ($3, $4::uuid, $5::text, $6::bigint))
        order by consumer, aggregate_id, aggregate_type, version limit $7
        """,
        consumer,
        reason,
        *(after or (None, None, None, None)),
        limit,
    )
