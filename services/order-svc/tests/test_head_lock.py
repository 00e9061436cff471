"""Whoever reads an order to change it has it alone until the end; the next one reads what came of it.

Two drains that meet may be kept apart by luck, since making the placeholder waits for a head that is being changed;
so the lock is tested where it is taken.
"""

import asyncio
from typing import Any
from uuid import uuid4

from channel_kit.database import WORKER, Database
from channel_kit.ids import uuid7
from order_svc.order import store
from order_svc.order.actions import apply
from order_svc.order.values import News, Triple


async def test_a_head_that_is_read_to_be_changed_is_read_by_one_at_a_time(
    database: Database, histories: Any
) -> None:
    triple = Triple("shopify", f"shop-{uuid4()}", "9001")
    line = histories.Line("a", "product", histories.Decimal(1), histories.Components(90))
    order = histories.Platform([line], "none").document(1)
    refund = histories.Refund("r", "9001", "CNY", 40, histories.PLACED)
    await database.transact(WORKER, lambda tx: apply(tx, [News(uuid7(), triple, order)]))

    async def next_one() -> int:
        async with database.write(WORKER) as tx:
            return (await store.lock(tx, [order_id]))[order_id].stream_version

    async with database.write(WORKER) as tx:
        [order_id] = (await store.find(tx, [triple])).values()
        seen = (await store.lock(tx, [order_id]))[order_id].stream_version
        waiting = asyncio.create_task(next_one())
        await asyncio.wait([waiting], timeout=0.3)
        assert not waiting.done(), "it read a head that somebody else was about to change"
        await apply(tx, [News(uuid7(), triple, refund)])
    assert await waiting == seen + 1
