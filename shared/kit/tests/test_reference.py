"""Reference data that arrives while a fact is in flight: lost without the lock, found with it."""

import asyncio
from contextlib import suppress
from uuid import UUID, uuid4

import pytest

from channel_kit import reference
from channel_kit.database import OWNER, WORKER, Database, Write

ROUNDS = 10


@pytest.fixture
async def shop(kit_database: Database) -> Database:
    """Facts that resolve against a binding, as an order resolves against a shop's."""
    async with kit_database.write(OWNER) as tx:
        for sql in (
            "create table binding (shop int primary key, partner int not null)",
            "create table fact (id uuid primary key, shop int not null, partner int)",
            "grant select, insert, update on binding, fact to kit_worker",
        ):
            await tx.execute(sql)
    return kit_database


class Race:
    """A fact reads "no binding" while the binding reads "no fact"; both wait for the other to have read."""

    def __init__(self, database: Database, shop: int, locked: bool) -> None:
        self.database, self.shop, self.locked = database, shop, locked
        self.fact_id = uuid4()
        self.both_read = asyncio.Barrier(2)

    async def _meet(self) -> None:
        with suppress(TimeoutError, asyncio.BrokenBarrierError):
            await asyncio.wait_for(self.both_read.wait(), 0.15)

    async def record_fact(self) -> None:
        async with self.database.write(WORKER) as tx:
            if self.locked:
                await reference.shared(tx)
            partner = await tx.value("select partner from binding where shop = $1", self.shop)
            await self._meet()
            await tx.execute("insert into fact values ($1, $2, $3)", self.fact_id, self.shop, partner)

    async def record_binding(self) -> None:
        async with self.database.write(WORKER) as tx:
            if self.locked:
                await reference.exclusive(tx)
            await tx.execute("insert into binding values ($1, 1)", self.shop)
            rows = await tx.rows("select id from fact where shop = $1 and partner is null", self.shop)
            await self._meet()
            await reference.mark(tx, "fact", [row.id for row in rows])

    async def lost(self) -> bool:
        """Whether nobody will ever join the two."""
        await asyncio.gather(self.record_fact(), self.record_binding())
        while await self.database.transact(WORKER, drain):
            pass
        async with self.database.read(WORKER) as tx:
            return await tx.value("select partner from fact where id = $1", self.fact_id) is None


async def drain(tx: Write) -> int:
    await reference.shared(tx)
    ids = await reference.take(tx, "fact")
    await tx.execute(
        "update fact set partner = b.partner from binding b where b.shop = fact.shop and fact.id = any($1::uuid[])",
        ids,
    )
    return len(ids)


async def test_without_the_lock_the_two_are_never_joined(shop: Database) -> None:
    assert [await Race(shop, n, locked=False).lost() for n in range(ROUNDS)] == [True] * ROUNDS


async def test_with_the_lock_they_always_are(shop: Database) -> None:
    assert [await Race(shop, n, locked=True).lost() for n in range(ROUNDS)] == [False] * ROUNDS


async def test_readers_do_not_exclude_each_other(kit_database: Database) -> None:
    async with kit_database.write(WORKER) as one, kit_database.write(WORKER) as two:
        await asyncio.wait_for(reference.shared(one), 1)
        await asyncio.wait_for(reference.shared(two), 1)


async def test_marks_are_taken_once_oldest_first(kit_database: Database) -> None:
    ids = [uuid4() for _ in range(5)]
    for each in ids:
        async with kit_database.write(WORKER) as tx:
            await reference.mark(tx, "order", [each, each])
            await reference.mark(tx, "line", [each])
    async with kit_database.write(WORKER) as one, kit_database.write(WORKER) as two:
        first, second = await reference.take(one, "order", 2), await reference.take(two, "order", 2)
    assert (set(first), set(second)) == (set(ids[:2]), set(ids[2:4])), "rivals take different ones"
    async with kit_database.write(WORKER) as tx:
        assert await reference.take(tx, "order", 9) == [ids[4]]
        assert await reference.take(tx, "order", 9) == []
        assert len(await reference.take(tx, "line", 9)) == 5


async def test_a_mark_made_while_its_predecessor_is_worked_off_is_not_lost(kit_database: Database) -> None:
    each: UUID = uuid4()
    async with kit_database.write(WORKER) as tx:
        await reference.mark(tx, "order", [each])
    async with kit_database.write(WORKER) as draining:
        assert await reference.take(draining, "order") == [each]

        async def mark_again() -> None:
            async with kit_database.write(WORKER) as tx:
                await reference.mark(tx, "order", [each])

        marking = asyncio.create_task(mark_again())
        await asyncio.sleep(0.1)
    await asyncio.wait_for(marking, 5)
    async with kit_database.write(WORKER) as tx:
        assert await reference.take(tx, "order") == [each]


async def test_a_drain_that_fails_keeps_its_marks(kit_database: Database) -> None:
    each = uuid4()
    async with kit_database.write(WORKER) as tx:
        await reference.mark(tx, "order", [each])
    with suppress(RuntimeError):
        async with kit_database.write(WORKER) as tx:
            await reference.take(tx, "order")
            raise RuntimeError
    async with kit_database.write(WORKER) as tx:
        assert await reference.take(tx, "order") == [each]
