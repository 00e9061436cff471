"""The read model on real PostgreSQL: duplicates, replays, unknowns as keys, newest versions, audit by SQL."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from asyncpg import PostgresError

from channel_events import catalog
from channel_events.envelope import Event
from channel_events.inventory import ItemBody, StockBody
from channel_kit.database import OWNER, STAFF, WORKER, Actor, Database, sqlstate
from channel_kit.testing.plugin import ServiceDatabase

START = datetime(2026, 7, 1, 2, tzinfo=UTC)
PARTNERS = (None, UUID(int=1), UUID(int=2))
KINDS = ("ordered", "cancelled", "returned", "paid", "refunded", "shipped", "fee")

# The fifth audit equation: the days are the group-by of entries and rebate shares.
DAYS_DIFFER = """
    with contribution as (
      select business_on as day, currency, partner_id, channel, sku, 1 as entries,
        net_minor - tax_minor - freight_minor - platform_coupon_minor as net_sales, net_minor, kind,
        case when line_kind = 'product' then quantity else 0 end as units, 0 as rebate
      from entry_fact
      union all
      select day, currency, partner_id, channel, sku, 0, 0, 0, '', 0, rebate_minor from rebate_fact
    ), recomputed as (
      select day, currency, partner_id, channel, sku, sum(entries) as entries,
        coalesce(sum(units) filter (where kind = 'ordered'), 0) as ordered_units,
        coalesce(sum(units) filter (where kind = 'shipped'), 0) as shipped_units,
        coalesce(sum(net_sales) filter (where kind = 'paid'), 0) as paid_net_sales_minor,
        coalesce(sum(net_sales) filter (where kind = 'refunded'), 0) as refunded_net_sales_minor,
        coalesce(sum(net_minor) filter (where kind = 'fee'), 0) as fee_minor,
        sum(rebate) as rebate_minor
      from contribution group by 1, 2, 3, 4, 5
    ), stored as (
      select day, currency, partner_id, channel, sku, entries, ordered_units, shipped_units,
        paid_net_sales_minor, refunded_net_sales_minor, fee_minor, rebate_minor
      from daily_fact where entries <> 0 or rebate_entries <> 0
    )
    select count(*) from (
      (select * from recomputed except all select * from stored)
      union all (select * from stored except all select * from recomputed)
    ) as difference
"""


def history(make: Any, seed: int) -> list[Event[Any]]:
    """Forty orders with a few events each, their accruals, an item and a stock row; per aggregate in order."""
    chance = random.Random(seed)
    events: list[Event[Any]] = []
    for _ in range(40):
        order_id = uuid4()
        for version in range(1, chance.randint(2, 4)):
            at = START + timedelta(hours=chance.randint(0, 200))
            partner_id = chance.choice(PARTNERS)
            entries = [
                make.entry(
                    chance.choice(KINDS),
                    at,
                    order_id=order_id,
                    line_kind=chance.choice(("product", "freight")),
                    quantity=Decimal(chance.randint(-5, 5)),
                    list=chance.randint(-9_999, 9_999),
                    tax=chance.randint(0, 99),
                    partner_id=partner_id,
                    channel=None if partner_id is None else chance.choice(("online", "store")),
                    sku=chance.choice((None, "A", "B")),
                    origin_at=at - timedelta(days=chance.randint(0, 3)),
                )
                for _ in range(chance.randint(0, 5))
            ]
            order = make.order(order_id, at, [chance.choice(("A", None))], partner_id=partner_id)
            events.append(make.order_event(order, version, entries))
    for cell in range(1, 4):
        for version in range(1, 6):
            slices = [("online", sku, chance.randint(-500, 900)) for sku in ("A", "B", None)]
            delta = chance.randint(-300, 600)
            at = START + timedelta(days=version)
            events.append(make.accrual(UUID(int=cell), version, UUID(int=1), delta, slices, at, version * 7))
    return events


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_any_chunks_with_duplicates_end_in_the_same_read_model(
    seed: int,
    facts: Database,
    service_database: ServiceDatabase,
    service: Any,
    make: Any,
    deliver: Any,
    read_model: Any,
) -> None:
    events = history(make, seed)
    await deliver(facts, events)
    chance = random.Random(seed)
    shuffled = [*events, *events[::3]]
    chance.shuffle(shuffled)  # holes are parked by the kit and drain themselves
    other = await service_database(service)
    await deliver(other, shuffled, size=7)
    expected = await read_model(facts)
    assert await read_model(other) == expected
    assert expected["daily_fact"]
    async with facts.read(WORKER) as tx:
        assert await tx.value(DAYS_DIFFER) == 0


async def test_replay_into_the_live_store_changes_nothing(
    facts: Database, make: Any, deliver: Any, read_model: Any
) -> None:
    events = history(make, 4)
    await deliver(facts, events)
    before = await read_model(facts)
    await deliver(facts, events, size=11)
    assert await read_model(facts) == before


async def test_replay_without_a_watermark_changes_nothing_either(
    facts: Database, make: Any, deliver: Any, read_model: Any
) -> None:
    events = history(make, 5)
    await deliver(facts, events)
    before = await read_model(facts)
    async with facts.write(OWNER) as tx:
        await tx.execute("delete from watermark")
    await deliver(facts, events, size=11)
    assert await read_model(facts) == before


async def test_an_older_state_never_overwrites_a_newer_one(
    facts: Database, make: Any, deliver: Any, read_model: Any
) -> None:
    order_id, cell_id = uuid4(), uuid4()
    old = [
        make.order_event(make.order(order_id, START, ["A"]), 1),
        make.accrual(cell_id, 1, UUID(int=1), 5, [("online", "A", 50)], START, 5),
    ]
    new = [
        make.order_event(make.order(order_id, START, ["A"], paid_at=START), 2),
        make.accrual(cell_id, 2, UUID(int=1), 4, [("online", "A", 40)], START, 9),
    ]
    await deliver(facts, [*old, *new])
    before = await read_model(facts)
    async with facts.write(OWNER) as tx:
        await tx.execute("delete from watermark")
    await deliver(facts, old)
    assert await read_model(facts) == before


async def test_rival_polls_over_the_same_days_neither_lock_up_nor_lose(
    facts: Database, make: Any, deliver: Any
) -> None:
    rounds = [history(make, seed) for seed in (11, 12, 13, 14)]
    orders = [[event for event in events if event.aggregatetype == "order"] for events in rounds]
    await asyncio.gather(*(deliver(facts, events, size=5) for events in orders))
    async with facts.read(WORKER) as tx:
        stored = await tx.value("select sum(entries) from daily_fact")
        assert await tx.value(DAYS_DIFFER) == 0
    assert stored == sum(len(event.data.entries) for events in orders for event in events)


async def test_the_audit_equation_notices_a_changed_day(facts: Database, make: Any, deliver: Any) -> None:
    await deliver(facts, history(make, 6))
    async with facts.write(WORKER) as tx:
        await tx.execute(
            "update daily_fact set paid_net_sales_minor = paid_net_sales_minor + 1 "
            "where ctid = (select ctid from daily_fact where entries > 0 limit 1)"
        )
        assert await tx.value(DAYS_DIFFER) == 2


async def test_unknowns_are_one_key(facts: Database, make: Any, deliver: Any) -> None:
    for paid in (100, 23):
        order_id = uuid4()
        entry = make.entry("paid", START, order_id=order_id, list=paid)
        await deliver(facts, [make.order_event(make.order(order_id, START, [None]), 1, [entry])])
    async with facts.read(WORKER) as tx:
        rows = await tx.rows("select partner_id, channel, sku, entries, paid_net_sales_minor from daily_fact")
    assert [tuple(row) for row in rows] == [(None, None, None, 2, 123)]


async def test_a_corrected_entry_counts_once_and_moves_its_money(
    facts: Database, make: Any, deliver: Any
) -> None:
    order_id, partner_id = uuid4(), UUID(int=1)
    entry = make.entry("paid", START, order_id=order_id, list=500)
    moved = make.entry("paid", START, order_id=order_id, list=500, partner_id=partner_id, channel="online")
    order = make.order(order_id, START, [None])
    attributed = make.order(order_id, START, [None], partner_id=partner_id, channel="online")
    await deliver(
        facts,
        [
            make.order_event(order, 1, [entry]),
            make.order_event(attributed, 2, [make.reversal(entry), moved]),
        ],
    )
    async with facts.read(WORKER) as tx:
        rows = await tx.rows(
            "select partner_id, entries, cash_entries, paid_net_minor from daily_fact order by partner_id"
        )
        assert await tx.value("select partner_id from order_fact") == partner_id
    assert [tuple(row) for row in rows] == [(partner_id, 1, 1, 500), (None, 2, 0, 0)]


async def test_amounts_beyond_bigint_are_summed(facts: Database, make: Any, deliver: Any) -> None:
    order_id = uuid4()
    extreme = {"list": 10**15, "freight": -(10**15), "tax": -(10**15), "platform_coupon": 10**15}
    entries = [make.entry("ordered", START, order_id=order_id, quantity=Decimal(10**14 - 1), **extreme)]
    entries += [make.entry("paid", START, order_id=order_id, list=10**15) for _ in range(199)]
    order = make.order(order_id, START, [None])
    polls = [make.order_event(order, 1, entries)]
    for version in range(2, 52):
        again = [entry.model_copy(update={"entry_id": uuid4()}) for entry in entries]
        polls.append(make.order_event(order, version, again))
    await deliver(facts, polls)
    async with facts.read(WORKER) as tx:
        assert await tx.value("select paid_net_minor from daily_fact") == 51 * 199 * 10**15


async def test_newest_versions_of_stock_items_and_cells_are_kept(
    facts: Database, make: Any, deliver: Any
) -> None:
    def stock(on_hand: int) -> StockBody:
        zero = Decimal(0)
        return StockBody(
            sku="A",
            location="main",
            on_hand=Decimal(on_hand),
            reserved=zero,
            allocated=zero,
            quarantined=zero,
            safety=zero,
            available=Decimal(on_hand),
            moved={},
        )

    def item(name: str) -> ItemBody:
        return ItemBody(sku="A", name=name, uom="piece", quantity_scale=0)

    stock_id, item_id, cell_id = uuid4(), uuid4(), uuid4()
    events: Sequence[Event[Any]] = [
        make.event(catalog.INVENTORY_STOCK_CHANGED, stock_id, 1, stock(5), START),
        make.event(catalog.INVENTORY_ITEM_REGISTERED, item_id, 1, item("Tea"), START),
        make.event(catalog.INVENTORY_STOCK_CHANGED, stock_id, 2, stock(3), START),
        make.event(catalog.INVENTORY_ITEM_CHANGED, item_id, 2, item("Green tea"), START),
        make.accrual(cell_id, 1, UUID(int=1), 30, [("online", "A", 300)], START, 30),
        make.accrual(cell_id, 2, UUID(int=1), -10, [("online", "A", -100)], START, 20),
    ]
    await deliver(facts, events)
    async with facts.read(STAFF) as tx:
        assert await tx.value("select on_hand from stock_fact") == 3
        assert await tx.value("select name from item_name") == "Green tea"
        assert await tx.value("select accrued_minor from cell_fact") == 20
        assert await tx.value("select sum(rebate_minor) from rebate_fact") == 20
        assert await tx.value("select rebate_minor from daily_fact") == 20


async def test_a_partner_reads_its_rows_only_and_nobody_rewrites_facts(
    facts: Database, make: Any, deliver: Any
) -> None:
    await deliver(facts, history(make, 8))
    own = UUID(int=1)
    tables = ("entry_fact", "daily_fact", "order_fact", "cell_fact", "rebate_fact")
    for table in tables:
        every = f"select count(*) from {table}"  # noqa: S608  names above
        mine = f"select count(*) from {table} where partner_id = $1"  # noqa: S608  names above
        async with facts.read(WORKER) as tx:
            expected, everything = await tx.value(mine, own), await tx.value(every)
        assert expected > 0
        async with facts.read(Actor.partner(own)) as tx:
            assert await tx.value(every) == expected
        async with facts.read(Actor.partner(UUID(int=77))) as tx:
            assert await tx.value(every) == 0
        async with facts.read(STAFF) as tx:
            assert await tx.value(every) == everything
    for actor, statement in (
        (WORKER, "delete from entry_fact"),
        (WORKER, "update entry_fact set net_minor = 0"),
        (STAFF, "update daily_fact set entries = 0"),
        (Actor.partner(own), "select 1 from stock_fact"),
    ):
        with pytest.raises(PostgresError) as refused:
            async with facts.write(actor) as tx:
                await tx.execute(statement)
        assert sqlstate(refused.value) == "42501"
