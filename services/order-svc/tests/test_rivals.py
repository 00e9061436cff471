"""Several drains at once over the same orders: they end as one drain would, and the audit's equations hold."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest
from asyncpg import IntegrityConstraintViolationError
from hypothesis import given, settings
from hypothesis import strategies as st

from channel_kit.database import WORKER, Database, Write
from channel_kit.ids import uuid7
from order_svc.ledger import store as ledger
from order_svc.order import store
from order_svc.order.actions import apply
from order_svc.order.values import News, Triple

EQUATIONS = {
    "entries per (order, line, kind) are the line's quantity and net of that kind": """
        with summed as (
          select order_id, line_no, kind, sum(quantity) as quantity, sum(net_minor) as net from ledger_entry group by 1, 2, 3),
        stated as (
          select l.order_id, l.line_no, k.key as kind, (k.value ->> 0)::numeric as quantity, (k.value ->> 1)::numeric as net
          from order_line l cross join json_each(l.kinds) k)
        select * from summed s full join stated t using (order_id, line_no, kind)
        where coalesce(s.quantity, 0) <> coalesce(t.quantity, 0) or coalesce(s.net, 0) <> coalesce(t.net, 0)""",
    "the head's totals are sums of entries": """
        select h.order_id from order_head h left join ledger_entry e using (order_id) group by h.order_id
        having h.paid_minor <> coalesce(sum(e.net_minor) filter (where e.kind = 'paid'), 0)
          or h.refunded_minor <> coalesce(sum(e.net_minor) filter (where e.kind = 'refunded'), 0)
          or h.ordered_net_minor <> coalesce(sum(e.net_minor) filter (where e.kind = 'ordered'), 0)""",
    "what is demanded of stock is not negative": """
        select 1 from order_line where line_kind in ('product', 'gift_card') and cancelled > greatest(0, ordered - shipped)""",
    "a reversal is the opposite of one entry": """
        select r.entry_id from ledger_entry r left join ledger_entry e on e.entry_id = r.reverses_entry_id
        where r.reverses_entry_id is not null and (e.reverses_entry_id is not null
          or (r.order_id, r.line_no, r.kind, -r.quantity, -r.net_minor, -r.tax_minor, r.origin_at)
             is distinct from (e.order_id, e.line_no, e.kind, e.quantity, e.net_minor, e.tax_minor, e.origin_at))""",
    "no live entry points to a reversed one": """
        select e.entry_id from ledger_entry e join ledger_entry r on r.reverses_entry_id = e.origin_entry_id
        where e.reverses_entry_id is null and not exists (select from ledger_entry x where x.reverses_entry_id = e.entry_id)""",
    "versions announced are contiguous from one to the head's": """
        select h.order_id from order_head h left join outbox o on o.aggregate_id = h.order_id
        group by h.order_id, h.stream_version
        having count(o.id) <> h.stream_version or coalesce(max(o.aggregate_version), 0) <> h.stream_version""",
    "entries announced are the entries": """
        with told as (select (e ->> 'entry_id')::uuid as entry_id, e ->> 'entry_hash' as entry_hash
                      from outbox o cross join json_array_elements(o.payload -> 'data' -> 'entries') e)
        select 1 from told full join ledger_entry l using (entry_id) where told.entry_hash is distinct from l.entry_hash""",
}


async def breaches(database: Database) -> dict[str, int]:
    async with database.read(WORKER) as tx:
        found = {name: len(await tx.rows(sql)) for name, sql in EQUATIONS.items()}
    return {name: count for name, count in found.items() if count}


@given(data=st.data())
@settings(max_examples=12, deadline=None)
async def test_rival_drains_end_as_one_would_and_the_audit_holds(
    database: Database, histories: Any, data: st.DataObject
) -> None:
    triples = [Triple("shopify", f"shop-{uuid4()}", "9001") for _ in range(3)]
    played = [data.draw(histories.histories(most=4)) for _ in triples]
    news = [
        News(uuid7(), triple, document)
        for triple, history in zip(triples, played, strict=True)
        for document in history
    ]
    arrivals = data.draw(st.permutations([*news, *data.draw(st.lists(st.sampled_from(news), max_size=4))]))
    size = data.draw(st.integers(1, 5))
    batches = [arrivals[start : start + size] for start in range(0, len(arrivals), size)]

    async def drain(mine: Sequence[Sequence[News]]) -> None:
        for batch in mine:
            await database.transact(WORKER, lambda tx, batch=batch: apply(tx, batch))  # type: ignore[misc]

    await asyncio.gather(drain(batches[::2]), drain(batches[1::2]))
    async with database.read(WORKER) as tx:
        ids = await store.find(tx, triples)
        live = await ledger.live(tx, list(ids.values()))
        flags = {
            row.order_id: tuple(row.flags) for row in await tx.rows("select order_id, flags from order_head")
        }
    for triple, history in zip(triples, played, strict=True):
        alone = histories.told([history])
        assert histories.contents(live.get(ids[triple], ())) == histories.contents(alone.live)
        assert flags[ids[triple]] == alone.flags
    assert await breaches(database) == {}


async def test_an_order_and_its_refund_that_meet_on_first_touch_find_each_other(
    database: Database, histories: Any
) -> None:
    """Without a placeholder for the order never heard of, each would miss the other."""
    order = histories.Platform(
        [histories.Line("a", "product", histories.Decimal(1), histories.Components(90))], "none"
    ).document(1)
    refund = histories.Refund("r", "9001", "CNY", 40, histories.PLACED)
    for _ in range(5):
        triple = Triple("shopify", f"shop-{uuid4()}", "9001")
        begun = asyncio.Barrier(2)

        async def touch(document: Any, triple: Triple = triple, begun: asyncio.Barrier = begun) -> None:
            async with database.write(WORKER) as tx:
                await begun.wait()
                await apply(tx, [News(uuid7(), triple, document)])

        await asyncio.gather(touch(order), touch(refund))
        async with database.read(WORKER) as tx:
            [order_id] = (await store.find(tx, [triple])).values()
            kinds = Counter(entry.wanted.kind for entry in (await ledger.live(tx, [order_id]))[order_id])
        assert kinds == {"ordered": 1, "returned": 1, "refunded": 1}
    assert await breaches(database) == {}


class Unlocked(Write):
    """The planted bug: heads are read without being locked."""

    def __init__(self, tx: Write) -> None:
        super().__init__(tx.driver, tx.service)

    async def rows(self, sql: str, *args: Any) -> list[Any]:
        return await super().rows(sql.replace("order by order_id for update", "order by order_id"), *args)


@pytest.mark.parametrize("wrap", [lambda tx: tx, Unlocked], ids=["locked", "planted: unlocked"])
async def test_a_forgotten_lock_on_the_head_is_an_error_not_a_lost_refund(
    database: Database, histories: Any, wrap: Any
) -> None:
    order = histories.Platform(
        [histories.Line("a", "product", histories.Decimal(1), histories.Components(90))], "none"
    ).document(1)
    triple = Triple("shopify", f"shop-{uuid4()}", "9001")
    await database.transact(WORKER, lambda tx: apply(tx, [News(uuid7(), triple, order)]))
    begun = asyncio.Barrier(2)

    async def give_back(name: str) -> None:
        refund = histories.Refund(name, "9001", "CNY", 40, histories.PLACED)
        async with database.write(WORKER) as tx:
            await begun.wait()
            await apply(wrap(tx), [News(uuid7(), triple, refund)])
            await asyncio.sleep(0.1)

    outcomes = await asyncio.gather(give_back("r1"), give_back("r2"), return_exceptions=True)
    errors = [outcome for outcome in outcomes if isinstance(outcome, IntegrityConstraintViolationError)]
    assert len(errors) == (1 if wrap is Unlocked else 0), outcomes
    assert await breaches(database) == {}
