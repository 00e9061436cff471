"""The relay: pending outbox rows to Kafka, in order, at least once.

One task. A round is one transaction over every shard it can lock: read pending rows by id, send in that order,
await all acknowledgements, delete the round from pending, commit. Never a cursor ("greater than last seen"
loses rows of slow writers), never SKIP LOCKED over one queue (it reorders), no pipelining. A crash between
acknowledgement and delete publishes again under the same event id and version; the watermark drops it.
"""

import asyncio
import json
import zlib
from collections.abc import Sequence
from contextlib import suppress

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from channel_kit import outbox, telemetry
from channel_kit.database import WORKER, Database, Row, Write, is_away
from channel_kit.failpoints import failpoint
from channel_kit.jobs import Health, Pause, being_cancelled

log = structlog.get_logger(__name__)

ROWS_MAX = 500
BATCH_BYTES_MAX = 128 * 1024
"""A partition's part of a round in one batch; the client's own 16 KiB hold two orders, and each batch costs both sides."""
ACK_SECONDS_MAX = 10.0
STOP_SECONDS_MAX = 2.0
STUCK_SECONDS = 120.0


def partition(key: bytes, partitions: Sequence[int], available: Sequence[int]) -> int:
    """CRC-32 of the key over all partitions: librdkafka's "consistent". Never over the available ones only, which
    would move keys while a broker is away. The client's own hash is a loop in Python, a seventh of a round's CPU."""
    return zlib.crc32(key) % len(partitions)


class BrokerFault(Exception):
    """The broker did not take a round in time; whether it has it is unknown. The cause says more."""


class Relay:
    """Publishes one service's outbox until stopped. `health` says when nothing moves any more."""

    name = "relay"

    def __init__(self, database: Database, bootstrap: str, idle_seconds_max: float = 0.5) -> None:
        self.database = database
        self.bootstrap = bootstrap
        self.health = Health(self.name, STUCK_SECONDS)
        self._wake = asyncio.Event()
        self._idle_seconds_max = idle_seconds_max
        self._producer: AIOKafkaProducer | None = None
        outbox.wake_with(self._wake)

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set, the round at hand included."""
        try:
            await self._rounds(stopping)
        finally:
            await self._drop_producer()

    async def _rounds(self, stopping: asyncio.Event) -> None:
        pause = Pause(self._wake, stopping, self._idle_seconds_max)
        failures = 0
        while not stopping.is_set():
            try:
                sent = await self._round()
                failures = 0
                self.health.touch()
                await pause.after(sent)
            except BrokerFault as fault:
                if being_cancelled():
                    raise
                failures += 1
                telemetry.relay_failures.inc()
                log.warning(
                    "relay: the broker did not take a round; trying again",
                    error=repr(fault.__cause__)[:300],
                    failures=failures,
                )
            except Exception as error:
                if being_cancelled():
                    raise
                if not is_away(error):
                    log.exception("relay: a fault of ours; this process ends")
                    raise
                failures += 1
                log.warning(
                    "relay: the database is away; trying again", error=repr(error)[:300], failures=failures
                )
            # A failed try is life, too: an absent broker or database is no reason to restart this process.
            self.health.touch()
            if failures:
                await pause.failed(failures)

    async def _round(self) -> int:
        """One round; returns how many rows were published."""
        producer = await self._ready_producer()
        async with self.database.write(WORKER) as tx:
            sent = await self._publish(tx, producer)
        failpoint("relay.after_commit")
        telemetry.relay_published.inc(sent)
        return sent

    async def _publish(self, tx: Write, producer: AIOKafkaProducer) -> int:
        shards = [
            row.shard
            for row in await tx.rows(
                "select n as shard from generate_series(0, $1::int - 1) n where pg_try_advisory_xact_lock(815, n)",
                outbox.SHARDS,
            )
        ]
        rows = await tx.rows(
            """
            select p.id, o.topic, o.aggregate_id, o.type, o.headers::text as headers, o.payload::text as payload,
                   extract(epoch from clock_timestamp() - o.created_at)::float8 as age
            from (select id from outbox_pending where shard = any($1::smallint[]) order by id limit $2) p
            join outbox o using (id) order by p.id
            """,
            shards,
            ROWS_MAX,
        )
        if len(shards) == outbox.SHARDS:  # one that sees only a part cannot say what is oldest
            telemetry.outbox_oldest_seconds.set(rows[0].age if rows else 0)
        if not rows:
            return 0
        failpoint("relay.before_send")
        try:
            await self._send(producer, rows)
        except (KafkaError, TimeoutError) as error:
            # After such a fault an idempotent producer may never recover by itself. It ends while the locks
            # are still held, so that nothing of it comes after what the next holder sends.
            await self._drop_producer()
            raise BrokerFault from error
        failpoint("relay.after_ack")
        await tx.execute("delete from outbox_pending where id = any($1::bigint[])", [row.id for row in rows])
        failpoint("relay.before_commit")
        return len(rows)

    async def _send(self, producer: AIOKafkaProducer, rows: Sequence[Row]) -> None:
        """Sends in order, then awaits every acknowledgement: an idempotent producer never expires a batch by
        itself, so the time is limited here."""
        async with asyncio.timeout(ACK_SECONDS_MAX):
            acks = [
                await producer.send(
                    row.topic,
                    value=row.payload.encode(),
                    key=str(row.aggregate_id).encode(),
                    headers=[
                        ("content-type", b"application/cloudevents+json"),
                        ("ce_type", row.type.encode()),
                        *_headers(row.headers),
                    ],
                )
                for row in rows
            ]
            failpoint("relay.before_ack")
            # All of them, also after one has failed: a new try must not overtake what is still on its way.
            answers = await asyncio.gather(*acks, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    async def _ready_producer(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self.bootstrap,
                enable_idempotence=True,
                acks="all",
                linger_ms=0,
                max_batch_size=BATCH_BYTES_MAX,
                max_request_size=1024 * 1024,
                partitioner=partition,
                request_timeout_ms=10_000,
                metadata_max_age_ms=60_000,
            )
            try:
                await asyncio.wait_for(producer.start(), ACK_SECONDS_MAX)
            except (KafkaError, TimeoutError) as error:
                await _end(producer)
                raise BrokerFault from error
            except BaseException:
                await _end(producer)
                raise
            self._producer = producer
        return self._producer

    async def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await _end(producer)


def _headers(text: str) -> list[tuple[str, bytes]]:
    return [] if text == "{}" else [(name, value.encode()) for name, value in json.loads(text).items()]


async def _end(producer: AIOKafkaProducer) -> None:
    """Ends a producer at once and for good.

    Its own `stop()` would flush first, which hangs while the broker is gone, and a sender left behind would
    publish the given-up round when the broker returns, long after others have gone on. Nothing is in flight
    after a good round, and after a bad one nothing in flight is wanted.
    """
    with suppress(KafkaError, TimeoutError, OSError):
        async with asyncio.timeout(STOP_SECONDS_MAX):
            if producer._sender is not None:
                await producer._sender.close()
            producer._closed = True
            await producer.client.close()
