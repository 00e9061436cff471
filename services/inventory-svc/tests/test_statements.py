"""Statements joined into one: each with its own arguments, all or none, and with every key still checked."""

from typing import Any
from uuid import uuid4

import pytest
from asyncpg import ForeignKeyViolationError, PostgresError

from channel_kit.database import STAFF, WORKER
from channel_kit.statements import Statement, together


def mark(*keys: str) -> Statement:
    return Statement("insert into refill (sku, location) select unnest($1::text[]), $2", [list(keys), "main"])


async def test_joined_statements_each_keep_their_arguments(house: Any) -> None:
    async with house.database.write(WORKER) as tx:
        assert await together(tx, []) == 0
        assert await together(tx, [mark("A")]) == 1
        assert await together(tx, [mark("B", "C"), mark("D", "E", "F"), mark("G")]) == 1, (
            "the last one's rows"
        )
    found = await house.rows("select sku, location from refill order by sku")
    assert [tuple(row) for row in found] == [(sku, "main") for sku in "ABCDEFG"]


async def test_one_that_fails_takes_all_with_it(house: Any) -> None:
    orphan = Statement("insert into hold (order_id, line_no) values ($1, 1)", [uuid4()])
    with pytest.raises(PostgresError):
        async with house.database.write(WORKER) as tx:
            await together(tx, [mark("A"), orphan])
    assert await house.rows("select * from refill") == []


async def test_foreign_keys_are_still_checked(house: Any) -> None:
    """By one kept plan, that is; and what the statement sets ends with its transaction. As staff: workers keep plans anyway."""
    hold = (
        "insert into hold (order_id, line_no, location, demanded, shipped, restock_due, held, committed, issued,"
        " short, expired, restocked) values ($1, 1, 'main', 0, 0, 0, 0, 0, 0, 0, 0, 0)"
    )
    for _ in range(7):
        with pytest.raises(ForeignKeyViolationError):
            async with house.database.write(STAFF) as tx:
                await together(tx, [Statement(hold, [uuid4()])])
    async with house.database.write(STAFF) as tx:
        await together(tx, [mark("A")])
    async with house.database.read(STAFF) as tx:
        plans, scans = await tx.value("show plan_cache_mode"), await tx.value("show enable_seqscan")
    assert (plans, scans) == ("force_custom_plan", "on")
