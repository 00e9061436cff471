"""At least once on the wire, once in effect: records again, out of order, and all topics from the beginning.

Whatever a consumer has seen changes no row of any database. A consumer that has seen nothing (insight, emptied)
builds the very same rows from the topics alone, duplicates and all.
"""

import asyncio
import random
import signal
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from channel_events.topics import TOPICS
from qudao.equations import CONSUMERS
from qudao.stack import SERVICES

from .deployment import Deployment, new_id, qudao, until, until_equal
from .letters import order_body, shopify_order, shopify_refund

Make = Callable[..., Awaitable[Any]]
FEEDS = sorted(consumer for consumers in CONSUMERS.values() for consumer in consumers)
FACTS = (
    "entry_fact",
    "daily_fact",
    "order_fact",
    "cell_fact",
    "rebate_fact",
    "stock_fact",
    "partner_name",
    "item_name",
)


@pytest.fixture(scope="module")
async def traffic(stack: Deployment, trade: Make) -> int:
    """Orders, a cancellation, shipments and refunds of all platforms; how many orders there are."""
    for platform in ("shopify", "woocommerce", "generic"):
        sold = await trade(platform)
        for _ in range(6):
            _, body, topic = order_body(platform, sold.sku)
            await sold.shop.sent(body, topic)
    sold = await trade()
    for shipped in (0, 3):
        order_id = new_id()
        await sold.shop.sent(shopify_order(order_id, sold.sku, paid=False), "orders/create")
        await sold.shop.sent(
            shopify_order(order_id, sold.sku, updated="2026-03-03T15:00:00+08:00", shipped=shipped),
            "orders/updated",
        )
        await sold.shop.sent(shopify_refund(order_id, new_id()), "refunds/create")
    cancelled: dict[str, Any] = {
        "updated": "2026-03-04T10:00:00+08:00",
        "cancelled_at": "2026-03-04T10:00:00+08:00",
    }
    await sold.shop.sent(shopify_order(new_id(), sold.sku, paid=False, **cancelled), "orders/cancelled")
    await stack.audit_clean()
    return int(await stack.value("order", "select count(*) from order_head where document is not null"))


async def _ends(consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
    partitions = [TopicPartition(topic.name, n) for topic in TOPICS for n in range(topic.partitions)]
    ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    return ends


async def _everything(bootstrap: str) -> list[ConsumerRecord[bytes, bytes]]:
    """Every record of every topic, each partition in its order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, group_id=None)
    await consumer.start()
    try:
        ends = await _ends(consumer)
        consumer.assign(list(ends))
        await consumer.seek_to_beginning()
        records: list[ConsumerRecord[bytes, bytes]] = []
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records += batch
        return records
    finally:
        await consumer.stop()


async def _send(bootstrap: str, records: Iterable[ConsumerRecord[bytes, bytes]]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        sent = [
            await producer.send(
                r.topic, value=r.value, key=r.key, partition=r.partition, headers=list(r.headers)
            )
            for r in records
        ]
        await asyncio.gather(*sent)


def _shuffled(records: Iterable[ConsumerRecord[bytes, bytes]]) -> list[ConsumerRecord[bytes, bytes]]:
    """All records with those of each key in another order; fixed seed."""
    chance = random.Random(20260302)
    by_key: dict[Any, list[ConsumerRecord[bytes, bytes]]] = defaultdict(list)
    for record in records:
        by_key[record.topic, record.key].append(record)
    for group in by_key.values():
        chance.shuffle(group)
    mixed = [record for group in by_key.values() for record in group]
    chance.shuffle(mixed)
    return mixed


async def _caught_up(stack: Deployment) -> None:
    """Waits until every feed's own position is at the end of every partition that holds records."""
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.stack.kafka, enable_auto_commit=False, group_id=None)
    await consumer.start()
    try:
        ends = {(tp.topic, tp.partition): end for tp, end in (await _ends(consumer)).items() if end}
    finally:
        await consumer.stop()

    async def behind() -> list[Any]:
        late = []
        for topic, consumers in CONSUMERS.items():
            for name in consumers:
                rows = await stack.rows(
                    name.partition(".")[0],
                    "select topic, partition, next_offset, replay from feed_position where consumer = $1",
                    name,
                )
                at = {(r["topic"], r["partition"]): -1 if r["replay"] else r["next_offset"] for r in rows}
                late += [
                    (name, *place, at.get(place), end)
                    for place, end in ends.items()
                    if place[0] == topic and at.get(place, -1) < end
                ]
        return late

    await until_equal(behind, [], 90)


async def test_every_record_twice_and_shuffled_changes_nothing(stack: Deployment, traffic: int) -> None:
    records = await _everything(stack.stack.kafka)
    assert len({record.topic for record in records}) == len(TOPICS)
    assert sum(record.topic == "channel.order" for record in records) >= traffic
    before = await stack.contents()
    for again in (records, _shuffled(records)):
        await _send(stack.stack.kafka, again)
        await _caught_up(stack)
        await stack.audit_clean()
        assert await stack.contents() == before


async def test_a_replay_of_every_consumer_changes_nothing(stack: Deployment, traffic: int) -> None:
    before = await stack.contents()
    told = qudao(stack.stack.data, "replay", FEEDS[0])
    assert told.returncode == 0, told.stdout + told.stderr
    for consumer in FEEDS[1:]:
        answer = await stack.call(consumer.partition(".")[0], "POST", f"/v1/admin/feeds/{consumer}/replay")
        assert answer["partitions"] > 0
    await _caught_up(stack)
    await stack.audit_clean()
    assert await stack.contents() == before
    asked = [
        await stack.rows(name, "select action from operator_action where action = 'replay'")
        for name in SERVICES
    ]
    assert sum(map(len, asked)) >= len(FEEDS)


async def test_insight_built_anew_from_the_topics_is_the_same(stack: Deployment, traffic: int) -> None:
    before = await stack.content("insight")
    assert all(before[table][0] for table in FACTS)
    pid = stack.pids()["insight"]
    # Stopped, so that it cannot write while its tables are emptied; then killed, so that it remembers nothing.
    psutil.Process(pid).send_signal(signal.SIGSTOP)
    try:
        await _empty(stack)
    finally:
        psutil.Process(pid).kill()
    await stack.back("insight", pid)
    await until(lambda: stack.value("insight", "select count(*) from entry_fact"))
    await _caught_up(stack)
    await stack.audit_clean()
    assert await stack.content("insight") == before


async def _empty(stack: Deployment) -> None:
    """Takes every fact and every trace of progress from insight's database."""
    admin = await asyncpg.connect(stack.stack.admin_url.rsplit("/", 1)[0] + "/qudao_insight")
    try:
        await admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
            "and pid <> pg_backend_pid()"
        )
        tables = (*FACTS, "feed_freshness", "signing_key", "watermark", "feed_position", "parked")
        await admin.execute(f"truncate {', '.join(tables)}")
    finally:
        await admin.close()
