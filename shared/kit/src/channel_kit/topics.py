"""Creating the topics and asking the broker who it is. Runs at set-up, never on a hot path."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from channel_events.topics import TOPICS, Topic

_SETTINGS = {"retention.ms": "-1", "cleanup.policy": "delete", "max.message.bytes": str(1024 * 1024)}


class WrongPartitions(Exception):
    """A topic exists with another number of partitions than it was born with here; keys would change places."""


async def create_topics(
    bootstrap: str, *, replication: int = 1, topics: Sequence[Topic] = TOPICS
) -> list[str]:
    """Creates the topics that are missing, with their partitions fixed at birth; returns their names.

    Retention is endless, so a new consumer starts at the beginning. Safe to run by several at once. Raises
    KafkaError when the broker refuses, WrongPartitions when a topic that is there does not fit.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        present = set(await admin.list_topics())
        await _check_partitions(admin, [topic for topic in topics if topic.name in present])
        missing = [topic for topic in topics if topic.name not in present]
        settings = {**_SETTINGS, **({"min.insync.replicas": "2"} if replication >= 3 else {})}
        if missing:
            answer = await admin.create_topics(
                [
                    NewTopic(topic.name, topic.partitions, replication, topic_configs=settings)
                    for topic in missing
                ]
            )
            for row in answer.topic_errors:
                error = for_code(row[1])
                if row[1] and error is not TopicAlreadyExistsError:
                    raise error(row)
        return [topic.name for topic in missing]
    finally:
        await admin.close()


async def _check_partitions(admin: AIOKafkaAdminClient, topics: Sequence[Topic]) -> None:
    described = await admin.describe_topics([topic.name for topic in topics]) if topics else []
    found = {topic["topic"]: len(topic["partitions"]) for topic in described}
    wrong = [
        f"{t.name} has {found[t.name]}, not {t.partitions}" for t in topics if found[t.name] != t.partitions
    ]
    if wrong:
        raise WrongPartitions("; ".join(wrong))


async def cluster_id(bootstrap: str) -> str:
    """The id of the Kafka cluster: another one than before means that positions mean nothing there."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5_000)
    try:
        await asyncio.wait_for(admin.start(), 10)
        described = await asyncio.wait_for(admin.describe_cluster(), 10)
        return str(described["cluster_id"])
    finally:
        with suppress(KafkaError, TimeoutError):
            await asyncio.wait_for(admin.close(), 2)
