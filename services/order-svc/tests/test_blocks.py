"""The sealed chain: what was known at a time stays what was known, and one altered value is found."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from channel_kit.clock import now
from channel_kit.database import WORKER, Database
from channel_kit.ids import uuid7
from order_svc.block import store
from order_svc.block.actions import seal_next
from order_svc.block.rules import GENESIS, merkle_root, seal
from order_svc.intake import rules as intake
from order_svc.intake import store as deliveries
from order_svc.order import actions as orders

Make = Callable[..., dict[str, Any]]


async def sealed(database: Database) -> None:
    while await database.transact(WORKER, seal_next):
        pass


async def known(shop: Any, number: int, at: str) -> list[str]:
    order_id = await shop.order_id(str(number))
    answer = await shop.http.get(f"/v1/orders/{order_id}/entries", params={"known_at": at})
    assert answer.status_code == 200, answer.text
    return sorted(entry["entry_id"] for entry in answer.json()["entries"])


async def blocks(shop: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await shop.http.get("/v1/ledger/blocks", params={"limit": 2, **cursor})).json()
        found += page["items"]
        if not page["next_cursor"]:
            return found[::-1]
        cursor = {"cursor": page["next_cursor"]}


async def test_every_entry_is_sealed_and_the_chain_verifies_from_the_first_block_to_the_head(
    shop: Any, order: Make, refund: Make
) -> None:
    for number in range(3):
        await shop.post("orders/create", order(number))
        await shop.drain()
        await sealed(shop.database)
    await shop.post("refunds/create", refund(1))
    await shop.drain()
    await sealed(shop.database)
    assert await shop.rows("select 1 from ledger_unsealed") == []
    chain = await blocks(shop)
    assert [block["block_no"] for block in chain] == list(range(1, len(chain) + 1))
    assert [block["prev_hash"] for block in chain] == [GENESIS, *(block["hash"] for block in chain[:-1])]
    for block in chain:
        shown = (await shop.http.get(f"/v1/ledger/blocks/{block['block_no']}")).json()
        assert shown == {**block, "verified": True}
    assert (await shop.http.get(f"/v1/ledger/blocks/{len(chain) + 1}")).status_code == 404


@pytest.mark.parametrize(
    "altered",
    [
        "update ledger_entry set list_minor = list_minor + 1, tax_minor = tax_minor - 1 where entry_id = $1",
        "update ledger_entry set channel = 'x' where entry_id = $1",
        "update ledger_entry set recorded_at = recorded_at + interval '1 microsecond' where entry_id = $1",
        "update ledger_entry set quantity = quantity + 0.000001 where entry_id = $1",
        "update ledger_entry set entry_hash = reverse(entry_hash) where entry_id = $1",
    ],
)
async def test_one_altered_value_of_a_sealed_entry_is_found(
    shop: Any, postgres: str, order: Make, altered: str
) -> None:
    await shop.post("orders/create", order(91))
    await shop.drain()
    await sealed(shop.database)
    [entry] = [e for e in await shop.entries("91") if (e["kind"], e["line_no"]) == ("ordered", 1)]
    path = f"/v1/ledger/blocks/{entry['block_no']}"
    url = shop.database.settings.owner_database_url.get_secret_value()
    superuser = await asyncpg.connect(f"{postgres.rsplit('/', 1)[0]}/{url.rsplit('/', 1)[1]}")
    try:
        async with superuser.transaction():
            kept = await superuser.fetchrow(
                "select * from ledger_entry where entry_id = $1", entry["entry_id"]
            )
            await superuser.execute(altered, entry["entry_id"])
        assert kept is not None
        assert (await shop.http.get(path)).json()["verified"] is False
        names = ("list_minor", "tax_minor", "channel", "recorded_at", "quantity", "entry_hash")
        sets = ", ".join(f"{name} = ${n}" for n, name in enumerate(names, start=2))
        await superuser.execute(
            f"update ledger_entry set {sets} where entry_id = $1",  # noqa: S608  constant names
            entry["entry_id"],
            *(kept[name] for name in names),
        )
    finally:
        await superuser.close()
    assert (await shop.http.get(path)).json()["verified"] is True


async def test_no_role_of_the_service_may_change_or_delete_an_entry(shop: Any) -> None:
    for statement in (
        "update ledger_entry set sku = 'x'",
        "delete from ledger_entry",
        "delete from ledger_block",
    ):
        with pytest.raises(Exception, match="permission denied"):
            async with shop.database.write(WORKER) as tx:
                await tx.execute(statement)


async def test_what_was_known_is_repeatable_although_a_slow_writer_commits_later(
    shop: Any, order: Make
) -> None:
    """Its rows carry an earlier time than the block, so a filter on that time would show them afterwards."""
    await shop.post("orders/create", order(200))
    appended, commit = asyncio.Event(), asyncio.Event()

    async def write_slowly() -> None:
        async with shop.database.write(WORKER) as tx:
            [delivery] = await deliveries.claim(tx, 1, 1)
            await orders.apply(tx, intake.read(delivery).news)
            await deliveries.settle(tx, [deliveries.Settled(delivery.delivery_id, "applied")])
            appended.set()
            await commit.wait()

    slow = asyncio.create_task(write_slowly())
    await appended.wait()
    await shop.post("orders/create", order(201))
    await shop.drain()
    await sealed(shop.database)
    head = (await blocks(shop))[-1]
    first = await known(shop, 201, head["sealed_at"])
    assert len(first) == 4
    commit.set()
    await slow
    assert await known(shop, 200, head["sealed_at"]) == []
    await sealed(shop.database)
    assert await known(shop, 200, head["sealed_at"]) == []
    assert await known(shop, 201, head["sealed_at"]) == first
    recorded = await shop.rows(
        "select 1 from ledger_entry where order_id = $1 and recorded_at <= $2::text::timestamptz",
        await shop.order_id("200"),
        head["sealed_at"],
    )
    assert len(recorded) == 4
    assert len(await known(shop, 200, (await blocks(shop))[-1]["sealed_at"])) == 4


async def test_asking_for_now_waits_for_the_block_being_sealed(shop: Any, order: Make) -> None:
    """Without that, the same question would be answered differently a moment later."""
    await shop.post("orders/create", order(300))
    await shop.drain()
    taken = asyncio.Event()

    async def seal_slowly() -> None:
        async with shop.database.write(WORKER) as tx:
            assert await seal_next(tx) > 0
            taken.set()
            await asyncio.sleep(0.2)

    slow = asyncio.create_task(seal_slowly())
    await taken.wait()
    at = now().isoformat()
    assert len(await known(shop, 300, at)) == 4
    await slow
    assert len(await known(shop, 300, at)) == 4


async def test_what_will_be_known_cannot_be_asked(shop: Any, order: Make) -> None:
    await shop.post("orders/create", order(400))
    await shop.drain()
    query = {"known_at": (now() + timedelta(hours=1)).isoformat()}
    answer = await shop.http.get(f"/v1/orders/{await shop.order_id('400')}/entries", params=query)
    assert (answer.status_code, answer.json()["code"]) == (422, "not-yet-known")


async def test_there_is_one_sealer_at_a_time_and_its_blocks_move_forward_in_time(
    shop: Any, order: Make
) -> None:
    async with shop.database.write(WORKER) as tx:
        assert await store.become_sealer(tx) is not None
        async with shop.database.write(WORKER) as rival:
            assert await store.become_sealer(rival) is None
            assert await seal_next(rival) == 0
    await shop.post("orders/create", order(500))
    await shop.drain()
    last = (await blocks(shop))[-1]
    ahead = now() + timedelta(days=1)  # the clock was wrong once, and put right
    async with shop.database.write(WORKER) as tx:
        root, digest = seal(last["block_no"] + 1, last["hash"], ahead, ["00" * 32])
        await store.add_block(tx, store.Block(last["block_no"] + 1, last["hash"], root, digest, 1, ahead), [])
    await sealed(shop.database)
    times = [block["sealed_at"] for block in await blocks(shop)]
    assert times == sorted(set(times))


def test_a_tree_of_other_leaves_or_another_order_has_another_root() -> None:
    leaves = [f"{n:064x}" for n in range(5)]
    roots = [merkle_root(leaves[:n]) for n in range(1, 6)] + [
        merkle_root(leaves[::-1]),
        merkle_root([*leaves, leaves[4]]),
    ]
    assert len(set(roots)) == len(roots)


async def test_the_table_takes_one_reversal_of_an_entry(shop: Any, order: Make) -> None:
    await shop.post("orders/create", order())
    await shop.drain()
    await shop.post("orders/updated", order(updated="2026-03-02T11:00:00+08:00", quantity=3))
    await shop.drain()
    again = """
        insert into ledger_entry select (r).* from (
          select json_populate_record(e, json_build_object('entry_id', $1::uuid)) r from ledger_entry e
          where e.reverses_entry_id is not null limit 1)"""
    with pytest.raises(asyncpg.UniqueViolationError, match="ledger_entry_reverses_entry_id_key"):
        async with shop.database.write(WORKER) as tx:
            await tx.execute(again, uuid7())
