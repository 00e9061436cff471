"""Per (aggregate, consumer): the last version whose effect is in this database. The only guard against doubles.

At or below = seen, next = apply, beyond = wait. Read under lock, decided on, then compare-and-set in the
effect's own transaction; fewer rows back than sent means that a rival was first, and the transaction runs again.
It never expires, so a replay of any age does nothing. The aggregate type is part of the key, since a
reservation carries its order's id. An aggregate of which only later versions came has a mark at 0: without a
row there would be nothing that its rivals could lock.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from channel_kit.database import StaleWrite, Write


class Key(NamedTuple):
    aggregate_id: UUID
    aggregate_type: str


class Mark(NamedTuple):
    version: int
    event_id: UUID | None


NOTHING = Mark(0, None)


async def lock(tx: Write, consumer: str, keys: Sequence[Key]) -> dict[Key, Mark]:
    """Locks and reads the marks of `keys`; an aggregate never seen is absent."""
    rows = await tx.rows(
        """
        select w.aggregate_id, w.aggregate_type, w.last_version, w.last_event_id
        from watermark w
        join unnest($2::uuid[], $3::text[]) k(aggregate_id, aggregate_type) using (aggregate_id, aggregate_type)
        where w.consumer = $1 and w.aggregate_id = any($2::uuid[])
        order by w.aggregate_id, w.aggregate_type
        for update of w
        """,
        consumer,
        [key.aggregate_id for key in keys],
        [key.aggregate_type for key in keys],
    )
    return {
        Key(row.aggregate_id, row.aggregate_type): Mark(row.last_version, row.last_event_id) for row in rows
    }


async def advance(tx: Write, consumer: str, moves: Mapping[Key, tuple[Mark, Mark]]) -> None:
    """Moves each mark from what was read to what was applied. Raises StaleWrite when a rival moved one.

    `NOTHING` to `NOTHING` makes the mark of an aggregate whose first version has not come.
    """
    if not moves:
        return
    keys = sorted(moves)
    columns = (
        [key.aggregate_id for key in keys],
        [key.aggregate_type for key in keys],
        [moves[key][1].version for key in keys],
        [moves[key][1].event_id for key in keys],
        [moves[key][0].version for key in keys],
    )
    moved = await tx.value(
        """
        with t as (
          select * from unnest($2::uuid[], $3::text[], $4::bigint[], $5::uuid[], $6::bigint[])
            as t(aggregate_id, aggregate_type, version, event_id, expected)),
        changed as (
          update watermark w set last_version = t.version, last_event_id = t.event_id from t
          where w.aggregate_id = t.aggregate_id and w.aggregate_type = t.aggregate_type and w.consumer = $1
            and w.last_version = t.expected
          returning 1),
        added as (
          insert into watermark (aggregate_id, aggregate_type, consumer, last_version, last_event_id)
          select aggregate_id, aggregate_type, $1, version, event_id from t where expected = 0
          order by aggregate_id, aggregate_type
          on conflict do nothing returning 1)
        select (select count(*) from changed) + (select count(*) from added)
        """,
        consumer,
        *columns,
    )
    if moved != len(keys):
        raise StaleWrite(f"{len(keys) - moved} watermarks of {consumer} were moved by a rival")
