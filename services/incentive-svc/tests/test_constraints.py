"""What the schema itself refuses: planted wrong rows, and every change of an accrual."""

from datetime import date
from typing import Any

import pytest
from asyncpg import PostgresError

from channel_kit.database import OWNER, STAFF, WORKER
from channel_kit.ids import uuid7

PLANT = """
insert into accrual (cell_id, seq, partner_id, basis_before, basis_after, rebate_before, rebate_after, delta_minor,
                     plan_version, slices)
select cell_id, $1, partner_id, $2, $3, $4, $5, $6, 1, '[]' from cell
"""


@pytest.fixture
async def filled(desk: Any, build: Any) -> Any:
    """A cell of one step: basis 1,000, rebate 100."""
    partner = uuid7()
    await desk.plan(build.make_terms(tiers=build.tiers((0, 100_000))))
    await desk.contracts(build.contract_event(partner, "P1"))
    await desk.entries(build.make_entry(partner, 1_000))
    return desk


async def refused(desk: Any, actor: Any, sql: str, *args: Any) -> str:
    with pytest.raises(PostgresError) as caught:
        await desk.database.transact(actor, lambda tx: tx.execute(sql, *args))
    return str(caught.value.sqlstate)


@pytest.mark.parametrize(
    ("row", "state"),
    [
        ((2, 999, 1_500, 100, 150, 50), "23503"),  # does not begin where the first step ended
        ((2, 1_000, 1_500, 90, 150, 60), "23503"),
        ((3, 1_000, 1_500, 100, 150, 50), "23503"),  # leaves a step out
        ((2, 1_000, 1_500, 100, 150, 60), "23514"),  # a delta that is not the difference
        ((2, 1_000, -5, 100, 1, -99), "23514"),  # pays on a basis that is not positive
        ((2, 1_000, 0, 100, -1, -101), "23514"),
        ((1, 0, 1_000, 0, 100, 100), "23505"),  # the first step twice
        ((0, 0, 1_000, 0, 100, 100), "23514"),
    ],
)
async def test_a_planted_step_is_refused(filled: Any, row: tuple[int, ...], state: str) -> None:
    assert await refused(filled, WORKER, PLANT, *row) == state


async def test_a_sound_step_is_not_refused(filled: Any) -> None:
    await filled.database.transact(WORKER, lambda tx: tx.execute(PLANT, 2, 1_000, 1_500, 100, 150, 50))
    assert await filled.value("select sum(delta_minor) from accrual") == 150


@pytest.mark.parametrize(
    "sql",
    [
        "update cell set accrued_minor = 101",
        "update cell set basis_minor = 999",
        "update cell set seq = 2",
        "update cell set seq = 0",
        "update cell set accrued_minor = -1",
    ],
)
async def test_a_cell_cannot_say_anything_but_its_last_step(filled: Any, sql: str) -> None:
    assert await refused(filled, WORKER, sql) in ("23503", "23514")


@pytest.mark.parametrize("actor", [WORKER, STAFF])
@pytest.mark.parametrize(
    "sql",
    [
        "update accrual set delta_minor = 0",
        "delete from accrual",
        "truncate accrual",
        "update basis_entry set net_minor = 0",
        "delete from basis_entry",
        "delete from cell",
    ],
)
async def test_nobody_rewrites_history(filled: Any, actor: Any, sql: str) -> None:
    assert await refused(filled, actor, sql) == "42501"


async def test_staff_may_not_accrue(filled: Any) -> None:
    assert await refused(filled, STAFF, PLANT, 2, 1_000, 1_500, 100, 150, 50) == "42501"


async def test_an_entry_is_reversed_once_and_sums_up(filled: Any, build: Any) -> None:
    [row] = await filled.rows("select entry_id, partner_id from basis_entry")
    sale = build.make_entry(row.partner_id, 1_000, entry_id=row.entry_id)
    await filled.entries(build.reversal(sale))
    with pytest.raises(PostgresError, match="basis_entry_reverses_entry_id_key"):
        await filled.entries(build.reversal(sale))
    broken = build.make_entry(row.partner_id, 1_000).model_copy(update={"net_minor": 1_001})
    with pytest.raises(PostgresError, match="violates check constraint"):
        await filled.entries(broken)


async def test_the_versions_of_a_plan_begin_once_and_one_is_open(filled: Any) -> None:
    copy = """
    insert into plan_version select plan_id, 9, state, $1::date, $2::date, calendar, currency, shape, tiers, basis,
      recognition, rounding, channels, skus, content_hash, created_at, activated_at from plan_version
    """
    assert await refused(filled, OWNER, copy, date(2026, 1, 1), date(2026, 2, 1)) == "23505"
    assert await refused(filled, OWNER, copy, date(2027, 1, 1), None) == "23505"


async def test_the_figures_of_every_cell_can_be_audited(filled: Any, build: Any) -> None:
    partner = await filled.value("select partner_id from cell")
    for net in (500, -2_000, 900):
        await filled.entries(build.make_entry(partner, net, kind="refunded" if net < 0 else "paid"))
    [row] = await filled.rows(
        """
        select c.accrued_minor, c.basis_minor, sum(a.delta_minor) as deltas,
               sum((select coalesce(sum((s->>'basis_delta_minor')::bigint), 0)
                    from jsonb_array_elements(a.slices) s)) as slices,
               (select sum(net_minor - tax_minor - freight_minor - platform_coupon_minor) from basis_entry) as entries
        from cell c join accrual a using (cell_id) group by c.cell_id
        """
    )
    assert row.accrued_minor == row.deltas == 40
    assert row.basis_minor == row.slices == row.entries == 400
