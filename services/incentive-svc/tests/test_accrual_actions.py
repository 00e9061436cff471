"""Accruing and restating on a real PostgreSQL."""

import asyncio
import random
from datetime import date
from typing import Any
from uuid import UUID

import pytest

from channel_events.catalog import decode
from channel_kit.database import WORKER
from channel_kit.ids import uuid7
from incentive_svc.feeds import order

MAY = date(2026, 5, 1)


async def test_entries_become_basis_and_rebate_and_one_announcement(desk: Any, build: Any) -> None:
    partner = uuid7()
    await desk.plan(build.make_terms())
    await desk.contracts(build.contract_event(partner, "P1"))
    one = build.make_entry(partner, 1_130_000, tax_minor=130_000)
    event = build.order_event(
        [one, build.make_entry(partner, 500_000, sku="SKU-2"), build.make_entry(None, 7)]
    )
    await desk.orders(event)
    assert await desk.accrued(partner) == {MAY: (1_500_000, 45_000)}
    assert await desk.value("select count(*) from basis_entry") == 2
    [row] = await desk.rows("select payload::text as payload from outbox where aggregate_type = 'cell'")
    announced = decode(row.payload)
    assert announced.causationid == event.id
    assert announced.correlationid == event.correlationid
    body = announced.data
    assert (body.basis_minor, body.rebate_minor, body.delta_minor) == (1_500_000, 45_000, 45_000)
    assert (body.period.start_on, body.period.end_on) == (MAY, date(2026, 6, 1))
    assert {(s.channel, s.sku): s.basis_delta_minor for s in body.slices} == {
        ("online", "SKU-1"): 1_000_000,
        ("online", "SKU-2"): 500_000,
    }


async def test_a_delta_of_nothing_is_announced_too(desk: Any, build: Any) -> None:
    partner = uuid7()
    await desk.plan(build.make_terms())
    await desk.contracts(build.contract_event(partner, "P1"))
    await desk.entries(build.make_entry(partner, 100))
    assert await desk.value("select count(*) from outbox where aggregate_type = 'cell'") == 1
    assert await desk.value("select delta_minor from accrual") == 0


async def test_entries_that_cancel_out_leave_no_step(desk: Any, build: Any) -> None:
    partner = uuid7()
    await desk.plan(build.make_terms())
    await desk.contracts(build.contract_event(partner, "P1"))
    sale = build.make_entry(partner, 5_000_000)
    await desk.entries(sale, build.reversal(sale))
    assert await desk.value("select count(*) from basis_entry") == 2
    assert await desk.value("select count(*) from accrual") == 0


async def test_many_causes_name_none(desk: Any, build: Any) -> None:
    partner = uuid7()
    await desk.plan(build.make_terms())
    await desk.contracts(build.contract_event(partner, "P1"))
    await desk.orders(*(build.order_event([build.make_entry(partner, 100)]) for _ in range(3)))
    assert await desk.value("select cause_event_id from accrual") is None
    assert await desk.value("select basis_minor from cell") == 300


async def test_twice_and_shuffled_and_in_any_chunks_is_the_same(desk: Any, build: Any) -> None:
    sales = [
        (net, month) for month in ("2026-04-11", "2026-05-12") for net in range(100_000, 900_000, 50_000)
    ]
    await desk.plan(build.make_terms())
    results = []
    for seed in range(4):
        partner, chance = uuid7(), random.Random(seed)
        await desk.contracts(build.contract_event(partner, "P1"))
        entries = [build.make_entry(partner, net, when=build.at(when)) for net, when in sales]
        entries += [build.reversal(each) for each in entries[::5]]
        events = [build.order_event([each]) for each in entries]
        twice = [*events, *chance.sample(events, len(events) // 2)]
        chance.shuffle(twice)
        while twice:
            chunk = [twice.pop() for _ in range(min(len(twice), chance.randint(1, 9)))]
            await desk.orders(*chunk)
        results.append(await desk.accrued(partner))
    assert results == results[:1] * 4
    assert results[0][MAY][1] > 0


async def test_a_refund_is_counted_in_its_origin_period_with_the_tier_drop(desk: Any, build: Any) -> None:
    partner = uuid7()
    await desk.plan(build.make_terms())
    await desk.contracts(build.contract_event(partner, "P1"))
    paid_at = build.at("2026-05-03T04:00")
    await desk.entries(build.make_entry(partner, 2_100_000))
    june = build.make_entry(partner, 3_000, when=build.at("2026-06-20"))
    refund = build.make_entry(
        partner, -200_000, kind="refunded", business_at=build.at("2026-06-20"), origin_at=paid_at
    )
    await desk.entries(june, refund)
    assert await desk.accrued(partner) == {MAY: (1_900_000, 57_000), date(2026, 6, 1): (3_000, 0)}
    rows = await desk.rows(
        "select delta_minor from accrual join cell using (cell_id) where period_start = $1", MAY
    )
    assert sorted(row.delta_minor for row in rows) == [-48_000, 105_000]


async def test_the_contracts_zone_cuts_the_period(desk: Any, build: Any) -> None:
    partner = uuid7()
    await desk.plan(build.make_terms(tiers=build.tiers((0, 100_000))))
    await desk.contracts(build.contract_event(partner, "P1"))
    await desk.entries(
        build.make_entry(partner, 10, when=build.at("2026-04-30T15:59")),
        build.make_entry(partner, 30, when=build.at("2026-04-30T16:00")),
    )
    assert await desk.accrued(partner) == {date(2026, 4, 1): (10, 1), MAY: (30, 3)}


async def test_other_axes_currencies_and_filters_are_kept_but_not_counted(desk: Any, build: Any) -> None:
    partner = uuid7()
    await desk.plan(build.make_terms(channels=frozenset({"online"})))
    await desk.contracts(build.contract_event(partner, "P1"))
    await desk.entries(
        build.make_entry(partner, 100, kind="ordered"),
        build.make_entry(partner, 100, currency="USD"),
        build.make_entry(partner, 100, channel="store"),
        build.make_entry(partner, 100, when=build.at("2025-05-03")),
        build.make_entry(partner, 100, when=build.at("9999-12-31T23:59")),
    )
    assert await desk.value("select count(*) from basis_entry") == 5
    assert await desk.value("select count(*) from cell") == 0


class TestReferenceComesLater:
    async def test_a_contract_after_its_entries(self, desk: Any, build: Any) -> None:
        partner = uuid7()
        await desk.plan(build.make_terms())
        for net in (1_500_000, 700_000):
            await desk.entries(build.make_entry(partner, net, sku=f"S{net}"))
        assert await desk.accrued(partner) == {}
        await desk.contracts(build.contract_event(partner, "P1"))
        await desk.entries(build.make_entry(partner, 100, sku="later"))
        await desk.drain()
        assert await desk.accrued(partner) == {MAY: (2_200_100, 110_005)}
        assert await desk.value("select count(*) from rederive") == 0

    async def test_draining_again_changes_nothing(self, desk: Any, build: Any) -> None:
        partner = uuid7()
        await desk.plan(build.make_terms())
        contract = build.contract_event(partner, "P1")
        await desk.contracts(contract)
        await desk.entries(build.make_entry(partner, 2_200_000))
        steps = await desk.value("select count(*) from accrual")
        for _ in range(2):
            await desk.contracts(contract)
            await desk.drain()
        assert await desk.value("select count(*) from accrual") == steps

    async def test_a_plan_after_entries_and_contract(self, desk: Any, build: Any) -> None:
        partner = uuid7()
        await desk.contracts(build.contract_event(partner, "P1"))
        await desk.entries(build.make_entry(partner, 2_200_000))
        await desk.drain()
        assert await desk.accrued(partner) == {}
        await desk.plan(build.make_terms())
        await desk.drain()
        assert await desk.accrued(partner) == {MAY: (2_200_000, 110_000)}

    async def test_an_amendment_moves_what_it_covers(self, desk: Any, build: Any) -> None:
        partner, contract_id = uuid7(), uuid7()
        await desk.plan(build.make_terms(tiers=build.tiers((0, 100_000))))
        await desk.contracts(build.contract_event(partner, "P1", contract_id=contract_id))
        for day in ("2026-04-10", "2026-05-10", "2026-05-20"):
            await desk.entries(build.make_entry(partner, 1_000, when=build.at(day)))
        amended = build.contract_event(
            partner, "OTHER", contract_id=contract_id, version=2, valid_from=build.at("2026-05-15")
        )
        await desk.contracts(amended)
        await desk.drain()
        assert await desk.accrued(partner) == {date(2026, 4, 1): (1_000, 100), MAY: (1_000, 100)}

    async def test_a_contract_that_drops_the_plan_from_the_start_empties_the_cell(
        self, desk: Any, build: Any
    ) -> None:
        partner, contract_id = uuid7(), uuid7()
        await desk.plan(build.make_terms(tiers=build.tiers((0, 100_000))))
        await desk.contracts(build.contract_event(partner, "P1", contract_id=contract_id))
        await desk.entries(build.make_entry(partner, 1_000))
        await desk.contracts(build.contract_event(partner, contract_id=contract_id, version=2))
        await desk.drain()
        assert await desk.accrued(partner) == {MAY: (0, 0)}
        [last] = await desk.rows("select delta_minor, slices::text from accrual order by seq desc limit 1")
        assert last.delta_minor == -100

    @pytest.mark.parametrize("change", ["contract", "plan"])
    async def test_a_change_waits_for_the_batch_that_read_without_it(
        self, desk: Any, build: Any, change: str
    ) -> None:
        partner = uuid7()
        version = await desk.plan(build.make_terms(), activate=change == "contract")
        contract = build.contract_event(partner, "P1")
        if change == "plan":
            await desk.contracts(contract)
        async with desk.database.write(WORKER) as tx:
            await order.handle(tx, [build.order_event([build.make_entry(partner, 2_000_000)])])
            late = desk.contracts(contract) if change == "contract" else desk.activate("P1", version)
            waiting = asyncio.create_task(late)
            done, _ = await asyncio.wait([waiting], timeout=0.3)
            assert not done
        await waiting
        await desk.drain()
        assert await desk.accrued(partner) == {MAY: (2_000_000, 100_000)}

    async def test_contract_and_entries_at_the_same_moment_always_meet(self, desk: Any, build: Any) -> None:
        await desk.plan(build.make_terms(tiers=build.tiers((0, 100_000))))
        partners = [uuid7() for _ in range(12)]

        async def race(partner: UUID) -> None:
            await asyncio.gather(
                desk.entries(build.make_entry(partner, 1_000)),
                desk.contracts(build.contract_event(partner, "P1")),
                desk.drain(),
                desk.entries(build.make_entry(partner, 2_000)),
            )

        for start in range(0, len(partners), 3):
            await asyncio.gather(*(race(partner) for partner in partners[start : start + 3]))
        await desk.drain()
        for partner in partners:
            assert await desk.accrued(partner) == {MAY: (3_000, 300)}


class TestActivation:
    async def test_a_better_version_restates_the_cells_from_its_first_day(
        self, desk: Any, build: Any
    ) -> None:
        partner = uuid7()
        await desk.plan(build.make_terms(tiers=build.tiers((0, 100_000))))
        await desk.contracts(build.contract_event(partner, "P1"))
        for day in ("2026-04-10", "2026-05-10"):
            await desk.entries(build.make_entry(partner, 1_000, when=build.at(day)))
        await desk.plan(build.make_terms(tiers=build.tiers((0, 200_000)), valid_from=MAY))
        await desk.drain()
        assert await desk.accrued(partner) == {date(2026, 4, 1): (1_000, 100), MAY: (1_000, 200)}
        rows = await desk.rows("select period_start, plan_version from cell order by 1")
        assert [row.plan_version for row in rows] == [1, 2]
        rows = await desk.rows("select version, state, valid_to from plan_version order by 1")
        assert [tuple(row) for row in rows] == [(1, "active", MAY), (2, "active", None)]

    async def test_entries_between_activation_and_drain_are_not_mixed_into_the_old_terms(
        self, desk: Any, build: Any
    ) -> None:
        partner = uuid7()
        await desk.plan(build.make_terms(tiers=build.tiers((0, 100_000))))
        await desk.contracts(build.contract_event(partner, "P1"))
        await desk.entries(build.make_entry(partner, 1_000, tax_minor=100))
        await desk.plan(build.make_terms(tiers=build.tiers((0, 200_000)), basis="net"))
        await desk.entries(build.make_entry(partner, 2_000, tax_minor=200))
        assert await desk.accrued(partner) == {MAY: (900, 90)}
        await desk.drain()
        assert await desk.accrued(partner) == {MAY: (3_000, 600)}

    async def test_it_is_announced_once_with_the_hash_of_its_terms(self, desk: Any, build: Any) -> None:
        version = await desk.plan(build.make_terms())
        await desk.activate("P1", version)
        [row] = await desk.rows("select payload::text as payload from outbox where aggregate_type = 'plan'")
        body = decode(row.payload).data
        assert (body.code, body.version, body.recognition) == ("P1", 1, "paid")
        assert body.content_hash == await desk.value("select content_hash from plan_version")

    async def test_drafts_count_for_nothing(self, desk: Any, build: Any) -> None:
        partner = uuid7()
        await desk.plan(build.make_terms(), activate=False)
        await desk.contracts(build.contract_event(partner, "P1"))
        await desk.entries(build.make_entry(partner, 2_000_000))
        await desk.drain()
        assert await desk.accrued(partner) == {}

    async def test_a_cell_that_a_new_version_empties_goes_on_under_it(self, desk: Any, build: Any) -> None:
        partner = uuid7()
        await desk.plan(build.make_terms(tiers=build.tiers((0, 100_000))))
        await desk.contracts(build.contract_event(partner, "P1"))
        await desk.entries(build.make_entry(partner, 1_000))
        await desk.plan(build.make_terms(tiers=build.tiers((0, 200_000)), recognition="ordered"))
        await desk.drain()
        assert await desk.accrued(partner) == {MAY: (0, 0)}
        await desk.entries(build.make_entry(partner, 500, kind="ordered"))
        assert await desk.accrued(partner) == {MAY: (500, 100)}

    async def test_activation_beside_a_running_feed_ends_the_same(self, desk: Any, build: Any) -> None:
        partner = uuid7()
        await desk.plan(build.make_terms(tiers=build.tiers((0, 100_000))))
        await desk.contracts(build.contract_event(partner, "P1"))
        second = await desk.plan(build.make_terms(tiers=build.tiers((0, 300_000))), activate=False)

        async def feed() -> None:
            for _ in range(15):
                await desk.entries(build.make_entry(partner, 100))

        async def drain() -> None:
            for _ in range(5):
                await desk.drain()

        await asyncio.gather(feed(), feed(), desk.activate("P1", second), drain())
        await desk.drain()
        assert await desk.accrued(partner) == {MAY: (3_000, 900)}


async def test_a_step_with_many_products_goes_out_in_parts(desk: Any, build: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("incentive_svc.accrual.actions.SLICES_MAX", 2)
    partner = uuid7()
    await desk.plan(build.make_terms(tiers=build.tiers((0, 100_000))))
    await desk.contracts(build.contract_event(partner, "P1"))
    await desk.entries(*(build.make_entry(partner, 100, sku=f"S{n}") for n in range(5)))
    await desk.entries(build.make_entry(partner, 100))
    rows = await desk.rows(
        "select aggregate_version, payload::text as payload from outbox where aggregate_type = 'cell' order by 1"
    )
    bodies = [decode(row.payload).data for row in rows]
    assert [row.aggregate_version for row in rows] == [1, 2, 3, 4]
    assert [(body.basis_minor, body.delta_minor, len(body.slices)) for body in bodies] == [
        (500, 50, 2),
        (500, 0, 2),
        (500, 0, 1),
        (600, 10, 1),
    ]
    assert await desk.value("select stream_version from cell") == 4


@pytest.mark.parametrize("size", [1, 3, 40])
async def test_a_batch_over_many_partners_and_plans(desk: Any, build: Any, size: int) -> None:
    for code in ("P1", "P2"):
        await desk.plan(build.make_terms(code=code, tiers=build.tiers((0, 100_000))))
    partners = [uuid7() for _ in range(size)]
    await desk.contracts(*(build.contract_event(partner, "P1", "P2") for partner in partners))
    await desk.orders(*(build.order_event([build.make_entry(partner, 1_000)]) for partner in partners))
    assert await desk.value("select count(*) from cell where accrued_minor = 100") == 2 * size
