"""Creating the topics and asking the broker who it is. Runs at set-up, never on a hot path."""

import asyncio

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from channel_events.topics import TOPICS

_SETTINGS = {"retention.ms": "-1", "cleanup.policy": "delete", "max.message.bytes": str(1024 * 1024)}


async def create_topics(bootstrap: str, *, replication: int = 1) -> list[str]:
    """Creates the topics that are missing, with their partitions fixed at birth; returns their names.

    Retention is endless, so a new consumer starts at the beginning. Raises KafkaError when the broker refuses.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        present = set(await admin.list_topics())
        missing = [topic for topic in TOPICS if topic.name not in present]
        settings = {**_SETTINGS, **({"min.insync.replicas": "2"} if replication >= 3 else {})}
        answer = (
            await admin.create_topics(
                [
                    NewTopic(topic.name, topic.partitions, replication, topic_configs=settings)
                    for topic in missing
                ]
            )
            if missing
            else None
        )
        for code in () if answer is None else (row[1] for row in answer.topic_errors):
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise error
        return [topic.name for topic in missing]
    finally:
        await admin.close()


async def cluster_id(bootstrap: str) -> str:
    """The id of the Kafka cluster: another one than before means that positions mean nothing there."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5_000)
    try:
        await asyncio.wait_for(admin.start(), 10)
        described = await admin.describe_cluster()
        return str(described["cluster_id"])
    finally:
        try:
            await asyncio.wait_for(admin.close(), 2)
        except (KafkaError, TimeoutError):
            pass
