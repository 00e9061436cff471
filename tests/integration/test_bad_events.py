"""Records on the topics that are no events, or not the next ones: parked or passed over, while other keys flow.

On a stack of their own, since what is planted stays on the topics. From the databases it is taken away at the end:
nobody produced it, so the audit would rightly complain.
"""

import gzip
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from aiokafka import AIOKafkaProducer

from channel_events.topics import TOPICS
from qudao.equations import CONSUMERS, PRODUCERS

from . import shops
from .bad import Bad, Tally
from .deployment import Deployment, new_id, until, until_equal
from .lab import Lab
from .letters import shopify_order

FEEDS = sorted(consumer for consumers in CONSUMERS.values() for consumer in consumers)
Record = tuple[str, bytes | None, str, list[tuple[str, bytes]]]


async def take_away(stack: Deployment) -> None:
    """Forgets what no producer ever announced: parked records, marks of their aggregates, names of partners."""
    for topic, consumers in CONSUMERS.items():
        made = await stack.rows(
            PRODUCERS[topic], "select distinct aggregate_id from outbox where topic = $1", topic
        )
        known = [row["aggregate_id"] for row in made]
        for consumer in consumers:
            service = consumer.partition(".")[0]
            await stack.rows(service, "delete from parked where consumer = $1", consumer)
            await stack.rows(
                service,
                "delete from watermark where consumer = $1 and aggregate_id <> all($2)",
                consumer,
                known,
            )
        if topic == "channel.partner":
            await stack.rows("insight", "delete from partner_name where partner_id <> all($1)", known)


async def _sample(stack: Deployment, topic: str) -> dict[str, Any]:
    """An event that was really announced on a topic: the first of its aggregate, which has gone on where any has."""
    found = await stack.value(
        PRODUCERS[topic],
        """
        select payload::text from outbox o where topic = $1 and aggregate_version = 1
        order by exists (select from outbox l where l.aggregate_id = o.aggregate_id and l.aggregate_version = 2) desc, id
        limit 1
        """,
        topic,
    )
    event: dict[str, Any] = json.loads(found)
    return event


def _bad(sound: dict[str, Any], foreign: dict[str, Any]) -> list[Record]:
    """(name, value, key, headers) of what a broken or foreign producer could send on a topic."""

    def changed(**changes: Any) -> bytes:
        fresh = {"id": str(uuid4()), "subject": str(uuid4())}
        return json.dumps({**sound, **fresh, **changes}).encode()

    without = {name: value for name, value in sound.items() if name != "correlationid"}
    hint = [("ce_type", sound["type"].encode())]
    return [
        ("no JSON", b"\xff\xfe\x00rubbish", "k", []),
        ("tombstone", None, sound["subject"], []),
        ("empty", b"", "k", hint),
        ("scalar", b"7", "k", []),
        ("unknown type", changed(type="channel.weather.changed.v1"), "k", []),
        ("unknown major", changed(type=sound["type"].replace(".v1", ".v2")), "k", []),
        ("member missing", json.dumps({**without, "subject": str(uuid4())}).encode(), "k", []),
        ("no data", changed(data=None), "k", hint),
        ("empty data", changed(data={}), "k", hint),
        ("version of zero", changed(aggregateversion=0), "k", []),
        ("version as text", changed(aggregateversion="1"), "k", []),
        ("version far ahead", changed(aggregateversion=7), "k", hint),
        ("no id as a subject", changed(subject="me"), "k", []),
        ("subject in capitals", changed(subject=str(UUID(int=2**127 + 10)).upper()), "k", []),
        ("nil as a subject", changed(subject=str(UUID(int=0)), data={}), "k", hint),
        ("version beyond bigint", changed(aggregateversion=2**63), "k", hint),
        ("time without a zone", changed(time="2026-03-01T00:00:00"), "k", hint),
        ("other aggregate type", changed(aggregatetype="weather"), "k", []),
        ("U+0000", changed(source="/qudao/\0"), "k", []),
        ("a mebibyte", changed(data={"x": "y" * 1_000_000}), "k", []),
        ("compressed", gzip.compress(changed()), "k", []),
        ("bad headers", b"{", "k", [("ce_type", b"\xff\xfe"), ("traceparent", b"\x00" * 55)]),
        ("of another family", json.dumps(foreign).encode(), foreign["subject"], []),
        ("said before, under another key", json.dumps(sound).encode(), str(uuid4()), hint),
        (
            "said before, under another id",
            json.dumps({**sound, "id": str(uuid4())}).encode(),
            sound["subject"],
            hint,
        ),
        (
            "a step back, with other words",
            json.dumps({**sound, "id": str(uuid4()), "time": "2031-01-01T00:00:00Z"}).encode(),
            sound["subject"],
            hint,
        ),
        (
            "of tomorrow's producer",
            json.dumps({**sound, "newattribute": "x"}).encode(),
            sound["subject"],
            hint,
        ),
    ]


async def _plant(stack: Deployment, topic: str, bad: Sequence[Record]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=stack.stack.kafka, max_request_size=1_100_000) as producer:
        for _, value, key, headers in bad:
            await producer.send_and_wait(topic, value=value, key=key.encode(), headers=headers)


async def position(stack: Deployment, consumer: str) -> int:
    """How many records a feed has behind it."""
    sql = "select coalesce(sum(next_offset), 0)::bigint from feed_position where consumer = $1"
    return int(await stack.value(consumer.partition(".")[0], sql, consumer))


async def test_records_that_are_no_events_wait_aside(bench: Lab, tally: Tally) -> None:
    stack, sold, order_id = bench, await shops.trade(bench), new_id()
    await sold.shop.sent(shopify_order(order_id, sold.sku), "orders/create")
    await sold.agreed(order_id, 30_973, 949)
    await stack.audit_clean()
    effects = {service: await _effects(stack, service) for service in PRODUCERS.values()}
    effects["insight"] = await _effects(stack, "insight")
    sounds = {topic.name: await _sample(stack, topic.name) for topic in TOPICS}
    before = {consumer: await position(stack, consumer) for consumer in FEEDS}
    bad: list[Record] = []
    for topic, sound in sounds.items():
        foreign = sounds["channel.partner" if topic != "channel.partner" else "channel.order"]
        bad = _bad(sound, foreign)
        await _plant(stack, topic, bad)
        for consumer in CONSUMERS[topic]:
            await until_equal(lambda c=consumer: position(stack, c), before[consumer] + len(bad), 60)  # type: ignore[misc]
    for consumer in FEEDS:
        parked = await stack.rows(
            consumer.partition(".")[0], "select reason, error from parked where consumer = $1", consumer
        )
        reasons = [row["reason"] for row in parked]
        # The repetitions and what was passed over leave nothing; everything else waits, with its error.
        assert 20 <= reasons.count("failed") <= 24, (consumer, reasons)
        assert reasons.count("gap") == 1, consumer
        assert all(row["error"] for row in parked if row["reason"] == "failed"), consumer
        for reason in reasons:
            tally(Bad.EVENTS, f"parked ({reason})")
        for _ in range(len(bad) - len(parked)):
            tally(Bad.EVENTS, "passed over")

    # Not one of them had an effect, and others flow past them.
    for service, content in effects.items():
        assert await _effects(stack, service) == content, service
    again = new_id()
    await sold.shop.sent(shopify_order(again, sold.sku), "orders/create")
    await until(lambda: _accrued(sold))

    # A second look at them changes nothing either: they stay where they are.
    waiting = {consumer: await _parked(stack, consumer) for consumer in FEEDS}
    for service in (*PRODUCERS.values(), "insight"):
        await stack.call(service, "POST", "/v1/admin/parked/redrive", {})
    for consumer in FEEDS:
        await until_equal(lambda c=consumer: _parked(stack, c), waiting[consumer])  # type: ignore[misc]
    await take_away(stack)
    await stack.audit_clean()


async def test_producers_of_other_releases_are_understood(bench: Lab, tally: Tally) -> None:
    """Without what a release added, with what one will add, in words nobody knows yet, compressed on the way."""
    stack, sold = bench, await shops.trade(bench)
    await stack.audit_clean()
    found = await stack.value(
        "partner",
        "select payload::text from outbox where aggregate_id = $1::text::uuid and aggregate_version = 1",
        sold.partner_id,
    )
    sound: dict[str, Any] = json.loads(found)
    optional = {"parent_id": None, **sound["data"]}
    optional.pop("parent_id")
    variants: dict[str, dict[str, Any]] = {
        "of yesterday": {"data": optional},
        "of tomorrow": {"tenant": "x", "data": {**sound["data"], "region": {"code": "x"}, "score": 0.5}},
        "a kind of tomorrow": {"data": {**sound["data"], "kind": "hologram", "state": "dreaming"}},
        "from the future": {"time": "2031-01-01T00:00:00Z"},
    }
    planted = {}
    async with AIOKafkaProducer(bootstrap_servers=stack.stack.kafka, compression_type="gzip") as producer:
        for name, changes in variants.items():
            planted[str(uuid4())] = name
            subject = list(planted)[-1]
            event = {**sound, "id": str(uuid4()), "subject": subject, **changes}
            event["data"] = {**event["data"], "code": f"P-{subject}", "name": name}
            await producer.send_and_wait("channel.partner", json.dumps(event).encode(), key=subject.encode())
    sql = "select name from partner_name where partner_id = any($1::uuid[]) order by 1"

    async def names() -> list[str]:
        return [row["name"] for row in await stack.rows("insight", sql, [UUID(each) for each in planted])]

    await until_equal(names, sorted(variants))
    for _ in variants:
        tally(Bad.EVENTS, "understood")
    for consumer in CONSUMERS["channel.partner"]:
        assert await _parked(stack, consumer) == [], consumer
    await take_away(stack)
    await stack.audit_clean()


async def _accrued(sold: Any) -> bool:
    return bool((await sold.statement())["basis_minor"] == 2 * 30_973)


async def _parked(stack: Deployment, consumer: str) -> list[tuple[Any, ...]]:
    rows = await stack.rows(
        consumer.partition(".")[0],
        "select aggregate_id, aggregate_type, version, reason from parked where consumer = $1 order by 1, 2, 3",
        consumer,
    )
    return [tuple(row.values()) for row in rows]


async def _effects(stack: Deployment, service: str) -> dict[str, Any]:
    """Every table but those in which the kit keeps what it has seen and put aside."""
    content = await stack.content(service)
    return {
        name: rows for name, rows in content.items() if name not in ("parked", "watermark", "feed_freshness")
    }
