"""The feed: one family of events from Kafka into effects in the database, exactly once in effect.

A whole poll is one transaction: watermarks locked, the contiguous run of each aggregate handed to the handler,
the rest parked, watermarks moved, the position written. A batch that fails for good is halved by key, never
inside one, until the faulty event stands alone and is parked. Kafka's own offsets follow lazily and serve only
lag metrics and autoscaling: on assignment the feed seeks to its own position.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from channel_events.topics import Topic
from channel_kit import parking, positions, telemetry
from channel_kit.database import WORKER, Database, Write, is_away
from channel_kit.jobs import Health, Pause
from channel_kit.poll import Handler, Poll, Record
from channel_kit.settings import ServiceSettings
from channel_kit.topics import cluster_id

log = structlog.get_logger(__name__)

RECORDS_MAX = 500
WAIT_MS = 500
COMMIT_SECONDS = 1.0
STUCK_SECONDS = 45.0
UNASSIGNED_SECONDS = 60.0
COMMIT_STALE_SECONDS = 30.0
UPKEEP_SECONDS = 1.0


class Feed:
    """Consumes `topic` as `consumer` (also the Kafka group) until stopped."""

    def __init__(
        self, database: Database, settings: ServiceSettings, *, consumer: str, topic: Topic, handle: Handler
    ) -> None:
        self.name = self.consumer = consumer
        self.topic = topic
        self.database = database
        self.health = Health(consumer, 240.0)
        self._settings = settings
        self._poll = Poll(consumer, handle)
        self._kafka: AIOKafkaConsumer | None = None
        self._cluster = ""
        self._unseeked: set[TopicPartition] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._next: dict[TopicPartition, int] = {}
        self._committed_at = self._handled_at = self._assigned_at = time.monotonic()
        self._uncommitted = False
        self._upkeep_at = 0.0

    async def run(self, stopping: asyncio.Event) -> None:
        pause = Pause(asyncio.Event(), stopping, 5.0)
        failures = 0
        while not stopping.is_set():
            try:
                await self._connect()
                while not stopping.is_set():
                    await self._turn()
                    failures = 0
            except (KafkaError, TimeoutError, OSError, _Rebuild) as error:
                failures += 1
                log.warning("feed: rebuilding the consumer", consumer=self.consumer, error=repr(error)[:300])
            except Exception as error:
                if not is_away(error):
                    raise
                failures += 1
                self.health.touch()
                log.warning(
                    "feed: the database is away; trying again",
                    consumer=self.consumer,
                    error=repr(error)[:300],
                )
            await self._disconnect()
            if not stopping.is_set():
                await pause.failed(failures)

    # -- one turn ------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        kafka = self._require()
        await self._seek()
        polled = await kafka.getmany(timeout_ms=WAIT_MS, max_records=RECORDS_MAX)
        records = [
            Record(tp.topic, tp.partition, record.offset, record.value, dict(record.headers))
            for tp, batch in polled.items()
            if tp not in self._unseeked
            for record in batch
        ]
        if records:
            self._idle.clear()
            try:
                await self._handle(records)
            finally:
                self._idle.set()
        self._watch(bool(records))
        await self._upkeep()
        await self._commit()

    async def _handle(self, records: Sequence[Record]) -> None:
        """Handles one poll, in place until it is done; only a database that is away makes it wait."""
        started = time.perf_counter()
        ends = {(record.topic, record.partition): record.offset + 1 for record in records}

        async def position(tx: Write) -> None:
            await positions.save(tx, self.consumer, self._cluster, ends)

        await self._patiently(lambda: self._poll.settle(self.database, records, position))
        telemetry.feed_seconds.labels(self.consumer).observe(time.perf_counter() - started)
        for (topic, partition), offset in ends.items():
            self._next[TopicPartition(topic, partition)] = offset
        self._uncommitted = True
        self._handled_at = time.monotonic()

    async def _patiently(self, run: Callable[[], Awaitable[Any]]) -> None:
        failures = 0
        while True:
            try:
                await run()
                return
            except Exception as error:
                if not is_away(error):
                    raise
                failures += 1
                self.health.touch()
                log.warning(
                    "feed: the database is away; trying again",
                    consumer=self.consumer,
                    error=repr(error)[:300],
                )
                await asyncio.sleep(min(0.1 * 2 ** min(failures, 6), 5.0))

    def _watch(self, handled: bool) -> None:
        """The four signs of a consumer that lives and does nothing; public API only."""
        self.health.touch()
        kafka, now = self._require(), time.monotonic()
        assigned = kafka.assignment()
        if assigned:
            self._assigned_at = now
        elif now - self._assigned_at > UNASSIGNED_SECONDS:
            raise _Rebuild(f"no partition assigned for {UNASSIGNED_SECONDS:.0f} s")
        lag = 0
        for tp in assigned:
            high = kafka.highwater(tp)
            if high is not None and tp in self._next:
                lag += max(0, high - self._next[tp])
        telemetry.feed_lag.labels(self.consumer).set(lag)
        if handled or not lag:
            self._handled_at = now
        elif now - self._handled_at > STUCK_SECONDS:
            raise _Rebuild(f"{lag} records waiting and none handled for {STUCK_SECONDS:.0f} s")
        if self._uncommitted and now - self._committed_at > COMMIT_STALE_SECONDS:
            raise _Rebuild(f"no offset commit for {COMMIT_STALE_SECONDS:.0f} s")

    async def _upkeep(self) -> None:
        """Once a second: redrives and replays that an operator asked for."""
        if time.monotonic() - self._upkeep_at < UPKEEP_SECONDS:
            return
        self._upkeep_at = time.monotonic()
        async with self.database.read(WORKER) as tx:
            keys = await parking.to_redrive(tx, self.consumer)
            replay = await positions.to_replay(tx, self.consumer)
            waiting = await tx.value("select count(*) from parked where consumer = $1", self.consumer)
        telemetry.feed_parked.labels(self.consumer).set(waiting)
        if keys:
            await self._patiently(lambda: self._poll.redrive(self.database, keys))
        owned = self._require().assignment()
        if again := [TopicPartition(*pair) for pair in replay if TopicPartition(*pair) in owned]:
            log.info("feed: replaying from the beginning", consumer=self.consumer, partitions=len(again))
            async with self.database.write(WORKER) as tx:
                await positions.rewind(tx, self.consumer, [(tp.topic, tp.partition) for tp in again])
            self._unseeked.update(again)

    # -- positions -----------------------------------------------------------------------------------------

    async def _seek(self) -> None:
        """Goes to this database's own position on every newly assigned partition."""
        if not self._unseeked:
            return
        kafka, fresh = self._require(), sorted(self._unseeked)
        async with self.database.read(WORKER) as tx:
            known = await positions.load(tx, self.consumer, self._cluster)
        for tp in fresh:
            if tp not in kafka.assignment():
                self._unseeked.discard(tp)
                continue
            offset = known.get((tp.topic, tp.partition))
            if offset is None:
                await kafka.seek_to_beginning(tp)
            else:
                kafka.seek(tp, offset)
            self._next[tp] = offset or 0
            self._unseeked.discard(tp)

    async def _commit(self) -> None:
        """Lets Kafka's group offsets follow, at most once a second and only for partitions still owned."""
        if not self._uncommitted or time.monotonic() - self._committed_at < COMMIT_SECONDS:
            return
        kafka = self._require()
        owned = kafka.assignment() - self._unseeked
        offsets = {tp: offset for tp, offset in self._next.items() if tp in owned}
        try:
            if offsets:
                await asyncio.wait_for(kafka.commit(offsets), 5)
            self._committed_at, self._uncommitted = time.monotonic(), False
        except (CommitFailedError, IllegalStateError, TimeoutError) as error:
            log.info(
                "feed: an offset commit raced a rebalance", consumer=self.consumer, error=repr(error)[:200]
            )

    # -- the Kafka consumer --------------------------------------------------------------------------------

    def _require(self) -> AIOKafkaConsumer:
        if self._kafka is None:
            raise _Rebuild("not connected")
        return self._kafka

    async def _connect(self) -> None:
        if self._kafka is not None:
            return
        self._cluster = await cluster_id(self._settings.kafka)
        stable = self._settings.instance_id
        kafka = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka,
            group_id=self.consumer,
            group_instance_id=f"{self.consumer}-{stable}" if stable else None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=WAIT_MS,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=3_000,
            max_poll_interval_ms=1_800_000,  # a database outage is waited out inside a poll
            max_partition_fetch_bytes=4 * 1024 * 1024,
            metadata_max_age_ms=60_000,
        )
        self._kafka = kafka
        self._unseeked.clear()
        self._next.clear()
        now = time.monotonic()
        self._committed_at = self._handled_at = self._assigned_at = now
        self._uncommitted = False
        kafka.subscribe([self.topic.name], listener=_Listener(self))
        await asyncio.wait_for(kafka.start(), 30)

    async def _disconnect(self) -> None:
        kafka, self._kafka = self._kafka, None
        if kafka is not None:
            with suppress(Exception):  # whatever state it is in, it is being thrown away
                await asyncio.wait_for(kafka.stop(), 5)

    async def revoked(self) -> None:
        """The running handler gets five seconds to finish, then what is done is committed."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), 5)
        self._committed_at = 0.0
        with suppress(KafkaError):
            await self._commit()

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        self._unseeked.update(partitions)


class _Rebuild(Exception):
    """This consumer is beyond hope; make a new one."""


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        await self._feed.revoked()

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        self._feed.assigned(list(assigned))
