"""What the database itself refuses, whoever writes: a fault in our own saving must not get through."""

from typing import Any
from uuid import uuid4

import pytest
from asyncpg import PostgresError

from channel_kit.database import STAFF, WORKER, Actor, sqlstate

CHECK, FORBIDDEN, UNIQUE = "23514", "42501", "23505"


async def refused(house: Any, sql: str, actor: Actor = WORKER) -> str | None:
    """The SQLSTATE a statement is refused with; fails when it is not refused."""
    with pytest.raises(PostgresError) as caught:
        async with house.database.write(actor) as tx:
            await tx.execute(sql)
    return sqlstate(caught.value)


async def promised(house: Any) -> None:
    await house.register("A")
    await house.receive("A", 2)
    await house.apply(house.order(uuid4(), [{"sku": "A", "ordered": 2}]))


async def test_stock_that_is_promised_twice_is_refused(house: Any) -> None:
    await promised(house)
    for change in (
        "reserved = reserved + 1",
        "allocated = on_hand + 1, reserved = 0",
        "on_hand = 1",
        "quarantined = 1",
        "on_hand = -1, reserved = 0, allocated = 0",
        "reserved = -1",
        "safety = -0.5",
    ):
        assert await refused(house, f"update stock set {change}") == CHECK, change  # noqa: S608


async def test_hold_that_does_not_add_up_is_refused(house: Any) -> None:
    await promised(house)
    for change in (
        "held = held + 1",
        "committed = 1",
        "issued = 1, committed = committed - 1",
        "short = -1, committed = committed + 3",
        "demanded = demanded + 1",
        "committed = 0, held = 2",
        "sku = null",
    ):
        assert await refused(house, f"update hold set {change}") == CHECK, change  # noqa: S608


async def test_movements_and_announcements_are_only_ever_added(house: Any) -> None:
    for actor in (WORKER, STAFF):
        for sql in (
            "update movement set quantity = 1",
            "delete from movement",
            "update outbox set type = 'x'",
        ):
            assert await refused(house, sql, actor) == FORBIDDEN, sql


async def test_partner_cannot_write_anything(house: Any) -> None:
    tables = ("stock", "movement", "item", "listing", "location", "shop_location", "discrepancy", "refill")
    for table in (*tables, "reservation", "hold"):
        assert await refused(house, f"delete from {table}", Actor.partner(uuid4())) == FORBIDDEN  # noqa: S608
    for table in tables:
        assert await refused(house, f"select * from {table}", Actor.partner(uuid4())) == FORBIDDEN  # noqa: S608


async def test_every_table_with_a_partner_forces_row_level_security(house: Any) -> None:
    rows = await house.rows(
        """
        select c.relname, c.relrowsecurity and c.relforcerowsecurity as forced
        from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'partner_id'
        where c.relkind = 'r' order by 1
        """
    )
    assert [tuple(row) for row in rows] == [("hold", True), ("reservation", True)]


async def test_stock_row_exists_once_per_sku_and_location(house: Any) -> None:
    await house.register("A")
    await house.receive("A", 1)
    sql = "insert into stock (stock_id, sku, location) values (gen_random_uuid(), 'A', 'main')"
    assert await refused(house, sql) == UNIQUE
