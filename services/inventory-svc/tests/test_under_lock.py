"""What is decided is decided on what stands there under the lock, not on what was read on the way to it.

Each test lets one transaction come first and another wait behind it at a known place, so that the outcome does not
hang on luck; `test_races` lets many meet wherever they happen to.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

from channel_kit.database import WORKER, Write
from inventory_svc.hold import actions as holds
from inventory_svc.hold.values import Windows

WINDOWS = Windows(1_800, {})
Run = Callable[[Write], Awaitable[Any]]


async def one_behind_the_other(house: Any, first: Run, second: Run) -> list[BaseException | None]:
    """`second` begins when `first` has done its work, and `first` commits only then; how each ended."""
    done, commit = asyncio.Event(), asyncio.Event()

    async def ahead() -> None:
        async with house.database.write(WORKER) as tx:
            await first(tx)
            done.set()
            await commit.wait()

    async def behind() -> None:
        await done.wait()
        async with house.database.write(WORKER) as tx:
            await second(tx)

    both = [asyncio.create_task(ahead()), asyncio.create_task(behind())]
    await done.wait()
    await asyncio.wait([both[1]], timeout=0.3)  # it waits for a lock, or has decided without one
    commit.set()
    return [
        each if isinstance(each, BaseException) else None
        for each in await asyncio.gather(*both, return_exceptions=True)
    ]


def buying(house: Any, quantity: int) -> Run:
    order = house.order(uuid4(), [{"sku": "A", "ordered": quantity}], "unpaid")
    return lambda tx: holds.apply(tx, [order], WINDOWS)


async def test_the_last_unit_is_promised_once_and_the_other_order_is_short(house: Any) -> None:
    await house.register("A")
    await house.receive("A", 1)
    assert await one_behind_the_other(house, buying(house, 1), buying(house, 1)) == [None, None]
    rows = await house.rows("select held::int, short::int from hold order by held")
    assert [(row.held, row.short) for row in rows] == [(0, 1), (1, 0)]
    await house.audit()


async def test_more_than_there_is_is_short_and_not_left_to_a_constraint(house: Any) -> None:
    await house.register("A")
    await house.receive("A", 3)
    outcomes = await one_behind_the_other(house, buying(house, 2), buying(house, 5))
    assert outcomes == [None, None]
    rows = await house.rows("select held::int, short::int from hold order by held, short")
    assert [(row.held, row.short) for row in rows] == [(1, 4), (2, 0)]
    await house.audit()


async def test_a_sweep_that_waited_for_a_payment_leaves_what_was_paid(house: Any) -> None:
    await house.register("A")
    await house.receive("A", 1)
    order_id = uuid4()
    line = [{"sku": "A", "ordered": 1}]
    await house.apply(house.order(order_id, line, "unpaid"))
    await house.pass_time(order_id)
    paid = house.order(order_id, line, "paid", 2)
    outcomes = await one_behind_the_other(
        house, lambda tx: holds.apply(tx, [paid], WINDOWS), lambda tx: holds.expire(tx)
    )
    assert outcomes == [None, None]
    hold, stock = await house.hold(order_id), await house.stock("A")
    assert (hold.committed, hold.expired, stock.allocated, stock.reserved) == (1, 0, 1, 0)
    await house.audit()
