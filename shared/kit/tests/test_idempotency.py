"""One effect and one answer for a command that is sent more than once, on a real PostgreSQL."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import pytest
from asyncpg import PostgresError
from fastapi import Response

from channel_kit.auth import Caller
from channel_kit.database import STAFF, WORKER, Actor, Database, Write
from channel_kit.http import Body, View
from channel_kit.idempotency import InFlight, KeyReused, fingerprint, once, purge
from channel_kit.problems import Conflict

ROUTE = "POST /v1/receipts"
KEY = "0190a5a2-0000-7000-8000-000000000001"
CLERK = Caller("till-7", frozenset({"stock:write"}))


class Receive(Body):
    sku: str
    count: int


class Received(View):
    receipt_id: UUID
    note: str = "茶"


COMMAND = fingerprint(Receive(sku="A", count=1))


async def receive(
    database: Database,
    *,
    caller: Caller = CLERK,
    route: str = ROUTE,
    key: str = KEY,
    command: bytes = COMMAND,
    before: Callable[[], Awaitable[None]] | None = None,
) -> Response:
    async with database.write(caller.actor) as tx:

        async def effect() -> tuple[int, Received]:
            await tx.execute("insert into effect (n, aggregate_id) values (1, $1)", uuid4())
            if before is not None:
                await before()
            return 201, Received(receipt_id=uuid4())

        return await once(tx, caller, route, key, command, effect)


async def effects(database: Database) -> int:
    async with database.read(STAFF) as tx:
        return int(await tx.value("select count(*) from effect"))


async def test_a_repetition_gets_the_same_answer_and_no_second_effect(kit_database: Database) -> None:
    first = await receive(kit_database)
    again = await receive(kit_database)
    assert first.status_code == again.status_code == 201
    assert first.body == again.body
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["content-type"] == "application/json"
    assert await effects(kit_database) == 1


async def test_another_body_under_the_same_key_is_refused(kit_database: Database) -> None:
    await receive(kit_database)
    with pytest.raises(KeyReused):
        await receive(kit_database, command=fingerprint(Receive(sku="A", count=2)))
    assert await effects(kit_database) == 1


async def test_keys_of_callers_and_routes_are_their_own(kit_database: Database) -> None:
    await receive(kit_database)
    await receive(kit_database, caller=Caller("till-8", frozenset()))
    await receive(kit_database, route="POST /v1/issues")
    await receive(kit_database, key=KEY + "x")
    assert await effects(kit_database) == 4


async def test_names_that_join_alike_do_not_meet(kit_database: Database) -> None:
    await receive(kit_database, caller=Caller("a", frozenset()), route='b","c')
    await receive(kit_database, caller=Caller('a","b', frozenset()), route="c")
    assert await effects(kit_database) == 2


async def test_the_role_of_partners_cannot_read_anybody_s_answers(kit_database: Database) -> None:
    await receive(kit_database)
    with pytest.raises(PostgresError, match="permission denied"):
        async with kit_database.read(Actor.partner(uuid4())) as tx:
            await tx.rows("select body from idempotency")


async def test_a_rival_is_told_at_once_that_the_command_is_in_flight(kit_database: Database) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        entered.set()
        await leave.wait()

    first = asyncio.create_task(receive(kit_database, before=hold))
    await entered.wait()
    with pytest.raises(InFlight) as refused:
        await asyncio.wait_for(receive(kit_database), 5)
    assert refused.value.headers == {"Retry-After": "1"}
    await asyncio.wait_for(receive(kit_database, caller=Caller("till-8", frozenset())), 5)
    await asyncio.wait_for(receive(kit_database, route="POST /v1/issues"), 5)
    leave.set()
    answer = await first
    assert (await receive(kit_database)).body == answer.body
    assert await effects(kit_database) == 3


async def test_many_rivals_have_one_effect(kit_database: Database) -> None:
    async def insist() -> bytes:
        while True:
            try:
                return bytes((await receive(kit_database)).body)
            except InFlight:
                await asyncio.sleep(0.01)

    answers = await asyncio.gather(*(insist() for _ in range(40)))
    assert len(set(answers)) == 1
    assert await effects(kit_database) == 1


async def test_a_refusal_leaves_nothing_and_the_key_may_be_used_again(kit_database: Database) -> None:
    async def refuse() -> None:
        raise Conflict

    with pytest.raises(Conflict):
        await receive(kit_database, before=refuse)
    assert await effects(kit_database) == 0
    assert "idempotent-replayed" not in (await receive(kit_database)).headers
    assert await effects(kit_database) == 1


async def test_a_crash_before_the_commit_leaves_nothing(kit_database: Database) -> None:
    async def killed_before_commit() -> None:
        async with kit_database.write(STAFF) as tx:
            await _answered(tx)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await killed_before_commit()
    assert "idempotent-replayed" not in (await receive(kit_database)).headers


async def _answered(tx: Write) -> None:
    async def nothing() -> tuple[int, Received]:
        return 201, Received(receipt_id=UUID(int=1))

    await once(tx, CLERK, ROUTE, KEY, COMMAND, nothing)


async def test_after_its_time_a_key_is_new_again(kit_database: Database) -> None:
    first = await receive(kit_database)
    await _age(kit_database)
    again = await receive(kit_database, command=fingerprint(Receive(sku="B", count=9)))
    assert "idempotent-replayed" not in again.headers
    assert again.body != first.body
    assert (await receive(kit_database, command=fingerprint(Receive(sku="B", count=9)))).body == again.body
    assert await effects(kit_database) == 2


async def _age(database: Database) -> None:
    async with database.write(WORKER) as tx:
        await tx.execute("update idempotency set expires_at = now() - interval '1 second'")


async def test_purging_takes_what_is_over_in_batches(kit_database: Database) -> None:
    for number in range(5):
        await receive(kit_database, key=f"{KEY}-{number}")
    await _age(kit_database)
    await receive(kit_database, key=f"{KEY}-fresh")
    async with kit_database.write(WORKER) as tx:
        assert await purge(tx, 3) == 3
        assert await purge(tx, 3) == 2
        assert await purge(tx, 3) == 0
        assert await tx.value("select count(*) from idempotency") == 1


def test_a_fingerprint_depends_on_the_values_alone() -> None:
    one = Receive.model_validate_json('{"sku": "\\u8336", "count": 1}')
    other = Receive.model_validate_json('{ "count":1,"sku":"茶" }')
    assert fingerprint(one) == fingerprint(other)
    assert len(fingerprint(one)) == 32
    assert fingerprint(one) != fingerprint(Receive(sku="茶", count=2))
