"""A process that is killed between any two steps of relay or feed: what it left half done is done once in the end."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from channel_events.topics import PARTNER, Topic
from channel_kit import outbox
from channel_kit.database import WORKER, Database
from channel_kit.feed import Feed
from channel_kit.poll import Poll
from channel_kit.records import read
from channel_kit.relay import Relay
from channel_kit.service import Loop, Service
from channel_kit.testing.bench import effects, insert_effects, nowhere
from channel_kit.testing.broker import produce, read_topic
from channel_kit.testing.events import announcement, partner_event
from channel_kit.testing.processes import running
from channel_kit.testing.waiting import until
from channel_kit.topics import create_topics

pytestmark = pytest.mark.timeout(120)
TINY = Path(__file__).parent / "tiny_svc.py"


async def die_at(
    failpoint: str, database: Database, kafka: str, service: Service, topic: Topic, consumer: str
) -> None:
    """Runs the service's worker until the failpoint kills it."""
    settings = database.settings.model_copy(update={"kafka": kafka, "instance_id": "one"})
    environment = {
        "QUDAO_FAILPOINT": failpoint,
        "TINY_MIGRATIONS": str(service.migrations),
        "TINY_TOPIC": topic.name,
        "TINY_CONSUMER": consumer,
    }
    async with running([TINY, "worker"], settings, **environment) as child:
        assert await child.ended(60) == -signal.SIGKILL, child.said


@asynccontextmanager
async def restarted(loop: Loop) -> AsyncIterator[None]:
    """The same part again, in this process."""
    stopping = asyncio.Event()
    task = asyncio.create_task(loop.run(stopping))
    try:
        yield
    finally:
        stopping.set()
        await asyncio.wait_for(task, 20)


@pytest.fixture
async def quiet(kafka: str) -> Topic:
    """A topic on which nothing is."""
    topic = Topic(f"test.{uuid4().hex[:8]}", 4)
    await create_topics(kafka, topics=[topic])
    return topic


@pytest.mark.parametrize(
    ("failpoint", "sent_twice"),
    [
        ("relay.before_send", False),
        ("relay.before_ack", None),  # whether anything had left is not known
        ("relay.after_ack", True),
        ("relay.before_commit", True),
        ("relay.before_commit:2", True),  # the second round
        ("relay.after_commit", False),  # what is said to be sent is sent
    ],
)
async def test_a_relay_that_is_killed(
    kit_database: Database,
    kit_service: Service,
    kafka: str,
    quiet: Topic,
    failpoint: str,
    sent_twice: bool | None,
) -> None:
    ids = [uuid4() for _ in range(200)]
    async with kit_database.write(WORKER) as tx:  # two rounds
        await outbox.announce(tx, [announcement(a, version) for version in (1, 2, 3) for a in ids])
    await die_at(failpoint, kit_database, kafka, kit_service, quiet, f"test.{uuid4()}")

    async def published() -> bool:
        async with kit_database.read(WORKER) as tx:
            return not await tx.value("select count(*) from outbox_pending")

    async with restarted(Relay(kit_database, kafka)):
        await until(published)
    records = [
        record for record in await read_topic(kafka, PARTNER) if read(record).key.aggregate_id in set(ids)
    ]
    if sent_twice is not None:
        assert (len(records) > 600) == sent_twice
    await Poll("test.after", insert_effects).settle(kit_database, records, nowhere)
    assert await effects(kit_database) == sorted((a, version) for a in ids for version in (1, 2, 3))


@pytest.mark.parametrize(
    ("failpoint", "had_committed"),
    [
        ("feed.before_handle", False),
        ("feed.after_handle", False),
        ("feed.before_commit", False),
        ("feed.after_commit", True),
    ],
)
async def test_a_feed_that_is_killed(
    kit_database: Database,
    kit_service: Service,
    kafka: str,
    quiet: Topic,
    failpoint: str,
    had_committed: bool,
) -> None:
    events = [partner_event(a, version) for a in [uuid4() for _ in range(30)] for version in (1, 2, 3)]
    consumer = f"test.{uuid4().hex[:8]}"
    await produce(kafka, quiet, events)
    await die_at(failpoint, kit_database, kafka, kit_service, quiet, consumer)
    assert bool(await effects(kit_database)) == had_committed

    settings = kit_database.settings.model_copy(update={"kafka": kafka, "instance_id": "one"})
    feed = Feed(kit_database, settings, consumer=consumer, topic=quiet, handle=insert_effects)

    async def handled() -> bool:
        return len(await effects(kit_database)) >= len(events)

    async with restarted(feed):
        await until(handled, 40)
        await asyncio.sleep(0.6)  # whatever else it might do
    assert await effects(kit_database) == sorted((e.aggregate_id, e.aggregateversion) for e in events)
