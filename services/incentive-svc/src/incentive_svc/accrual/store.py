"""The tables `cell` and `accrual`.

A cell is made as a placeholder and then locked, all of a batch in one order, so that two batches that meet the same
new cell agree on one row. Accruals are inserted and never touched again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from channel_kit.database import Read, Write
from channel_kit.ids import uuid7
from incentive_svc.accrual.values import Accrual, Cell, CellKey, Place, Product

_CELL = """
  c.cell_id, c.plan_id, c.partner_id, c.period_start, c.period_end, c.currency, c.plan_version, c.basis_minor,
  c.accrued_minor, c.seq, c.stream_version
"""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which cells a list shows; None leaves a column open. Periods start in [starts_from, starts_before)."""

    partner_id: UUID | None = None
    plan_code: str | None = None
    currency: str | None = None
    starts_from: date | None = None
    starts_before: date | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """An accrual with what the database knows besides its figures."""

    step: Accrual
    cause_event_id: UUID | None
    recorded_at: datetime


async def make(tx: Write, wanted: Sequence[tuple[CellKey, Place]]) -> None:
    """Makes empty cells of these keys where there are none; `lock` them next."""
    rows = sorted(wanted, key=lambda item: item[0])
    await tx.execute(
        """
        insert into cell (cell_id, plan_id, partner_id, period_start, period_end, currency, plan_version)
        select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::date[], $5::date[], $6::text[], $7::integer[])
        on conflict (partner_id, plan_id, period_start, currency) do nothing
        """,
        [uuid7() for _ in rows],
        [key.plan_id for key, _ in rows],
        [key.partner_id for key, _ in rows],
        [key.period_start for key, _ in rows],
        [place.period.end_on for _, place in rows],
        [key.currency for key, _ in rows],
        [place.terms.version for _, place in rows],
    )


async def lock(tx: Write, keys: Sequence[CellKey]) -> dict[CellKey, Cell]:
    """Those of these cells that exist, locked in the order of their ids until the transaction ends."""
    rows = await tx.rows(
        f"""
        select {_CELL} from cell c
        join unnest($1::uuid[], $2::uuid[], $3::date[], $4::text[]) as k(plan_id, partner_id, period_start, currency)
          using (plan_id, partner_id, period_start, currency)
        order by c.cell_id for update of c
        """,  # noqa: S608  our own columns
        [key.plan_id for key in keys],
        [key.partner_id for key in keys],
        [key.period_start for key in keys],
        [key.currency for key in keys],
    )
    return {cell.key: cell for cell in map(_cell, rows)}


async def cells_of(tx: Read, partner_ids: Sequence[UUID]) -> list[Cell]:
    """Every cell of these partners."""
    rows = await tx.rows(
        f"select {_CELL} from cell c where c.partner_id = any($1::uuid[])",  # noqa: S608  our own columns
        sorted(set(partner_ids)),
    )
    return [_cell(row) for row in rows]


async def held(tx: Read, cell_ids: Sequence[UUID]) -> dict[UUID, dict[Product, int]]:
    """What each cell's accruals add up to, per product."""
    rows = await tx.rows(
        """
        select a.cell_id, s.channel, s.sku, sum(s.basis_delta_minor) as basis_minor
        from accrual a
        cross join lateral jsonb_to_recordset(a.slices) as s(channel text, sku text, basis_delta_minor bigint)
        where a.cell_id = any($1::uuid[])
        group by a.cell_id, s.channel, s.sku
        """,
        sorted(set(cell_ids)),
    )
    found: dict[UUID, dict[Product, int]] = {}
    for row in rows:
        found.setdefault(row.cell_id, {})[(row.channel, row.sku)] = int(row.basis_minor)
    return found


async def save(tx: Write, steps: Sequence[tuple[Cell, Accrual, UUID | None]]) -> None:
    """Writes each cell as it stands after its step, and the step with the event that caused it."""
    await tx.execute(
        """
        insert into accrual (cell_id, seq, partner_id, basis_before, basis_after, rebate_before, rebate_after,
                             delta_minor, plan_version, cause_event_id, slices)
        select cell_id, seq, partner_id, basis_before, basis_after, rebate_before, rebate_after,
               rebate_after - rebate_before, plan_version, cause_event_id, slices::jsonb
        from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                    $8::integer[], $9::uuid[], $10::text[])
          as t(cell_id, seq, partner_id, basis_before, basis_after, rebate_before, rebate_after, plan_version,
               cause_event_id, slices)
        """,
        [cell.cell_id for cell, _, _ in steps],
        [step.seq for _, step, _ in steps],
        [cell.key.partner_id for cell, _, _ in steps],
        [step.basis_before for _, step, _ in steps],
        [step.basis_after for _, step, _ in steps],
        [step.rebate_before for _, step, _ in steps],
        [step.rebate_after for _, step, _ in steps],
        [step.plan_version for _, step, _ in steps],
        [cause for _, _, cause in steps],
        [_slices_text(step) for _, step, _ in steps],
    )
    await tx.execute(
        """
        update cell c
        set plan_version = t.plan_version, basis_minor = t.basis_minor, accrued_minor = t.accrued_minor,
            seq = t.seq, stream_version = t.stream_version
        from unnest($1::uuid[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
          as t(cell_id, plan_version, basis_minor, accrued_minor, seq, stream_version)
        where c.cell_id = t.cell_id
        """,
        [cell.cell_id for cell, _, _ in steps],
        [cell.plan_version for cell, _, _ in steps],
        [cell.basis_minor for cell, _, _ in steps],
        [cell.accrued_minor for cell, _, _ in steps],
        [cell.seq for cell, _, _ in steps],
        [cell.stream_version for cell, _, _ in steps],
    )


async def page(
    tx: Read, wanted: Filter, after: tuple[date, UUID] | None, limit: int
) -> list[tuple[Cell, str]]:
    """Cells that have accruals, each with its plan's code, latest period first."""
    rows = await tx.rows(
        f"""
        select {_CELL}, p.code from cell c join plan p using (plan_id)
        where c.seq > 0
          and ($1::uuid is null or c.partner_id = $1) and ($2::text is null or p.code = $2)
          and ($3::text is null or c.currency = $3)
          and ($4::date is null or c.period_start >= $4) and ($5::date is null or c.period_start < $5)
          and ($6::date is null or c.period_start < $6 or (c.period_start = $6 and c.cell_id > $7))
        order by c.period_start desc, c.cell_id limit $8
        """,  # noqa: S608  our own columns
        wanted.partner_id,
        wanted.plan_code,
        wanted.currency,
        wanted.starts_from,
        wanted.starts_before,
        after[0] if after else None,
        after[1] if after else None,
        limit,
    )
    return [(_cell(row), row.code) for row in rows]


async def find(tx: Read, key: CellKey) -> Cell | None:
    """The cell of this key, as far as the caller may see it."""
    row = await tx.row(
        f"select {_CELL} from cell c where partner_id = $1 and plan_id = $2 "  # noqa: S608  our own columns
        "and period_start = $3 and currency = $4",
        key.partner_id,
        key.plan_id,
        key.period_start,
        key.currency,
    )
    return None if row is None else _cell(row)


async def exists(tx: Read, cell_id: UUID) -> bool:
    """Whether the caller may see such a cell."""
    return bool(await tx.value("select exists (select from cell where cell_id = $1)", cell_id))


async def history(tx: Read, cell_id: UUID, before: int | None, limit: int) -> list[Recorded]:
    """A cell's accruals, latest first, before a sequence number."""
    rows = await tx.rows(
        """
        select seq, basis_before, basis_after, rebate_before, rebate_after, plan_version, cause_event_id,
               recorded_at, slices::text as slices
        from accrual where cell_id = $1 and ($2::bigint is null or seq < $2) order by seq desc limit $3
        """,
        cell_id,
        before,
        limit,
    )
    return [
        Recorded(
            Accrual(
                row.seq,
                row.basis_before,
                row.basis_after,
                row.rebate_before,
                row.rebate_after,
                row.plan_version,
                tuple(((s["channel"], s["sku"]), s["basis_delta_minor"]) for s in json.loads(row.slices)),
            ),
            row.cause_event_id,
            row.recorded_at,
        )
        for row in rows
    ]


def _slices_text(step: Accrual) -> str:
    return json.dumps(
        [
            {"channel": channel, "sku": sku, "basis_delta_minor": amount}
            for (channel, sku), amount in step.slices
        ]
    )


def _cell(row: Any) -> Cell:
    return Cell(
        row.cell_id,
        CellKey(row.plan_id, row.partner_id, row.period_start, row.currency),
        row.period_end,
        row.plan_version,
        row.basis_minor,
        row.accrued_minor,
        row.seq,
        row.stream_version,
    )
