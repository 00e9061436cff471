"""The relay against a real broker: nothing lost and nothing out of order, whatever is cut off; and what a cursor loses."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from uuid import UUID, uuid4

import pytest

from channel_events.catalog import decode
from channel_events.topics import PARTNER
from channel_kit import outbox
from channel_kit.database import WORKER, Database, Write
from channel_kit.local.server import free_port
from channel_kit.relay import Relay, partition
from channel_kit.testing.broker import read_topic
from channel_kit.testing.events import announcement
from channel_kit.testing.waiting import until

WRITERS, ROUNDS, AGGREGATES, RELAYS, CUTS_MIN = 16, 40, 24, 3, 25


async def topic_of(bootstrap: str, ids: set[UUID]) -> dict[UUID, list[tuple[int, UUID]]]:
    """Everything on the partner topic about these aggregates, per aggregate in the order of the topic."""
    found: dict[UUID, list[tuple[int, UUID]]] = defaultdict(list)
    for record in await read_topic(bootstrap, PARTNER):
        event = decode(record.value)
        if event.aggregate_id in ids:
            found[event.aggregate_id].append((event.aggregateversion, event.id))
    return found


async def write_jittery(database: Database, ids: Sequence[UUID], random_: random.Random) -> None:
    """One writer: locks an aggregate, takes its next version, announces, and dawdles before the commit."""
    for _ in range(ROUNDS):
        chosen = sorted(random_.sample(list(ids), random_.randint(1, 2)))
        async with database.write(WORKER) as tx:
            for aggregate_id in chosen:
                await tx.rows("select pg_advisory_xact_lock($1)", aggregate_id.int % 2**60)
            items = []
            for aggregate_id in chosen:
                last = await tx.value(
                    "select max(aggregate_version) from outbox where aggregate_id = $1", aggregate_id
                )
                items += [
                    announcement(aggregate_id, (last or 0) + 1 + n) for n in range(random_.randint(1, 2))
                ]
            await outbox.announce(tx, items)
            await asyncio.sleep(random_.uniform(0, 0.02))


async def follow_by_cursor(database: Database, over: asyncio.Event, seen: set[int]) -> None:
    """What is widely done: ids greater than the last one seen."""
    last = 0
    while True:
        ending = over.is_set()
        async with database.read(WORKER) as tx:
            rows = await tx.rows("select id from outbox where id > $1 order by id", last)
        seen |= {row.id for row in rows}
        last = max([last, *seen])
        if ending:
            return
        await asyncio.sleep(0.003)


async def disturb(
    relays: list[asyncio.Task[None]],
    start: Callable[[], asyncio.Task[None]],
    over: asyncio.Event,
    random_: random.Random,
) -> int:
    """Cuts off one relay after another in the middle of whatever it does, and starts another in its place."""
    cuts = 0
    while cuts < CUTS_MIN or not over.is_set():
        await asyncio.sleep(random_.uniform(0.02, 0.2))
        n = random_.randrange(len(relays))
        while not relays[n].done():  # Python 3.11 loses a cancel that meets the end of a wait_for
            relays[n].cancel()
            await asyncio.wait([relays[n]], timeout=0.5)
        relays[n] = start()
        cuts += 1
    return cuts


@pytest.mark.timeout(120)
async def test_nothing_is_lost_or_out_of_order_and_a_cursor_loses(kit_database: Database, kafka: str) -> None:
    ids, random_, stopping = [uuid4() for _ in range(AGGREGATES)], random.Random(7), asyncio.Event()
    pools = [
        Database("kit", kit_database.settings.model_copy(update={"pool_size": WRITERS if n == 0 else 2}))
        for n in range(2 + RELAYS)
    ]
    over, seen = asyncio.Event(), set[int]()
    number = iter(range(10**9))

    def start() -> asyncio.Task[None]:
        relay = Relay(pools[2 + next(number) % RELAYS], kafka, idle_seconds_max=0.05)
        return asyncio.create_task(relay.run(stopping))

    relays = [start() for _ in range(RELAYS)]
    cursor = asyncio.create_task(follow_by_cursor(pools[1], over, seen))
    disturbing = asyncio.create_task(disturb(relays, start, over, random_))
    await asyncio.gather(*(write_jittery(pools[0], ids, random.Random(n)) for n in range(WRITERS)))
    over.set()
    await cursor
    assert await disturbing >= CUTS_MIN
    await published(pools[0])
    stopping.set()
    await asyncio.gather(*relays)

    async with kit_database.read(WORKER) as tx:
        rows = await tx.rows("select id, aggregate_id, aggregate_version, event_id from outbox")
    wanted: dict[UUID, list[tuple[int, UUID]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.aggregate_version):
        wanted[row.aggregate_id].append((row.aggregate_version, row.event_id))
    found = await topic_of(kafka, set(ids))
    # The first appearance of each event counts: a cut-off round is sent again from its beginning.
    assert {key: list(dict.fromkeys(events)) for key, events in found.items()} == wanted
    repeats = sum(map(len, found.values())) - len(rows)
    assert repeats > 0, "no cut-off met a round, so it was no test"
    assert len(rows) - len(seen) > len(rows) // 100, "the control: a cursor loses what commits late"
    print(f"{len(rows)} events, {repeats} repeats, {len(rows) - len(seen)} lost by the cursor")
    for pool in pools:
        await pool.close()


async def published(database: Database, seconds: float = 30) -> None:
    async def nothing_pending() -> bool:
        async with database.read(WORKER) as tx:
            return not await tx.value("select count(*) from outbox_pending")

    await until(nothing_pending, seconds)


@pytest.fixture
async def announced(kit_database: Database) -> UUID:
    a = uuid4()

    async def run(tx: Write) -> None:
        await outbox.announce(tx, [announcement(a, 1), announcement(a, 2)])

    await kit_database.transact(WORKER, run)
    return a


async def test_an_idle_relay_sends_at_once_what_is_announced(
    kit_database: Database, kafka: str, stopping: asyncio.Event
) -> None:
    running = asyncio.create_task(Relay(kit_database, kafka, idle_seconds_max=30).run(stopping))
    await asyncio.sleep(1.5)  # by now it waits for longer than this test takes
    a = uuid4()
    async with kit_database.write(WORKER) as tx:
        await outbox.announce(tx, [announcement(a, 1)])
    await published(kit_database, seconds=3)
    stopping.set()
    await asyncio.wait_for(running, 10)
    assert [version for version, _ in (await topic_of(kafka, {a}))[a]] == [1]


async def test_an_absent_broker_loses_nothing_and_is_no_reason_to_restart(
    kit_database: Database, announced: UUID, stopping: asyncio.Event
) -> None:
    relay = Relay(kit_database, f"127.0.0.1:{free_port()}")
    running = asyncio.create_task(relay.run(stopping))
    await asyncio.sleep(1.5)
    assert not running.done()
    assert relay.health.stuck() is None
    stopping.set()
    await asyncio.wait_for(running, 15)
    async with kit_database.read(WORKER) as tx:
        assert await tx.value("select count(*) from outbox_pending") == 2


async def test_a_relay_that_ended_leaves_no_tasks_behind(
    kit_database: Database, kafka: str, announced: UUID, stopping: asyncio.Event
) -> None:
    before = asyncio.all_tasks()
    relay = Relay(kit_database, kafka)
    running = asyncio.create_task(relay.run(stopping))
    await published(kit_database)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await asyncio.sleep(0.1)
    assert asyncio.all_tasks() <= before


def test_a_key_keeps_its_partition_while_brokers_are_away() -> None:
    keys = [str(uuid4()).encode() for _ in range(200)]
    everywhere = [partition(key, range(12), range(12)) for key in keys]
    assert everywhere == [partition(key, range(12), [3]) for key in keys]
    assert set(everywhere) == set(range(12))
    assert partition(b"123456789", range(2**32), ()) == 0xCBF43926, "CRC-32 as everybody computes it"
