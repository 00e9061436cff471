"""The outbox to the broker: rows a second until every one is acknowledged and cleared, whole and per service core.

Ours is the product's `Relay` on events as the drain announced them, put back into pending for each wave by the
product's own `republish`. One reference is a bare aiokafka producer that sends the same records with the same
settings. The other is what the relay must keep up with: the intake per core, taken in this process from the webhook
function to its commit (routing, signature, group commit) without an HTTP server, which would only make it less.
"""

import asyncio
import base64
import hmac
import itertools
import json
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer

from bench.bodies import body, template
from bench.lab import Lab, Options
from bench.measure import Cpu, Figure, Incorrect, Sample, Tell, interleave
from bench.paths.drain import PLACED, TOPIC, OwnCpu, backlog, drain, prepared, settle_heap, shop_of, sku_of
from channel_kit import outbox, telemetry
from channel_kit.database import STAFF, WORKER, Database
from channel_kit.relay import BATCH_BYTES_MAX, ROWS_MAX, Relay, partition
from channel_kit.service import ASGI, Runtime
from channel_kit.vault import Vault
from order_svc.connection.actions import connect
from order_svc.service import SERVICE

ROWS: Final = 2_000
ROWS_SMALL: Final = 200
CLIENTS: Final = 32
SECRET: Final = "a-secret-of-the-shop"  # noqa: S105
WAVE_SECONDS_MAX: Final = 60


class Record(NamedTuple):
    """What goes to the broker for one outbox row."""

    topic: str
    value: bytes
    key: bytes
    headers: list[tuple[str, bytes]]


async def measure(lab: Lab, options: Options, tell: Tell) -> list[Figure]:
    """Rows a second and per core: the relay, the bare producer, and the intake beside them."""
    broker = lab.kafka
    count = ROWS_SMALL if options.small else ROWS
    database = await prepared(lab, backlog(count))
    await drain(database)
    async with database.write(WORKER) as tx:
        await tx.execute("delete from outbox_pending")  # each wave makes them pending again
    records = await _records(database)
    if len(records) != count:
        raise Incorrect(f"{count} orders were announced with {len(records)} events")
    app = await _intake(database)
    requests = [_request(number) for number in range(count)]
    settle_heap()
    sides = await interleave(
        {
            "relay": lambda: _relay(lab, database, broker, count, options.seconds),
            "bare producer": lambda: _bare(lab, broker, records, options.seconds),
            "intake": lambda: _record(lab, database, app, requests),
        },
        options.rounds,
        tell,
    )
    await database.close()
    relay, bare, intake = sides["relay"], sides["bare producer"], sides["intake"]
    size = sum(len(record.value) for record in records) // count
    note = f"{size:,} bytes a row, {ROWS_MAX} rows a round"
    return [
        Figure.compare(
            "relay, per service core",
            _per_core(relay),
            "rows/s/core",
            "intake in this process, orders/s/core",
            _per_core(intake),
            ">= 3",
            sample=relay,
            note=f"{note}; the intake has no HTTP server in front",
        ),
        Figure.compare(
            "relay, per service core",
            _per_core(relay),
            "rows/s/core",
            "bare producer, rows/s/core",
            _per_core(bare),
        ),
        Figure.compare("relay", relay.rate, "rows/s", "bare producer, rows/s", bare.rate, note=note),
    ]


def _per_core(sample: Sample) -> float:
    return 1 / (sample.cpu or {})["client"]


async def _relay(lab: Lab, database: Database, broker: str, count: int, seconds: float) -> Sample:
    """Waves of the same rows, each timed from the commit that made them pending until all are published."""
    relay, stopping = Relay(database, broker), asyncio.Event()
    running = asyncio.create_task(relay.run(stopping))
    await _wave(database, count)  # the connections are open by then
    sent, took, own, servers = 0, 0.0, 0.0, dict.fromkeys(lab.pids, 0.0)
    while took < seconds:
        began = await _pending(database, count)
        with Cpu(lab.pids) as cpu, OwnCpu() as mine:
            await _published(began + count)
        sent, took, own = sent + count, took + cpu.seconds, own + mine.seconds
        servers = {kind: servers[kind] + spent for kind, spent in cpu.by_kind().items()}
    stopping.set()
    await running
    await _check(database)
    return Sample(
        sent / took, cpu={"client": own / sent, **{kind: spent / sent for kind, spent in servers.items()}}
    )


async def _wave(database: Database, count: int) -> None:
    await _published(await _pending(database, count) + count)


async def _pending(database: Database, count: int) -> float:
    """Puts every row back into pending; how many had been published before."""
    before = _counter()
    done = await database.transact(
        WORKER, lambda tx: outbox.republish(tx, topic=None, after_id=0, limit=count)
    )
    if done.events != count:
        raise Incorrect(f"{done.events} of {count} rows were put back")
    return before


async def _published(until: float) -> None:
    async with asyncio.timeout(WAVE_SECONDS_MAX):
        while _counter() < until:  # noqa: ASYNC110  nothing of the product tells of it otherwise
            await asyncio.sleep(0.005)


def _counter() -> float:
    """Rows that relays of this process have published; only this counter, since the whole registry is dear to read."""
    [family] = telemetry.relay_published.collect()
    return next(sample.value for sample in family.samples if sample.name.endswith("_total"))


async def _check(database: Database) -> None:
    async with database.read(WORKER) as tx:
        left = (await outbox.waiting(tx)).rows
    if left:
        raise Incorrect(f"{left} rows are pending after everything was published")


async def _records(database: Database) -> list[Record]:
    async with database.read(WORKER) as tx:
        rows = await tx.rows(
            "select topic, aggregate_id, type, headers::text as headers, payload::text as payload from outbox order by id"
        )
    return [
        Record(
            row.topic,
            row.payload.encode(),
            str(row.aggregate_id).encode(),
            [
                ("content-type", b"application/cloudevents+json"),
                ("ce_type", row.type.encode()),
                *((name, value.encode()) for name, value in json.loads(row.headers).items()),
            ],
        )
        for row in rows
    ]


async def _bare(lab: Lab, broker: str, records: Sequence[Record], seconds: float) -> Sample:
    """The producer alone: as many at once as the relay sends, nothing read and nothing cleared."""
    producer = AIOKafkaProducer(
        bootstrap_servers=broker,
        enable_idempotence=True,
        acks="all",
        linger_ms=0,
        max_batch_size=BATCH_BYTES_MAX,
        max_request_size=1024 * 1024,
        partitioner=partition,
    )
    await producer.start()
    sent = 0
    await _send(producer, records[:ROWS_MAX])
    with Cpu(lab.pids) as cpu, OwnCpu() as own:
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            for at in range(0, len(records), ROWS_MAX):
                await _send(producer, records[at : at + ROWS_MAX])
            sent += len(records)
    await producer.stop()
    return Sample(sent / cpu.seconds, cpu={"client": own.seconds / sent, **cpu.each(sent)})


async def _send(producer: AIOKafkaProducer, records: Sequence[Record]) -> None:
    acks = [
        await producer.send(record.topic, value=record.value, key=record.key, headers=record.headers)
        for record in records
    ]
    await asyncio.gather(*acks)


async def _intake(database: Database) -> ASGI:
    """The application of order-svc with a connected shop."""
    runtime = Runtime(database.settings, database)
    vault = Vault(database.settings.secret_key)
    await database.transact(STAFF, lambda tx: connect(tx, vault, "shopify", shop_of(0), "bench", SECRET))
    return SERVICE.app(runtime)


def _request(number: int) -> bytes:
    return body(template([sku_of(0), sku_of(1), sku_of(2)], PLACED), number)


_runs = iter(range(10**6))


async def _record(lab: Lab, database: Database, app: ASGI, bodies: Sequence[bytes]) -> Sample:
    """Deliveries through the webhook function until each is committed, by clients that wait for their answer."""
    run = str(next(_runs)).zfill(12).encode()
    signed = [_signed(raw.replace(b'"gateway":"alipay"', b'"gateway":"%s"' % run)) for raw in bodies]
    left = iter(signed)

    async def client(most: int) -> None:
        for scope, raw in itertools.islice(left, most):
            await _post(app, scope, raw)

    await asyncio.gather(*(client(1) for _ in range(CLIENTS)))  # the connections are open by then
    measured = len(bodies) - CLIENTS
    with Cpu(lab.pids) as cpu, OwnCpu() as own:
        await asyncio.gather(*(client(measured) for _ in range(CLIENTS)))
    async with database.write(WORKER) as tx:
        stored = await tx.execute("update delivery set status = 'ignored' where status = 'new'")
    if stored != len(bodies):
        raise Incorrect(f"{len(bodies)} deliveries were answered and {stored} are stored")
    return Sample(measured / cpu.seconds, cpu={"client": own.seconds / measured, **cpu.each(measured)})


def _signed(raw: bytes) -> tuple[dict[str, Any], bytes]:
    signature = base64.b64encode(hmac.digest(SECRET.encode(), raw, "sha256"))
    headers = [
        (b"content-type", b"application/json"),
        (b"user-agent", b"Shopify"),
        (b"x-shopify-topic", TOPIC.encode()),
        (b"x-shopify-hmac-sha256", signature),
        (b"content-length", str(len(raw)).encode()),
    ]
    return {"type": "http", "method": "POST", "path": "/webhooks/shopify/bench", "headers": headers}, raw


async def _post(app: ASGI, scope: dict[str, Any], raw: bytes) -> None:
    answered: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        answered.append(message.get("status", 200))

    await app(scope, receive, send)
    if answered[0] != 200:
        raise Incorrect(f"a delivery was answered {answered[0]}")
