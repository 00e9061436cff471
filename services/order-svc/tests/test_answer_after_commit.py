"""A platform that has its answer never sends again, so the answer waits until the delivery is committed."""

import asyncio
from collections.abc import Callable
from typing import Any

from channel_kit.database import OWNER

Make = Callable[..., dict[str, Any]]


async def test_no_answer_while_the_delivery_is_not_committed(shop: Any, order: Make) -> None:
    async with shop.database.write(OWNER) as tx:
        await tx.execute("lock table delivery in exclusive mode")  # whoever stores a delivery waits here
        posting = asyncio.create_task(shop.post("orders/create", order()))
        await asyncio.wait([posting], timeout=0.4)
        assert not posting.done(), "answered although nothing is stored"
    assert (await posting).status_code == 200
    assert len(await shop.deliveries()) == 1


async def test_a_delivery_that_cannot_be_stored_is_not_answered_with_success(shop: Any, order: Make) -> None:
    async with shop.database.write(OWNER) as tx:
        await tx.execute("revoke insert on delivery from order_staff")
    try:
        refused = await shop.post("orders/create", order())
    finally:
        async with shop.database.write(OWNER) as tx:
            await tx.execute("grant insert on delivery to order_staff")
    assert refused.status_code >= 500
    assert await shop.deliveries() == []
    assert (await shop.post("orders/create", order())).status_code == 200
