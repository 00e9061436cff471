"""Transactions, roles and partner isolation on a real PostgreSQL."""

import asyncio
from contextlib import suppress
from uuid import uuid4

import pytest
from asyncpg import PostgresError

from channel_kit.database import STAFF, WORKER, Actor, Database, StaleWrite, Write, sqlstate

OURS, THEIRS = uuid4(), uuid4()


async def _fill(database: Database) -> None:
    async with database.write(WORKER) as tx:
        await tx.execute(
            "insert into effect select n, gen_random_uuid(), p from unnest($1::bigint[], $2::uuid[]) t(n, p)",
            [1, 2, 3],
            [OURS, THEIRS, None],
        )


async def test_a_partner_sees_its_own_rows_only(kit_database: Database) -> None:
    await _fill(kit_database)
    async with kit_database.read(Actor.partner(OURS)) as tx:
        assert await tx.value("select array_agg(n) from effect") == [1]
    async with kit_database.read(STAFF) as tx:
        assert await tx.value("select count(*) from effect") == 3


async def test_a_partner_cannot_write_for_another(kit_database: Database) -> None:
    with pytest.raises(PostgresError) as refused:
        async with kit_database.write(Actor.partner(OURS)) as tx:
            await tx.execute("insert into effect values (9, gen_random_uuid(), $1)", THEIRS)
    assert sqlstate(refused.value) == "42501"


async def test_pooled_connections_forget_the_partner(kit_database: Database) -> None:
    await _fill(kit_database)
    for turn in range(200):
        actor, expected = ((Actor.partner(OURS), 1), (STAFF, 3), (Actor.partner(THEIRS), 1))[turn % 3]
        async with kit_database.read(actor) as tx:
            assert await tx.value("select count(*) from effect") == expected


async def test_without_a_role_nothing_is_seen(kit_database: Database) -> None:
    await _fill(kit_database)
    with pytest.raises(PostgresError) as refused:  # noqa: PT012  the block ends with its error
        async with kit_database.read(STAFF) as tx:
            await tx.rows("select set_config('role', 'none', true)")
            await tx.value("select count(*) from effect")
    assert sqlstate(refused.value) == "42501"


async def test_a_failed_block_leaves_nothing(kit_database: Database) -> None:
    with suppress(RuntimeError):
        async with kit_database.write(WORKER) as tx:
            await tx.execute("insert into effect values (1, gen_random_uuid(), null)")
            raise RuntimeError
    async with kit_database.read(WORKER) as tx:
        assert await tx.value("select count(*) from effect") == 0


async def test_an_error_that_is_kept_back_does_not_pass_for_a_commit(kit_database: Database) -> None:
    with pytest.raises(RuntimeError, match="kept to itself"):  # noqa: PT012  the block ends with it
        async with kit_database.write(WORKER) as tx:
            await tx.execute("insert into effect values (1, gen_random_uuid(), null)")
            with suppress(PostgresError):
                await tx.execute("select 1 / 0")
    async with kit_database.write(WORKER) as tx:
        await tx.execute("insert into effect values (2, gen_random_uuid(), null)")
        with suppress(PostgresError):
            async with tx.savepoint():
                await tx.execute("select 1 / 0")
        assert [tuple(row) for row in await tx.rows("select n from effect")] == [(2,)]


async def test_wake_ups_run_after_the_commit_only(kit_database: Database) -> None:
    woken: list[int] = []

    def wake() -> None:
        woken.append(1)

    with suppress(RuntimeError):
        async with kit_database.write(WORKER) as tx:
            tx.on_commit(wake)
            raise RuntimeError
    assert woken == []
    async with kit_database.write(WORKER) as tx:
        tx.on_commit(wake)
        tx.on_commit(wake)
        assert woken == []
    assert woken == [1]


async def test_a_lost_race_runs_again(kit_database: Database) -> None:
    tries: list[int] = []

    async def run(tx: Write) -> int:
        tries.append(1)
        await tx.execute("insert into effect values (1, gen_random_uuid(), null)")
        if len(tries) < 3:
            raise StaleWrite("a rival was first")
        return len(tries)

    assert await kit_database.transact(WORKER, run) == 3
    async with kit_database.read(WORKER) as tx:
        assert await tx.value("select count(*) from effect") == 1


async def test_a_lone_statement_of_the_staff_s_commits_itself(kit_database: Database) -> None:
    async with kit_database.staff_alone() as tx:
        assert await tx.value("select current_user") == "kit_staff"
        first = await tx.value("select pg_backend_pid()")
        assert await tx.execute("insert into effect values (1, gen_random_uuid(), null)") == 1
    async with kit_database.read(WORKER) as tx:
        assert await tx.value("select count(*) from effect") == 1
    async with kit_database.staff_alone() as tx:
        assert await tx.value("select pg_backend_pid()") == first, "the connection is kept"


async def test_a_lone_statement_that_failed_leaves_a_new_connection(kit_database: Database) -> None:
    async with kit_database.staff_alone() as tx:
        first = await tx.value("select pg_backend_pid()")
    with pytest.raises(PostgresError):
        async with kit_database.staff_alone() as tx:
            await tx.execute("select 1 / 0")
    async with kit_database.staff_alone() as tx:
        second = await tx.value("select pg_backend_pid()")
        assert second != first
    async with kit_database.read(STAFF) as other:
        await other.rows(
            "select set_config('role', 'none', true)"
        )  # the login's own rights: of the same login
        await other.value("select pg_terminate_backend($1)", second)
    for _ in range(200):
        if tx.driver.is_closed():
            break
        await asyncio.sleep(0.01)
    async with kit_database.staff_alone() as tx:
        assert await tx.value("select 1") == 1, "a connection that died while nobody used it is replaced"


async def test_lone_statements_take_turns(kit_database: Database) -> None:
    async def one(n: int) -> None:
        async with kit_database.staff_alone() as tx:
            await tx.execute("insert into effect values ($1, gen_random_uuid(), null)", n)

    await asyncio.gather(*(one(n) for n in range(20)))
    async with kit_database.read(WORKER) as tx:
        assert await tx.value("select array_agg(n order by n) from effect") == list(range(20))
