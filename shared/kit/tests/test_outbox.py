"""Announcing: what is stored, what is refused, and how the outbox is kept small or sent again."""

import asyncio
import json
from contextlib import suppress
from uuid import uuid4

import pytest
from asyncpg import PostgresError

from channel_events.catalog import decode
from channel_kit import outbox, telemetry, upkeep
from channel_kit.database import OWNER, STAFF, WORKER, Database, sqlstate
from channel_kit.testing.events import announcement


async def pending(database: Database) -> int:
    async with database.read(WORKER) as tx:
        return int(await tx.value("select count(*) from outbox_pending"))


async def _announce_and_fail(database: Database) -> None:
    with suppress(RuntimeError):
        async with database.write(WORKER) as tx:
            await outbox.announce(tx, [announcement(uuid4(), 1)])
            raise RuntimeError


async def test_the_stored_text_is_the_event(kit_database: Database) -> None:
    a = uuid4()
    async with kit_database.write(WORKER) as tx:
        await outbox.announce(tx, [announcement(a, 1, "渠道 é \u2028"), announcement(a, 2)])
    async with kit_database.read(WORKER) as tx:
        rows = await tx.rows(
            "select *, payload::text as text, headers::text as header from outbox order by id"
        )
    events = [decode(row.text) for row in rows]
    assert [event.aggregateversion for event in events] == [1, 2]
    assert [event.id for event in events] == [row.event_id for row in rows]
    assert events[0].data.name == "渠道 é \u2028"
    assert events[0].source == "/qudao/kit-svc"
    assert {row.shard for row in rows} == {a.int % outbox.SHARDS}
    assert await pending(kit_database) == 2


async def test_the_trace_of_the_cause_is_kept(kit_database: Database) -> None:
    item, trace = announcement(uuid4(), 1), f"00-{'a' * 32}-{'b' * 16}-01"
    telemetry.remember({item.correlation_id: trace})
    async with kit_database.write(WORKER) as tx:
        await outbox.announce(tx, [item])
        headers = await tx.value("select headers::text from outbox")
    telemetry.remember({})
    assert json.loads(headers) == {"traceparent": trace}


async def test_nothing_stays_of_a_transaction_that_failed(kit_database: Database) -> None:
    await _announce_and_fail(kit_database)
    assert await pending(kit_database) == 0


async def test_versions_must_follow_each_other(kit_database: Database) -> None:
    a = uuid4()
    with pytest.raises(ValueError, match="version 3 does not follow 1"):
        async with kit_database.write(WORKER) as tx:
            await outbox.announce(tx, [announcement(a, 1), announcement(uuid4(), 9), announcement(a, 3)])


async def test_a_version_that_is_taken_is_refused(kit_database: Database) -> None:
    a = uuid4()
    async with kit_database.write(WORKER) as tx:
        await outbox.announce(tx, [announcement(a, 1)])
    with pytest.raises(PostgresError) as refused:
        async with kit_database.write(WORKER) as tx:
            await outbox.announce(tx, [announcement(a, 1)])
    assert sqlstate(refused.value) == "23505"


async def test_no_service_role_can_change_what_was_announced(kit_database: Database) -> None:
    async with kit_database.write(WORKER) as tx:
        await outbox.announce(tx, [announcement(uuid4(), 1)])
    for actor in (WORKER, STAFF):
        for sql in ("delete from outbox", "update outbox set type = 'x'", "truncate outbox"):
            with pytest.raises(PostgresError) as refused:
                async with kit_database.write(actor) as tx:
                    await tx.execute(sql)
            assert sqlstate(refused.value) == "42501"


async def test_a_commit_wakes_the_relay_and_a_rollback_does_not(kit_database: Database) -> None:
    woken = asyncio.Event()
    outbox.wake_with(woken)
    await _announce_and_fail(kit_database)
    assert not woken.is_set()
    async with kit_database.write(WORKER) as tx:
        await outbox.announce(tx, [announcement(uuid4(), 1)])
        assert not woken.is_set()
    assert woken.is_set()


async def test_waiting_counts_and_ages(kit_database: Database) -> None:
    async with kit_database.read(WORKER) as tx:
        assert await outbox.waiting(tx) == outbox.Waiting(0, 0)
    async with kit_database.write(WORKER) as tx:
        await outbox.announce(tx, [announcement(uuid4(), 1) for _ in range(3)])
    async with kit_database.write(OWNER) as tx:
        await tx.execute("update outbox set created_at = created_at - interval '90 s' where id = 1")
    await upkeep.refresh_gauges(kit_database)
    assert telemetry.outbox_pending._value.get() == 3
    assert 90 <= telemetry.outbox_oldest_seconds._value.get() < 150
    async with kit_database.read(WORKER) as tx:
        assert (await outbox.waiting(tx, rows_max=2)).rows == 2


async def test_only_old_published_rows_are_pruned(kit_database: Database) -> None:
    async with kit_database.write(WORKER) as tx:
        await outbox.announce(tx, [announcement(uuid4(), 1) for _ in range(7)])
        await tx.execute("delete from outbox_pending where id > 2")
    async with kit_database.write(OWNER) as tx:
        await tx.execute("update outbox set created_at = created_at - interval '40 days' where id <= 5")
    assert await upkeep.prune_outbox(kit_database, keep_days=30) == 3
    async with kit_database.read(WORKER) as tx:
        assert await tx.value("select array_agg(id order by id) from outbox") == [1, 2, 6, 7]
    assert await upkeep.prune_outbox(kit_database, keep_days=30) == 0


async def test_republishing_goes_on_where_it_stopped(kit_database: Database) -> None:
    async with kit_database.write(WORKER) as tx:
        await outbox.announce(tx, [announcement(uuid4(), 1) for _ in range(5)])
        await tx.execute("delete from outbox_pending where id <> 2")
    async with kit_database.write(STAFF) as tx:
        first = await outbox.republish(tx, topic=None, after_id=0, limit=3)
        assert first == outbox.Republished(2, 3), "one of the three was pending anyway"
        assert await outbox.republish(tx, topic="channel.order", after_id=0, limit=3) == (0, None)
        assert await outbox.republish(tx, topic="channel.partner", after_id=3, limit=9) == (2, 5)
        assert await outbox.republish(tx, topic=None, after_id=5, limit=9) == (0, None)
    assert await pending(kit_database) == 5
