"""The feed on a real broker: members that come and go, positions that do not fit, operators, an absent database."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from structlog.testing import capture_logs

from channel_events.catalog import encode
from channel_events.envelope import Event
from channel_events.topics import Topic
from channel_kit import feed as feed_module
from channel_kit import parking, positions, telemetry
from channel_kit.database import OWNER, WORKER, Database, Write
from channel_kit.feed import Feed
from channel_kit.poll import Handler
from channel_kit.testing.bench import effects, insert_effects
from channel_kit.testing.broker import produce
from channel_kit.testing.events import partner_event
from channel_kit.testing.waiting import until
from channel_kit.topics import cluster_id, create_topics

pytestmark = pytest.mark.timeout(120)
PARTITIONS = 4


class Stage:
    """A topic and a consumer of their own, and what the consumer did."""

    def __init__(self, database: Database, kafka: str) -> None:
        name = uuid4().hex[:8]
        self.database, self.kafka = database, kafka
        self.topic, self.consumer = Topic(f"test.{name}", PARTITIONS), f"test.{name}"
        self._running: list[tuple[asyncio.Task[None], asyncio.Event]] = []

    def feed(self, handle: Handler | None = None) -> Feed:
        return Feed(
            self.database,
            self.database.settings.model_copy(update={"kafka": self.kafka}),
            consumer=self.consumer,
            topic=self.topic,
            handle=handle or insert_effects,
        )

    def start(self, handle: Handler | None = None) -> asyncio.Task[None]:
        stopping = asyncio.Event()
        task = asyncio.create_task(self.feed(handle).run(stopping))
        self._running.append((task, stopping))
        return task

    async def stop(self, task: asyncio.Task[None]) -> None:
        for each, stopping in self._running:
            if each is task:
                stopping.set()
        await asyncio.wait_for(task, 20)

    async def close(self) -> None:
        for _, stopping in self._running:
            stopping.set()
        await asyncio.wait_for(
            asyncio.gather(*(task for task, _ in self._running), return_exceptions=True), 30
        )

    async def produce(self, events: Sequence[Event[Any]]) -> None:
        await produce(self.kafka, self.topic, events)

    async def effects(self) -> list[tuple[UUID, int]]:
        return await effects(self.database)

    async def until_effects(self, count: int, seconds: float = 40) -> None:
        async def enough() -> bool:
            return len(await self.effects()) >= count

        await until(enough, seconds)

    async def until_handled(self) -> None:
        """The consumer's own positions are at the end of every partition that holds something."""

        async def everywhere() -> bool:
            ends = {partition: end for partition, end in (await self.ends()).items() if end}
            return ends.items() <= (await self.positions()).items()

        await until(everywhere)

    async def positions(self) -> dict[int, int]:
        async with self.database.read(WORKER) as tx:
            known = await positions.load(tx, self.consumer, await cluster_id(self.kafka))
        return {partition: offset for (_, partition), offset in known.items()}

    async def ends(self) -> dict[int, int]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka)
        await consumer.start()
        partitions = [TopicPartition(self.topic.name, n) for n in range(PARTITIONS)]
        ends = await consumer.end_offsets(partitions)
        await consumer.stop()
        return {tp.partition: end for tp, end in ends.items()}

    async def set_group_offsets(self, offsets: dict[int, int]) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.kafka, group_id=self.consumer, enable_auto_commit=False
        )
        await consumer.start()
        consumer.assign([TopicPartition(self.topic.name, n) for n in offsets])
        await consumer.commit({TopicPartition(self.topic.name, n): end for n, end in offsets.items()})
        await consumer.stop()

    def met(self) -> float:
        """How many records this consumer has met, whatever became of them."""
        outcomes = ("applied", "parked", "seen")
        return sum(float(telemetry.feed_events.labels(self.consumer, each)._value.get()) for each in outcomes)


@pytest.fixture
async def stage(kit_database: Database, kafka: str) -> AsyncIterator[Stage]:
    stage = Stage(kit_database, kafka)
    await create_topics(kafka, topics=[stage.topic])
    yield stage
    await stage.close()


def histories(aggregates: int, versions: int) -> list[Event[Any]]:
    ids = [uuid4() for _ in range(aggregates)]
    return [partner_event(a, version) for version in range(1, versions + 1) for a in ids]


async def trickle(stage: Stage, events: Sequence[Event[Any]]) -> None:
    for start in range(0, len(events), 100):
        await stage.produce(events[start : start + 100])
        await asyncio.sleep(0.3)


def places(events: Sequence[Event[Any]]) -> list[tuple[UUID, int]]:
    return sorted((event.aggregate_id, event.aggregateversion) for event in events)


async def test_members_that_join_leave_and_die_have_each_effect_once(stage: Stage) -> None:
    events = histories(40, 40)

    async def dawdle(tx: Write, run: Sequence[Event[Any]]) -> None:
        await insert_effects(tx, run)
        await asyncio.sleep(0.05)

    producing = asyncio.create_task(trickle(stage, events))
    first = stage.start(dawdle)
    await stage.until_effects(100)
    second = stage.start(dawdle)
    await stage.until_effects(500)
    await stage.stop(first)
    third = stage.start(dawdle)
    await stage.until_effects(900)
    second.cancel()  # no farewell: the others wait for its session to end, or take over what it held
    with suppress(asyncio.CancelledError):
        await second
    await producing
    await stage.until_effects(len(events))
    await stage.until_handled()
    assert await stage.effects() == places(events)
    async with stage.database.read(WORKER) as tx:
        assert await parking.count(tx, stage.consumer) == 0
    await stage.stop(third)


async def test_a_member_that_was_given_up_and_wakes_up_does_no_harm(stage: Stage) -> None:
    """Its handler outlasts the five seconds of a rebalance, so another gets its partitions meanwhile."""
    events, inside, go = histories(20, 3), asyncio.Event(), asyncio.Event()
    handled: list[str] = []

    async def sleeper(tx: Write, run: Sequence[Event[Any]]) -> None:
        if not inside.is_set():
            inside.set()
            await go.wait()
        handled.append("sleeper")
        await insert_effects(tx, run)

    async def awake(tx: Write, run: Sequence[Event[Any]]) -> None:
        handled.append("awake")
        await insert_effects(tx, run)
        go.set()  # the sleeper wakes up while this transaction is open

    await stage.produce(events)
    stage.start(sleeper)
    await asyncio.wait_for(inside.wait(), 30)
    stage.start(awake)
    await stage.until_effects(len(events), 60)
    await stage.until_handled()
    assert await stage.effects() == places(events)
    assert {"sleeper", "awake"} <= set(handled), "both were in the middle of the same records"


@pytest.mark.parametrize("offset", [0, 1, 10**9], ids=["behind", "in-between", "beyond"])
async def test_a_position_that_does_not_fit_loses_and_doubles_nothing(stage: Stage, offset: int) -> None:
    events = histories(10, 4)
    await stage.produce(events)
    if offset != 10**9:
        task = stage.start()
        await stage.until_handled()
        await stage.stop(task)
    async with stage.database.write(WORKER) as tx:
        misfit = {(stage.topic.name, n): offset for n in range(PARTITIONS)}
        await positions.save(tx, stage.consumer, await cluster_id(stage.kafka), misfit)
    stage.start()
    await stage.until_handled()
    assert await stage.effects() == places(events)


async def test_the_feed_trusts_its_own_position_and_not_the_groups(stage: Stage) -> None:
    events = histories(10, 4)
    await stage.produce(events)
    await stage.set_group_offsets(await stage.ends())  # "everything was read"
    task = stage.start()
    await stage.until_handled()
    assert await stage.effects() == places(events)
    await stage.stop(task)
    await stage.set_group_offsets(dict.fromkeys(range(PARTITIONS), 0))  # "nothing was read"
    met = stage.met()
    stage.start()
    more = histories(1, 1)
    await stage.produce(more)
    await stage.until_effects(len(events) + 1)
    assert stage.met() == met + 1, "only the new one was read"


class Rebalancing:
    """A Kafka client in whose `getmany` a rebalance happens, so that it returns what the group's offset points to."""

    def __init__(self, stage: Stage, feed: Feed) -> None:
        self.feed, self.partition = feed, TopicPartition(stage.topic.name, 0)
        self.event = partner_event(uuid4(), 1)
        self.sought: list[int] = []

    def assignment(self) -> set[TopicPartition]:
        return {self.partition}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.sought.append(offset)

    async def getmany(self, **bounds: int) -> dict[TopicPartition, list[Any]]:
        await self.feed.revoked()
        self.feed.assigned()
        return {self.partition: [SimpleNamespace(offset=99, value=encode(self.event).encode(), headers=())]}


async def test_nothing_is_handled_before_the_seek_to_the_feeds_own_position(stage: Stage) -> None:
    feed = stage.feed()
    client = Rebalancing(stage, feed)
    feed._kafka, feed._cluster = client, await cluster_id(stage.kafka)
    async with stage.database.write(WORKER) as tx:
        await positions.save(tx, stage.consumer, feed._cluster, {tuple(client.partition): 7})
    feed.assigned()
    for _ in range(2):
        await feed._turn()
    feed._kafka = None
    assert client.sought == [7, 7], "once per assignment"
    assert await stage.effects() == []
    assert await stage.positions() == {0: 7}


async def test_group_offsets_follow(stage: Stage) -> None:
    await stage.produce(histories(20, 2))
    stage.start()
    await stage.until_handled()
    reader = AIOKafkaConsumer(
        bootstrap_servers=stage.kafka, group_id=stage.consumer, enable_auto_commit=False
    )
    await reader.start()
    ends = {TopicPartition(stage.topic.name, n): end for n, end in (await stage.ends()).items() if end}
    reader.assign(list(ends))

    async def followed() -> bool:
        return {tp: await reader.committed(tp) for tp in ends} == ends

    await until(followed, 20)
    await reader.stop()


async def test_an_operator_has_everything_read_again_without_effect(stage: Stage) -> None:
    events = histories(10, 4)
    await stage.produce(events)
    stage.start()
    await stage.until_handled()
    met = stage.met()
    async with stage.database.write(WORKER) as tx:
        assert await positions.ask_replay(tx, stage.consumer) > 0

    async def read_again() -> bool:
        return stage.met() >= met + len(events)

    await until(read_again)
    await stage.until_handled()
    assert await stage.effects() == places(events)
    async with stage.database.read(WORKER) as reading:
        assert await positions.to_replay(reading, stage.consumer) == []


async def test_positions_of_another_cluster_mean_nothing(stage: Stage) -> None:
    events = histories(10, 4)
    await stage.produce(events)
    async with stage.database.write(WORKER) as tx:
        everything = {(stage.topic.name, n): end for n, end in (await stage.ends()).items()}
        await positions.save(tx, stage.consumer, "another-cluster", everything)
    stage.start()
    await stage.until_handled()
    assert await stage.effects() == places(events)


async def test_a_running_feed_notices_another_cluster(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "SURVEY_SECONDS", 0.2)
    events = histories(10, 2)
    await stage.produce(events)
    stage.start()
    await stage.until_handled()

    async def another(bootstrap: str) -> str:
        return "another-cluster"

    monkeypatch.setattr(feed_module, "cluster_id", another)

    async def from_the_beginning() -> bool:
        async with stage.database.read(WORKER) as tx:
            return await positions.load(tx, stage.consumer, "another-cluster") != {}

    await until(from_the_beginning)
    assert await stage.effects() == places(events)


async def test_a_running_feed_redrives_what_an_operator_asks_for(stage: Stage) -> None:
    events, broken = histories(5, 3), [True]

    async def handle(tx: Write, run: Sequence[Event[Any]]) -> None:
        if broken[0] and any(event.subject == events[0].subject for event in run):
            raise LookupError("not yet")
        await insert_effects(tx, run)

    await stage.produce(events)
    stage.start(handle)
    await stage.until_handled()
    assert len(await stage.effects()) == 12
    broken[0] = False
    async with stage.database.write(WORKER) as tx:
        assert await parking.ask_redrive(tx, None) == 1
    await stage.until_effects(15)
    assert await stage.effects() == places(events)


async def test_lost_connections_are_waited_out_inside_the_poll(stage: Stage, postgres: str) -> None:
    events, cuts = histories(30, 30), 0
    async with stage.database.read(WORKER) as reading:
        name = await reading.value("select current_database()")
    admin = await asyncpg.connect(postgres)
    cut = """
        select count(pg_terminate_backend(pid)) from pg_stat_activity
        where datname = $1 and usename = 'kit_worker' and (state = 'active' or state like 'idle in%')
        """
    stage.start()
    producing = asyncio.create_task(trickle(stage, events))
    while not producing.done() or cuts < 5:
        cuts += await admin.fetchval(cut, name)
        await asyncio.sleep(0.02)
        if producing.done() and cuts < 5:
            await stage.produce(events[:50])
    await admin.close()
    await stage.until_handled()
    assert await stage.effects() == places(events)


async def test_a_fault_of_ours_ends_the_feed_and_says_which(stage: Stage) -> None:
    async with stage.database.write(OWNER) as tx:
        await tx.execute("revoke all on watermark from kit_worker")
    with capture_logs() as logs:
        running = stage.start()
        await stage.produce(histories(1, 1))
        with pytest.raises(Exception, match="permission denied for table watermark"):
            await asyncio.wait_for(running, 30)
    assert [
        line["consumer"] for line in logs if line["log_level"] == "error" and "process ends" in line["event"]
    ] == [stage.consumer]
