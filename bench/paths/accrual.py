"""Ledger entries become rebates: a poll of a thousand in one transaction beside the same line by line.

Ours is the handler of incentive-svc's order feed on events as order-svc announced them. One reference is the same
handler with one entry a transaction, which ends in the same cells to the cent or nothing counts; the other a plain
upsert a line that works out no rebate at all. Each measurement has a database of its own.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from functools import partial
from typing import Any, Final
from uuid import UUID

from bench.lab import Lab, Options
from bench.measure import Cpu, Figure, Incorrect, Sample, Tell, interleave, quantile
from bench.paths.drain import PLACED, SHOPS, OwnCpu, backlog, drain, event, partner_of, prepared, settle_heap
from bench.twins import accrual as twin
from channel_events import catalog
from channel_events.catalog import PARTNER_CONTRACT_APPROVED
from channel_events.envelope import Event
from channel_events.order import EntryBody, OrderBody
from channel_events.partner import ContractBody
from channel_kit.database import STAFF, WORKER, Database, Write
from channel_kit.ids import uuid7
from incentive_svc.__main__ import SERVICE
from incentive_svc.accrual.actions import restate
from incentive_svc.feeds import order, partner
from incentive_svc.plan import actions as plans
from incentive_svc.plan.values import Terms, Tier

BATCH: Final = 1_000
BATCHES: Final = 5
LINES: Final = 1_000
LINES_SMALL: Final = 100
PLAN: Final = "growth"
TERMS: Final = Terms(
    UUID(int=0),
    PLAN,
    0,
    date(2024, 1, 1),
    None,
    "month",
    "CNY",
    "marginal",
    (Tier(0, 20_000), Tier(2_000_000, 30_000), Tier(5_000_000, 50_000)),
)

Polls = Sequence[Sequence[Event[Any]]]
Cells = dict[tuple[UUID, date], tuple[int, int]]
"""Basis and rebate, in minor units, of a partner's month."""


async def measure(lab: Lab, options: Options, tell: Tell) -> list[Figure]:
    """Entries a second in batches, line by line, and by the plain upsert."""
    lines = LINES_SMALL if options.small else LINES
    announced = await _announced(lab, BATCH * (1 if options.small else BATCHES))
    batches = list(polls(announced, BATCH))
    single = list(polls(announced, 1))[:lines]
    wanted = await _wanted(lab, next(polls(announced, lines)))
    whole = await _wanted(lab, batches[0]) if lines != BATCH else wanted
    tell(f"accrual: {len(announced)} order events, {BATCH} entries a poll, {len(wanted)} cells")
    settle_heap()
    sides = await interleave(
        {
            "batches": lambda: _handled(lab, batches, 1, whole),
            "line by line": lambda: _handled(lab, single, lines, wanted),
            "plain upsert a line": lambda: _plain(lab, single, wanted),
        },
        options.rounds,
        tell,
    )
    ours = sides["batches"]
    note = f"{BATCH:,} entries a transaction in {len(wanted)} cells; equal to the cent"
    return [
        Figure.compare(
            "accrual, a poll of 1,000 entries",
            ours.rate,
            "entries/s",
            "the same handler, line by line",
            sides["line by line"].rate,
            ">= 40",
            sample=ours,
            note=f"{note}; response times are of a whole poll",
        ),
        Figure.compare(
            "accrual, a poll of 1,000 entries",
            ours.rate,
            "entries/s",
            "plain upsert a line, no rebate",
            sides["plain upsert a line"].rate,
            note="the reference writes no steps and no events",
        ),
    ]


def polls(announced: Iterable[Event[OrderBody]], size: int) -> Iterator[list[Event[Any]]]:
    """The events again with their entries dealt into polls of exactly `size`; what is left over is left out."""
    poll: list[Event[Any]] = []
    room = size
    for each in announced:
        entries = each.data.entries
        while entries:
            part, entries = entries[:room], entries[room:]
            poll.append(each.model_copy(update={"data": each.data.model_copy(update={"entries": part})}))
            room -= len(part)
            if not room:
                yield poll
                poll, room = [], size


async def _announced(lab: Lab, entries: int) -> list[Event[OrderBody]]:
    """What order-svc announces of enough orders, read back from its outbox."""
    database = await prepared(lab, backlog(entries // 6 + 1))
    await drain(database)
    async with database.read(WORKER) as tx:
        rows = await tx.rows("select payload::text as payload from outbox order by id")
    await database.close()
    found = [catalog.decode(row.payload) for row in rows]
    if sum(len(each.data.entries) for each in found) < entries:
        raise Incorrect(f"{len(found)} events carry fewer than {entries} entries")
    return found


async def _prepared(lab: Lab) -> Database:
    """A fresh database of incentive-svc with a plan in force and a contract for each partner."""
    database = await lab.database(SERVICE)

    async def plan(tx: Write) -> None:
        await plans.create(tx, PLAN, "Growth rebate")
        await plans.draft(tx, PLAN, TERMS)
        await plans.activate(tx, PLAN, 1)

    contracts = [
        event(
            PARTNER_CONTRACT_APPROVED,
            uuid7(),
            ContractBody(
                version=1,
                partner_id=partner_of(n),
                valid_from=PLACED.replace(year=2025),
                time_zone="Asia/Shanghai",
                plan_codes=(PLAN,),
                terms_hash="0" * 64,
            ),
        )
        for n in range(SHOPS)
    ]
    await database.transact(STAFF, plan)
    await database.transact(WORKER, lambda tx: partner.handle(tx, contracts))
    while await database.transact(WORKER, restate):
        pass
    return database


async def _wanted(lab: Lab, poll: Sequence[Event[Any]]) -> Cells:
    """The cells after one poll."""
    database = await _prepared(lab)
    await database.transact(WORKER, lambda tx: order.handle(tx, poll))
    cells = await _cells(database)
    await database.close()
    if not cells or not any(rebate for _, rebate in cells.values()):
        raise Incorrect(f"no rebate accrued: {cells}")
    return cells


async def _cells(database: Database) -> Cells:
    async with database.read(WORKER) as tx:
        rows = await tx.rows(
            "select partner_id, period_start, basis_minor, accrued_minor from cell where seq > 0"
        )
    return {(row.partner_id, row.period_start): (row.basis_minor, row.accrued_minor) for row in rows}


async def _handled(lab: Lab, polled: Polls, first: int, wanted: Cells) -> Sample:
    """Every poll by the product's handler; after the `first` so many, the cells must be as wanted."""
    database = await _prepared(lab)
    took: list[float] = []
    with Cpu(lab.pids) as cpu, OwnCpu() as own:
        for number, poll in enumerate(polled, 1):
            began = time.perf_counter()
            await database.transact(WORKER, partial(order.handle, events=poll))
            took.append(time.perf_counter() - began)
            if number == first and (found := await _cells(database)) != wanted:
                raise Incorrect(f"cells are {found}, not {wanted}")
    await database.close()
    entries = sum(len(each.data.entries) for poll in polled for each in poll)
    return _sample(entries, took, cpu, own)


async def _plain(lab: Lab, polled: Polls, wanted: Cells) -> Sample:
    database = await _prepared(lab)
    connection = await twin.connect(database)
    entries: list[EntryBody] = [entry for poll in polled for each in poll for entry in each.data.entries]
    took: list[float] = []
    with Cpu(lab.pids) as cpu, OwnCpu() as own:
        for entry in entries:
            began = time.perf_counter()
            await twin.add(connection, [entry])
            took.append(time.perf_counter() - began)
    await connection.close()
    found = await twin.sums(database)
    if found != {key: basis for key, (basis, _) in wanted.items()}:
        raise Incorrect(f"the plain sums are {found}, and the cells {wanted}")
    await database.close()
    return _sample(len(entries), took, cpu, own)


def _sample(entries: int, took: list[float], cpu: Cpu, own: OwnCpu) -> Sample:
    took.sort()
    spent = {"postgres": cpu.each(entries)["postgres"], "client": own.seconds / entries}
    return Sample(entries / sum(took), quantile(took, 0.50) * 1_000, quantile(took, 0.99) * 1_000, spent)
