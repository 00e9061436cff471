"""What the relay sends is what was announced: the very text, under the very id, in the order of the outbox."""

import asyncio
from uuid import UUID, uuid4

from channel_events.catalog import decode
from channel_events.topics import PARTNER
from channel_kit import outbox
from channel_kit.database import STAFF, WORKER, Database
from channel_kit.relay import Relay
from channel_kit.testing.broker import read_topic
from channel_kit.testing.events import announcement
from channel_kit.testing.waiting import until

VERSIONS = 60


async def sent(bootstrap: str, aggregate_id: UUID) -> list[tuple[int, UUID, bytes]]:
    """Version, event id and text of everything on the topic about one aggregate, in the order of the topic."""
    records = [record.value or b"" for record in await read_topic(bootstrap, PARTNER)]
    events = [(decode(text), text) for text in records if str(aggregate_id).encode() in text]
    return [(event.aggregateversion, event.id, text) for event, text in events]


async def relayed(database: Database, kafka: str) -> None:
    """Runs a relay until nothing is pending."""

    async def nothing_pending() -> bool:
        async with database.read(WORKER) as tx:
            return not await tx.value("select count(*) from outbox_pending")

    stopping = asyncio.Event()
    running = asyncio.create_task(Relay(database, kafka).run(stopping))
    await until(nothing_pending, 20)
    stopping.set()
    await asyncio.wait_for(running, 10)


async def test_events_leave_as_stored_in_order_and_once_more_the_same(
    kit_database: Database, kafka: str
) -> None:
    a = uuid4()
    async with kit_database.write(WORKER) as tx:
        await outbox.announce(tx, [announcement(a, version) for version in range(1, VERSIONS + 1)])
        stored = [
            (row.aggregate_version, row.event_id, row.text.encode())
            for row in await tx.rows("select *, payload::text as text from outbox order by id")
        ]
    await relayed(kit_database, kafka)
    assert await sent(kafka, a) == stored
    async with kit_database.write(STAFF) as tx:
        assert (await outbox.republish(tx, topic=None, after_id=0, limit=1_000)).events == VERSIONS
    await relayed(kit_database, kafka)
    assert await sent(kafka, a) == stored * 2, "a copy is told from news by its id and version alone"
