"""The feed: one family of events from Kafka into effects in the database, exactly once in effect.

A whole poll is one transaction, which `poll` settles; the position is written in it. Kafka's own offsets follow
in the background and serve only lag metrics and autoscaling: on every assignment the feed seeks to its own
position. This module owns the consumer: its life, its watchdog, what operators ask of it. A consumer that cannot
be trusted any more is thrown away and a new one is made.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError

from channel_events.topics import Topic
from channel_kit import parking, positions, telemetry
from channel_kit.database import WORKER, Database, Write, is_away
from channel_kit.jobs import Health, Pace, Pause, being_cancelled
from channel_kit.poll import Handler, Poll, Record
from channel_kit.settings import ServiceSettings
from channel_kit.topics import cluster_id
from channel_kit.watchdog import Rebuild, Watchdog

log = structlog.get_logger(__name__)

RECORDS_MAX = 500
WAIT_MS = 500
COMMIT_SECONDS = 1.0
UPKEEP_SECONDS = 1.0
SURVEY_SECONDS = 10.0
LIVENESS_SECONDS = 240.0


class Feed:
    """Consumes `topic` as `consumer` (also the Kafka group) until stopped."""

    def __init__(
        self, database: Database, settings: ServiceSettings, *, consumer: str, topic: Topic, handle: Handler
    ) -> None:
        self.name = self.consumer = consumer
        self.topic = topic
        self.database = database
        self.health = Health(consumer, LIVENESS_SECONDS)
        self._settings = settings
        self._poll = Poll(consumer, handle)
        self._kafka: AIOKafkaConsumer | None = None
        self._cluster = ""
        self._watchdog = Watchdog()
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        # Partitions of the present assignment that stand at our own position. Nothing else may be handled:
        # right after an assignment Kafka serves from its group offset.
        self._ours: set[TopicPartition] = set()
        self._rebalancing = True
        self._next: dict[TopicPartition, int] = {}
        self._committing: asyncio.Task[None] | None = None
        self._committed_at = self._upkeep_at = self._survey_at = 0.0

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set. An exception that is neither Kafka's nor an absent database's ends it."""
        self._stopping = stopping
        pause = Pause(asyncio.Event(), stopping, 5.0)
        failures = 0
        while not stopping.is_set():
            try:
                await self._connect()
                while not stopping.is_set():
                    await self._turn()
                    failures = 0
            except (KafkaError, ConsumerStoppedError, Rebuild) as error:
                log.warning("feed: rebuilding the consumer", consumer=self.consumer, error=repr(error)[:300])
            except Exception as error:
                # Time-outs and broken sockets of either side come here too; both are waited out.
                if being_cancelled():
                    raise
                if not is_away(error):
                    log.exception("feed: a fault of ours; this process ends", consumer=self.consumer)
                    raise
                self._say_away(error)
            finally:
                await self._disconnect()
            if not stopping.is_set():
                failures += 1
                telemetry.feed_rebuilds.labels(self.consumer).inc()
                self.health.touch()  # a new try is life: an absent broker is no reason to restart this process
                await pause.failed(failures)

    # -- one turn ------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        kafka = self._require()
        await self._seek()
        polled = await kafka.getmany(timeout_ms=WAIT_MS, max_records=RECORDS_MAX)
        records = [
            Record(tp.topic, tp.partition, record.offset, record.value, dict(record.headers))
            for tp, batch in polled.items()
            if tp in self._ours
            for record in batch
        ]
        if records:
            pace = Pace()
            self._idle.clear()
            try:
                await self._handle(records)
            finally:
                self._idle.set()
            await pace.kept()
        self.health.touch()
        await self._survey()
        self._watchdog.check()
        await self._upkeep()
        if time.monotonic() - self._committed_at > COMMIT_SECONDS:
            self._commit()

    async def _handle(self, records: Sequence[Record]) -> None:
        """Handles one poll, in place until it is done; only a database that is away makes it wait."""
        started = time.perf_counter()
        ends = {(record.topic, record.partition): record.offset + 1 for record in records}

        async def position(tx: Write) -> None:
            await positions.save(tx, self.consumer, self._cluster, ends)

        await self._patiently(lambda: self._poll.settle(self.database, records, position))
        telemetry.feed_seconds.labels(self.consumer).observe(time.perf_counter() - started)
        self._next |= {TopicPartition(*partition): offset for partition, offset in ends.items()}
        self._watchdog.handled()

    async def _patiently(self, run: Callable[[], Awaitable[Any]]) -> None:
        failures = 0
        while True:
            try:
                await run()
                return
            except Exception as error:
                if not is_away(error) or self._stopping.is_set() or being_cancelled():
                    raise
                failures += 1
                self.health.touch()
                self._say_away(error)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), min(0.1 * 2 ** min(failures, 6), 5.0))

    async def _survey(self) -> None:
        """Every ten seconds: how far the topic goes, asked of the broker anew, since a consumer that has got
        stuck believes what it heard last; and whether it is still the same broker."""
        kafka = self._require()
        assigned = kafka.assignment() & self._ours
        if assigned and time.monotonic() - self._survey_at > SURVEY_SECONDS:
            self._survey_at = time.monotonic()
            ends: dict[TopicPartition, int] = await asyncio.wait_for(kafka.end_offsets(sorted(assigned)), 10)
            if await cluster_id(self._settings.kafka) != self._cluster:
                raise Rebuild("another Kafka cluster answers at this address")
            self._watchdog.waiting(sum(max(0, ends[tp] - self._next.get(tp, 0)) for tp in assigned))
            telemetry.feed_lag.labels(self.consumer).set(self._watchdog.lag)

    async def _upkeep(self) -> None:
        """Once a second: redrives and replays that an operator asked for."""
        if time.monotonic() - self._upkeep_at < UPKEEP_SECONDS:
            return
        self._upkeep_at = time.monotonic()
        await self._patiently(self._obey)

    async def _obey(self) -> None:
        async with self.database.read(WORKER) as tx:
            keys = await parking.to_redrive(tx, self.consumer)
            replay = await positions.to_replay(tx, self.consumer)
            waiting = await parking.count(tx, self.consumer)
        telemetry.feed_parked.labels(self.consumer).set(waiting)
        if keys:
            await self._poll.redrive(self.database, keys)
        if again := [tp for tp in sorted(self._ours) if (tp.topic, tp.partition) in replay]:
            log.info("feed: replaying from the beginning", consumer=self.consumer, partitions=len(again))
            async with self.database.write(WORKER) as tx:
                await positions.rewind(tx, self.consumer, [(tp.topic, tp.partition) for tp in again])
            self._ours -= set(again)

    # -- positions -----------------------------------------------------------------------------------------

    async def _seek(self) -> None:
        """Goes to this database's own position on every partition that does not stand there yet."""
        kafka = self._require()
        if self._rebalancing or kafka.assignment() <= self._ours:
            return
        known: dict[positions.Partition, int] = {}

        async def load() -> None:
            async with self.database.read(WORKER) as tx:
                known.update(await positions.load(tx, self.consumer, self._cluster))

        await self._patiently(load)
        # No await from here on, so that the assignment cannot change between the question and the seek.
        for tp in () if self._rebalancing else kafka.assignment() - self._ours:
            # An offset that the log does not have (any more, or yet) resets to the earliest one.
            offset = known.get((tp.topic, tp.partition), 0)
            kafka.seek(tp, offset)
            self._next[tp] = offset
            self._ours.add(tp)

    def _commit(self) -> None:
        """Lets Kafka's group offsets follow, in the background and only for partitions still owned."""
        if self._kafka is None or not self._watchdog.uncommitted or self._committing is not None:
            return
        offsets = {tp: self._next[tp] for tp in self._kafka.assignment() & self._ours}
        self._committed_at = time.monotonic()
        self._committing = asyncio.create_task(self._commit_offsets(self._kafka, offsets))

    async def _commit_offsets(self, kafka: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
        handled = self._watchdog.polls
        try:
            if offsets:
                await asyncio.wait_for(kafka.commit(offsets), 5)
            self._watchdog.committed(handled)
        except (KafkaError, ConsumerStoppedError, TimeoutError) as error:
            log.info(
                "feed: an offset commit did not succeed", consumer=self.consumer, error=repr(error)[:200]
            )
        finally:
            self._committing = None

    # -- the Kafka consumer --------------------------------------------------------------------------------

    def _require(self) -> AIOKafkaConsumer:
        if self._kafka is None:
            raise Rebuild("not connected")
        return self._kafka

    async def _connect(self) -> None:
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
        self._kafka, self._rebalancing = kafka, True
        self._ours.clear()
        self._next.clear()
        self._watchdog = Watchdog()
        self._survey_at = time.monotonic()
        kafka.subscribe([self.topic.name], listener=_Listener(self))
        await asyncio.wait_for(kafka.start(), 30)

    async def _disconnect(self) -> None:
        if self._committing is None and self._stopping.is_set():
            self._commit()
        if self._committing is not None:
            await asyncio.wait([self._committing], timeout=5)
        kafka, self._kafka = self._kafka, None
        if kafka is not None:
            try:
                await asyncio.wait_for(kafka.stop(), 5)
            except asyncio.CancelledError:
                # The client passes on the cancellation of its own tasks when the broker is away.
                if being_cancelled():
                    raise
            except Exception as error:  # whatever state it is in, it is being thrown away
                log.debug("feed: a consumer did not stop in order", consumer=self.consumer, error=repr(error))

    async def revoked(self) -> None:
        """The running handler gets five seconds to finish, then what is done is committed.

        Whatever is polled from here on belongs to another assignment, so nothing is ours before a new seek.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), 5)
        self._commit()
        if self._committing is not None:
            await asyncio.wait([self._committing], timeout=5)
        self._rebalancing = True
        self._ours.clear()
        self._watchdog.revoked()

    def assigned(self) -> None:
        self._rebalancing = False
        self._watchdog.assigned()

    def _say_away(self, error: Exception) -> None:
        log.warning(
            "feed: the database or the broker is away; trying again",
            consumer=self.consumer,
            error=repr(error)[:300],
        )


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        await self._feed.revoked()

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        self._feed.assigned()
