"""The order family as it comes from a topic: doubled, shuffled and replayed, it ends the same."""

import random
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from channel_events import catalog
from channel_events.envelope import Event
from channel_kit.database import WORKER, Write
from channel_kit.poll import Poll, Record
from inventory_svc.feeds import order, partner
from inventory_svc.hold.values import Windows

WINDOWS = Windows(1_800, {})


def records(events: Sequence[Event[Any]]) -> list[Record]:
    return [
        Record("channel.order", 0, offset, catalog.encode(event).encode(), {})
        for offset, event in enumerate(events)
    ]


async def position(tx: Write) -> None:
    return None


def history(house: Any, order_id: UUID) -> list[Event[Any]]:
    steps: list[tuple[list[dict[str, Any]], str]] = [
        ([{"sku": "A", "ordered": 3}], "unpaid"),
        ([{"sku": "A", "ordered": 3}], "paid"),
        ([{"sku": "A", "ordered": 3, "shipped": 1}], "paid"),
        ([{"sku": "A", "ordered": 3, "shipped": 2, "cancelled": 1}], "partially_refunded"),
        ([{"sku": "A", "ordered": 3, "shipped": 2, "cancelled": 1, "restocked": 1}], "refunded"),
    ]
    return [house.order(order_id, *step, version) for version, step in enumerate(steps, 1)]


async def test_events_doubled_and_shuffled_end_like_the_last_word(house: Any) -> None:
    await house.register("A")
    await house.receive("A", 50)
    ids = [uuid4() for _ in range(8)]
    events = [event for order_id in ids for event in history(house, order_id)] * 2
    random.Random(7).shuffle(events)
    poll = Poll(order.CONSUMER, order.handler(WINDOWS))
    for at in range(0, len(events), 13):
        await poll.settle(house.database, records(events[at : at + 13]), position)
    assert not await house.rows("select * from parked")
    for order_id in ids:
        line = await house.hold(order_id)
        assert (line.issued, line.committed, line.restocked, line.demanded) == (2, 0, 1, 2)
    assert (await house.stock("A")).on_hand == 50 - 8 * 2 + 8
    await house.audit()


async def test_full_replay_has_no_effect(house: Any) -> None:
    await house.register("A")
    await house.receive("A", 5)
    events = history(house, uuid4())
    poll = Poll(order.CONSUMER, order.handler(WINDOWS))
    await poll.settle(house.database, records(events), position)
    count = "select (select count(*) from outbox) as told, (select count(*) from movement) as moved"
    before = await house.rows(count)
    await poll.settle(house.database, records(events), position)
    assert await house.rows(count) == before


async def test_partner_family_leaves_signing_keys_and_nothing_else(house: Any, api: Any) -> None:
    (key,) = await house.rows("select kid from signing_key")
    assert key.kid == api.kid
    async with house.database.write(WORKER) as tx:
        await partner.handle(tx, [house.order(uuid4(), [])])
    assert len(await house.rows("select kid from signing_key")) == 1
