"""Relay and feed when their broker is killed, comes back, or comes back without its memory. No operator helps them."""

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from channel_events.topics import PARTNER, Topic
from channel_kit import feed as feed_module
from channel_kit import outbox
from channel_kit.database import STAFF, WORKER, Database
from channel_kit.feed import Feed
from channel_kit.local.kafka import LocalKafka
from channel_kit.local.server import spawn, wait_ready
from channel_kit.relay import Relay
from channel_kit.testing.bench import insert_effects
from channel_kit.testing.events import announcement
from channel_kit.testing.waiting import until
from channel_kit.topics import WrongPartitions, cluster_id, create_topics

pytestmark = pytest.mark.timeout(240)
RESUMED_SECONDS_MAX = 30


class Broker:
    """A Kafka of this module's own, to kill."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kafka = LocalKafka(folder / "data")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return self._kafka.bootstrap

    async def start(self) -> None:
        await asyncio.to_thread(self._kafka.prepare)
        log = self._folder / "log"
        with log.open("ab") as output:
            self._process = spawn(self._kafka, output)  # in this thread: a child ends with its parent thread
        await asyncio.to_thread(wait_ready, self._kafka, self._process, log, 60)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def forget(self) -> None:
        shutil.rmtree(self._kafka.data)


@pytest.fixture(scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Broker]:
    broker = Broker(tmp_path_factory.mktemp("broker"))
    await broker.start()
    assert len(await create_topics(broker.bootstrap)) == 4
    yield broker
    broker.kill()


class House:
    """One service that announces to itself: outbox, relay, topic, feed, effect."""

    def __init__(self, database: Database, bootstrap: str) -> None:
        self.database, self.stopping = database, asyncio.Event()
        self.announced: list[tuple[UUID, int]] = []
        settings = database.settings.model_copy(update={"kafka": bootstrap})
        self.relay = Relay(database, bootstrap)
        self.feed = Feed(database, settings, consumer="test.house", topic=PARTNER, handle=insert_effects)
        self.tasks = [asyncio.create_task(loop.run(self.stopping)) for loop in (self.relay, self.feed)]

    async def announce(self, count: int) -> None:
        for _ in range(count):
            a = uuid4()
            async with self.database.write(WORKER) as tx:
                await outbox.announce(tx, [announcement(a, 1), announcement(a, 2)])
            self.announced += [(a, 1), (a, 2)]

    async def effects(self) -> list[tuple[UUID, int]]:
        """Of what this house announced; the topic holds other tests' events, too."""
        async with self.database.read(WORKER) as tx:
            rows = await tx.rows(
                "select e.* from effect e where aggregate_id in (select aggregate_id from outbox)"
            )
        return [(row.aggregate_id, row.n) for row in rows]

    async def settled(self, seconds: float = RESUMED_SECONDS_MAX) -> None:
        async def everything() -> bool:
            return len(await self.effects()) >= len(self.announced)

        await until(everything, seconds)
        assert sorted(await self.effects()) == sorted(self.announced)

    async def stop(self) -> None:
        self.stopping.set()
        await asyncio.wait_for(asyncio.gather(*self.tasks), 30)


@pytest.fixture
async def house(kit_database: Database, broker: Broker) -> AsyncIterator[House]:
    house = House(kit_database, broker.bootstrap)
    yield house
    await house.stop()


async def test_a_killed_broker_is_waited_out(house: House, broker: Broker) -> None:
    await house.announce(20)
    await house.settled()
    for _ in range(2):
        announcing = asyncio.create_task(house.announce(200))
        await asyncio.sleep(0.2)
        broker.kill()
        await announcing
        await asyncio.sleep(2)
        assert not any(task.done() for task in house.tasks)
        assert (house.relay.health.stuck(), house.feed.health.stuck()) == (None, None)
        await broker.start()
        await house.settled()


async def test_nothing_counts_as_sent_before_it_is_acknowledged(house: House, broker: Broker) -> None:
    await house.announce(5)
    await house.settled()
    broker.send(signal.SIGSTOP)  # it takes everything and answers nothing
    await house.announce(10)
    await asyncio.sleep(1.5)
    async with house.database.read(WORKER) as tx:
        pending = await tx.value("select count(*) from outbox_pending")
    broker.send(signal.SIGCONT)
    assert pending == 20
    await house.settled()


async def test_a_broker_that_lost_its_memory_is_filled_again(
    house: House, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "SURVEY_SECONDS", 0.5)
    await house.announce(50)
    await house.settled()
    before = await cluster_id(broker.bootstrap)
    broker.kill()
    broker.forget()
    await broker.start()
    await create_topics(broker.bootstrap)
    assert await cluster_id(broker.bootstrap) != before
    async with house.database.write(STAFF) as tx:
        assert (await outbox.republish(tx, topic=None, after_id=0, limit=10_000)).events == 100
    await house.announce(50)
    await house.settled()
    async with house.database.read(WORKER) as tx:
        assert await tx.value("select array_agg(distinct cluster_id) from feed_position") == [
            await cluster_id(broker.bootstrap)
        ]
        assert await tx.value("select count(*) from parked") == 0


async def test_a_topic_with_other_partitions_is_refused(broker: Broker) -> None:
    await create_topics(broker.bootstrap, topics=[Topic("odd", 3)])
    assert await create_topics(broker.bootstrap, topics=[Topic("odd", 3)]) == []
    with pytest.raises(WrongPartitions, match="odd has 3, not 12"):
        await create_topics(broker.bootstrap, topics=[Topic("odd", 12)])


async def test_topics_may_be_created_by_several_at_once(broker: Broker) -> None:
    topics = [Topic(f"at-once-{n}", 1) for n in range(5)]
    made = await asyncio.gather(*(create_topics(broker.bootstrap, topics=topics) for _ in range(3)))
    assert {name for names in made for name in names} == {topic.name for topic in topics}
