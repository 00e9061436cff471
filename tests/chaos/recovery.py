"""When a kind of process does its work again: not when it runs, but when what waited for it is done.

api: answers `/readyz`. worker: answers it, and whatever lay before its feeds, its relay and its drain at that moment is
behind them. kafka: takes a record. postgres: answers `select 1`. The path: a delivery that is sent now has its entry.
Asks the servers directly, past the proxies, and takes an absent one for "not yet".
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from channel_events.topics import TOPICS, Topic
from channel_kit.topics import create_topics
from qudao.equations import CONSUMERS

from .rig import Rig

PATIENCE_SECONDS = 90.0
LIMITS = {"api": 15.0, "worker": 15.0, "kafka": 30.0, "postgres": 10.0}
"""Seconds from a kill until the work goes on, by role or server."""

PING = Topic("chaos.ping", 1)
ABSENT = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, KafkaError)
_PENDING = "select id from outbox_pending"
_NEW = "select delivery_id from delivery where status = 'new'"


def limit_of(kind: str) -> float:
    return LIMITS[kind.rpartition("-")[2]]


class Recovery:
    """Measures one stack."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig

    async def prepare(self) -> None:
        await create_topics(self._rig.stack.kafka, topics=[PING])

    async def works(self, kind: str, since: float, gone: int | None) -> float | None:
        """Seconds from `since` (monotonic) until this kind does its work again; None = not within the patience.

        `gone` is the process that was killed, which does not count any more.
        """
        deadline = since + PATIENCE_SECONDS
        if not await _until(lambda: self._is_back(kind, gone), deadline):
            return None
        if kind.endswith("-worker") and not await self._catches_up(kind.partition("-")[0], deadline):
            return None
        return time.monotonic() - since

    async def _is_back(self, kind: str, gone: int | None) -> bool:
        if self._rig.pid(kind) in (None, gone) or not await self._rig.is_ready(kind):
            return False
        if kind == "kafka":
            return await self._takes_a_record()
        if kind == "postgres":
            async with self._rig.database("order") as db:
                return bool(await db.fetchval("select 1"))
        return True

    async def _takes_a_record(self) -> bool:
        producer = AIOKafkaProducer(bootstrap_servers=self._rig.stack.kafka, request_timeout_ms=3_000)
        try:
            async with asyncio.timeout(4):
                await producer.start()
                await producer.send_and_wait(PING.name, b"ping")
            return True
        finally:
            with suppress(*ABSENT):
                await asyncio.wait_for(producer.stop(), 2)

    async def _catches_up(self, service: str, deadline: float) -> bool:
        """Whether all that lay before the worker when this was called gets done."""
        found: list[_Before] = []

        async def look() -> bool:
            found.append(await self._before(service))
            return True

        async def done() -> bool:
            return await self._is_behind(service, found[-1])

        return await _until(look, deadline) and await _until(done, deadline)

    async def _before(self, service: str) -> "_Before":
        consumed = {
            topic.name: consumer
            for topic in TOPICS
            for consumer in CONSUMERS[topic.name]
            if consumer.startswith(f"{service}.")
        }
        ends = await self._ends([topic for topic in TOPICS if topic.name in consumed])
        async with self._rig.database(service) as db:
            pending = [row[0] for row in await db.fetch(_PENDING)]
            new = [row[0] for row in await db.fetch(_NEW)] if service == "order" else []
        return _Before({consumed[tp.topic]: {} for tp in ends}, ends, consumed, pending, new)

    async def _is_behind(self, service: str, before: "_Before") -> bool:
        async with self._rig.database(service) as db:
            for row in await db.fetch("select consumer, topic, partition, next_offset from feed_position"):
                before.positions[row["consumer"]][row["topic"], row["partition"]] = row["next_offset"]
            pending = await db.fetchval(f"select exists ({_PENDING} where id = any($1))", before.pending)
            new = service == "order" and await db.fetchval(
                f"select exists ({_NEW} and delivery_id = any($1))",
                before.new,
            )
        reached = all(
            before.positions[before.consumed[tp.topic]].get((tp.topic, tp.partition), 0) >= end
            for tp, end in before.ends.items()
        )
        return reached and not pending and not new

    async def _ends(self, topics: list[Topic]) -> dict[TopicPartition, int]:
        if not topics:
            return {}
        consumer = AIOKafkaConsumer(bootstrap_servers=self._rig.stack.kafka, request_timeout_ms=11_000)
        try:
            async with asyncio.timeout(5):
                await consumer.start()
                partitions = [
                    TopicPartition(topic.name, n) for topic in topics for n in range(topic.partitions)
                ]
                ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
                return ends
        finally:
            with suppress(*ABSENT):
                await asyncio.wait_for(consumer.stop(), 2)


class _Before:
    """What lies before a worker at one moment."""

    def __init__(
        self,
        positions: dict[str, dict[tuple[str, int], int]],
        ends: dict[TopicPartition, int],
        consumed: dict[str, str],
        pending: list[int],
        new: list[object],
    ) -> None:
        self.positions, self.ends, self.consumed = positions, ends, consumed
        self.pending, self.new = pending, new


async def _until(condition: Callable[[], Awaitable[bool]], deadline: float) -> bool:
    """Whether it came true in time."""
    while time.monotonic() < deadline:
        with suppress(*ABSENT):
            if await condition():
                return True
        await asyncio.sleep(0.1)
    return False
