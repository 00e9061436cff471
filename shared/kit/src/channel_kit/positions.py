"""Where each consumer stands on each partition, written in the effect's own transaction.

The truth about progress is here, not in Kafka: a restored backup or a broker that lost its log is noticed
(another cluster id = start from the beginning; the watermark drops what was seen).
"""

from collections.abc import Mapping, Sequence

from channel_kit.database import Read, Row, Write

Partition = tuple[str, int]


async def load(tx: Read, consumer: str, cluster_id: str) -> dict[Partition, int]:
    """The next offset per (topic, partition), only where it was written against this cluster."""
    rows = await tx.rows(
        "select topic, partition, next_offset from feed_position where consumer = $1 and cluster_id = $2",
        consumer,
        cluster_id,
    )
    return {(row.topic, row.partition): row.next_offset for row in rows}


async def save(tx: Write, consumer: str, cluster_id: str, ends: Mapping[Partition, int]) -> None:
    """Moves the positions to the offset after the last record handled."""
    keys = sorted(ends)
    await tx.execute(
        """
        insert into feed_position (consumer, topic, partition, next_offset, cluster_id)
        select $1, topic, partition, next_offset, $2
        from unnest($3::text[], $4::int[], $5::bigint[]) t(topic, partition, next_offset)
        order by topic, partition
        on conflict (consumer, topic, partition) do update
          set next_offset = excluded.next_offset, cluster_id = excluded.cluster_id, handled_at = clock_timestamp()
        """,
        consumer,
        cluster_id,
        [topic for topic, _ in keys],
        [partition for _, partition in keys],
        [ends[key] for key in keys],
    )


async def to_replay(tx: Read, consumer: str) -> list[Partition]:
    """Partitions that an operator wants read again from the beginning."""
    rows = await tx.rows(
        "select topic, partition from feed_position where consumer = $1 and replay", consumer
    )
    return [(row.topic, row.partition) for row in rows]


async def ask_replay(tx: Write, consumer: str) -> int:
    """Asks the running feed to start over; returns the number of partitions."""
    return await tx.execute("update feed_position set replay = true where consumer = $1", consumer)


async def rewind(tx: Write, consumer: str, partitions: Sequence[Partition]) -> None:
    await tx.execute(
        """
        update feed_position p set next_offset = 0, replay = false
        from unnest($2::text[], $3::int[]) t(topic, partition)
        where p.consumer = $1 and p.topic = t.topic and p.partition = t.partition
        """,
        consumer,
        [topic for topic, _ in partitions],
        [partition for _, partition in partitions],
    )


async def every(tx: Read) -> list[Row]:
    """Where every consumer of this database stands: `consumer, topic, partition, next_offset, replay, handled_at`."""
    return await tx.rows(
        """
        select consumer, topic, partition, next_offset, replay, handled_at from feed_position
        order by consumer, topic, partition
        """
    )
