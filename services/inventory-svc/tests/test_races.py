"""Rivals on a real PostgreSQL: whatever the interleaving, nothing is promised twice and nobody is forgotten."""

import asyncio
import random
from typing import Any
from uuid import UUID, uuid4

import pytest
from asyncpg import PostgresError

from channel_kit import reference
from channel_kit.database import WORKER, Read, Write, sqlstate
from inventory_svc.hold import actions as holds
from inventory_svc.hold.values import Windows
from inventory_svc.listing import actions as listings

UNIQUE = "23505"
WINDOWS = Windows(1_800, {"brief": 1})


async def total(house: Any, column: str) -> int:
    (row,) = await house.rows(f"select coalesce(sum({column}), 0)::int as n from hold")  # noqa: S608
    return int(row.n)


async def test_v10_fifty_concurrent_holds_on_stock_ten_hold_exactly_ten(house: Any) -> None:
    await house.register("A")
    await house.receive("A", 10)
    await asyncio.gather(
        *(house.apply(house.order(uuid4(), [{"sku": "A", "ordered": 1}], "unpaid")) for _ in range(50))
    )
    assert (await total(house, "held"), await total(house, "short")) == (10, 40)
    assert (await house.stock("A")).reserved == 10
    await house.audit()


async def test_v10_carts_with_two_lines_of_one_sku_never_hold_more_than_ten(house: Any) -> None:
    await house.register("A", "B")
    await house.receive("A", 10)
    await house.receive("B", 7)
    carts = [
        [{"sku": "A", "ordered": 2}, {"sku": "B", "ordered": 1}, {"sku": "A", "ordered": 1}],
        [{"sku": "B", "ordered": 1}, {"sku": "A", "ordered": 3}, {"sku": "A", "ordered": 1}],
    ]
    await asyncio.gather(*(house.apply(house.order(uuid4(), carts[n % 2])) for n in range(20)))
    a, b = await house.stock("A"), await house.stock("B")
    assert (a.allocated, b.allocated) == (10, 7)
    await house.audit()


async def test_receipts_race_with_short_lines_and_nobody_waits_beside_free_stock(house: Any) -> None:
    await house.register("A")
    ids = [uuid4() for _ in range(20)]

    async def order(order_id: UUID) -> None:
        await asyncio.sleep(random.random() / 20)
        await house.apply(house.order(order_id, [{"sku": "A", "ordered": 1}]))

    async def receive() -> None:
        await asyncio.sleep(random.random() / 20)
        await house.receive("A", 1)

    async def refill() -> None:
        await asyncio.sleep(random.random() / 20)
        await house.database.transact(WORKER, lambda tx: holds.refill(tx, WINDOWS))

    await asyncio.gather(*map(order, ids), *(receive() for _ in range(20)), *(refill() for _ in range(10)))
    await house.drain()
    assert (await total(house, "committed"), await total(house, "short")) == (20, 0)
    await house.audit()


async def test_expiry_and_payment_race_and_exactly_one_decides(house: Any) -> None:
    await house.register("A")
    await house.receive("A", 12)
    ids = [uuid4() for _ in range(12)]
    for order_id in ids:
        await house.apply(house.order(order_id, [{"sku": "A", "ordered": 1}], "unpaid"))
        await house.pass_time(order_id)

    async def pay(order_id: UUID) -> None:
        await asyncio.sleep(random.random() / 30)
        await house.apply(house.order(order_id, [{"sku": "A", "ordered": 1}], "paid", 2))

    async def expire() -> None:
        await asyncio.sleep(random.random() / 30)
        await house.database.transact(WORKER, holds.expire)

    await asyncio.gather(*(pay(order_id) for order_id in ids[:8]), *(expire() for _ in range(4)))
    await house.drain()
    lines = [await house.hold(order_id) for order_id in ids]
    assert [line.committed for line in lines] == [1] * 8 + [0] * 4
    assert [line.expired for line in lines] == [0] * 8 + [1] * 4
    assert (await house.stock("A")).reserved == 0
    await house.audit()


async def mapping_in_flight(house: Any, monkeypatch: pytest.MonkeyPatch) -> UUID:
    """An order batch that has read "no mapping" and not yet committed, and a mapping that arrives just then."""
    await house.register("A")
    await house.receive("A", 5)
    order_id = uuid4()
    has_read, go_on = asyncio.Event(), asyncio.Event()
    resolve = listings.resolve

    async def resolve_slowly(tx: Read, keys: Any) -> Any:
        found = await resolve(tx, keys)
        has_read.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(listings, "resolve", resolve_slowly)
    batch = asyncio.create_task(house.apply(house.order(order_id, [{"platform_sku": "P-1", "ordered": 2}])))
    await has_read.wait()
    monkeypatch.setattr(listings, "resolve", resolve)
    mapping = asyncio.create_task(house.map("P-1", "A"))
    await asyncio.wait([mapping], timeout=0.3)
    if mapping.done():
        await house.drain()  # finds nobody who waits: the line is not committed yet
    go_on.set()
    await asyncio.gather(batch, mapping)
    await house.drain()
    return order_id


async def test_mapping_that_arrives_while_its_order_is_in_flight_is_not_missed(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await mapping_in_flight(house, monkeypatch)
    assert (await house.hold(order_id)).committed == 2
    await house.audit()


async def test_without_the_reference_lock_the_mapping_is_missed(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_lock(tx: Write) -> None:
        return None

    monkeypatch.setattr(reference, "shared", no_lock)
    order_id = await mapping_in_flight(house, monkeypatch)
    assert (await house.hold(order_id)).sku is None


async def test_without_the_stock_lock_the_announcement_s_version_stops_the_rival(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = Read.rows

    async def unlocked(self: Read, sql: str, *args: Any) -> Any:
        return await rows(self, sql.replace("for update of s", ""), *args)

    monkeypatch.setattr(Read, "rows", unlocked)
    await house.register("A")
    await house.receive("A", 10)
    outcomes = await asyncio.gather(
        *(house.apply(house.order(uuid4(), [{"sku": "A", "ordered": 1}], "unpaid")) for _ in range(50)),
        return_exceptions=True,
    )
    failures = [each for each in outcomes if isinstance(each, PostgresError)]
    assert {sqlstate(each) for each in failures} == {UNIQUE}, (
        "the race is real, and it is an error, not a sale"
    )
    assert await total(house, "held") <= 10
    await house.audit()


async def test_mapping_by_many_while_many_orders_come_leaves_no_line_unmapped(house: Any) -> None:
    await house.register("A")
    await house.receive("A", 100)
    ids = [uuid4() for _ in range(24)]

    async def order(order_id: UUID, n: int) -> None:
        await asyncio.sleep(random.random() / 20)
        await house.apply(house.order(order_id, [{"platform_sku": f"P-{n % 6}", "ordered": 1}]))

    async def map_sku(n: int) -> None:
        await asyncio.sleep(random.random() / 20)
        await house.map(f"P-{n}", "A")

    await asyncio.gather(*(order(each, n) for n, each in enumerate(ids)), *(map_sku(n) for n in range(6)))
    await house.drain()
    assert await total(house, "committed") == 24
    await house.audit()


async def test_opposite_orders_of_skus_do_not_deadlock(house: Any) -> None:
    skus = [f"S{n}" for n in range(6)]
    await house.register(*skus)
    for _ in range(3):
        await asyncio.gather(
            *(
                house.apply(
                    *(
                        house.order(uuid4(), [{"sku": sku, "ordered": 1} for sku in random.sample(skus, 4)])
                        for _ in range(5)
                    )
                )
                for _ in range(8)
            ),
            *(house.receive(random.choice(skus), 3) for _ in range(6)),
        )
    await house.drain()
    await house.audit()
