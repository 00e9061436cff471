"""Looking at a topic from outside, as a test does: everything that is on it, and putting something there."""

from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from channel_events.catalog import encode
from channel_events.envelope import Event
from channel_events.topics import Topic
from channel_kit.records import Record


async def read_topic(bootstrap: str, topic: Topic) -> list[Record]:
    """All records of a topic up to its present end; in order inside each partition."""
    found: list[Record] = []
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic.name, n) for n in range(topic.partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
            for tp, batch in (await consumer.getmany(timeout_ms=200)).items():
                found += [Record(tp.topic, tp.partition, r.offset, r.value, dict(r.headers)) for r in batch]
    finally:
        await consumer.stop()
    return found


async def produce(bootstrap: str, topic: Topic, events: Sequence[Event[Any]]) -> None:
    """Puts events on a topic as the relay would, in order per aggregate."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        sent = [
            await producer.send(topic.name, encode(event).encode(), key=event.subject.encode())
            for event in events
        ]
        for acknowledged in sent:
            await acknowledged
    finally:
        await producer.stop()
