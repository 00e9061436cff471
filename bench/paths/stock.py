"""Many want the same SKU at one moment: the product's group commit beside two usual ways, with the same rows.

Ours is what `POST /v1/reservations` puts behind itself: idempotency, reservation, hold, stock, events, one answer
each. Closed loop: every reserver asks again as soon as it is answered. Each measurement has a database of its own.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import Final, NamedTuple
from uuid import uuid4

from bench.lab import Lab, Options
from bench.measure import Cpu, Figure, Incorrect, Sample, Tell, interleave, quantile, told
from bench.paths.drain import OwnCpu, settle_heap
from bench.twins import stock as twins
from channel_kit.database import STAFF, WORKER, Database
from channel_kit.ids import uuid7
from inventory_svc.hold.values import Windows
from inventory_svc.item import actions as items
from inventory_svc.item.rules import Item
from inventory_svc.reservation.actions import Command, InsufficientStock
from inventory_svc.reservation.routes import LINE_BYTES, ReservationGather, gather
from inventory_svc.reservation.rules import Request, Wish
from inventory_svc.service import SERVICE
from inventory_svc.stock import actions as stock
from inventory_svc.stock.actions import Change

RESERVERS: Final = 64
PLENTY: Final = 50_000_000
SCARCE: Final = 4_000
ATTEMPTS: Final = 6_000
WARM_SECONDS: Final = 0.5


async def measure(lab: Lab, options: Options, tell: Tell) -> list[Figure]:
    """Reservations a second, the product beside its twins; and that what is sold out stays sold out."""
    seconds = options.seconds
    settle_heap()
    sides = await interleave(
        {
            "ours": lambda: _ours(lab, seconds, RESERVERS, 1),
            "row lock": lambda: _twin(lab, seconds, RESERVERS, 1, twins.row_lock),
            "one statement": lambda: _twin(lab, seconds, RESERVERS, 1, twins.one_statement),
            "ours alone": lambda: _ours(lab, seconds, 1, 1),
            "one statement alone": lambda: _twin(lab, seconds, 1, 1, twins.one_statement),
            "ours, 64 SKUs": lambda: _ours(lab, seconds, RESERVERS, RESERVERS),
            "one statement, 64 SKUs": lambda: _twin(lab, seconds, RESERVERS, RESERVERS, twins.one_statement),
        },
        options.rounds,
        tell,
    )
    many, alone = f"stock: {RESERVERS} reservers, one SKU", "stock: one reserver"
    spread = f"stock: {RESERVERS} reservers, {RESERVERS} SKUs"
    ours, single = sides["ours"], sides["ours alone"]
    sold, rate = await _run_out(lab)
    return [
        _figure(many, ours, "SELECT FOR UPDATE", sides["row lock"], ">= 50"),
        _figure(many, ours, "conditional UPDATE", sides["one statement"], ">= 25"),
        _figure(alone, single, "conditional UPDATE", sides["one statement alone"], ">= 0.6"),
        _figure(spread, sides["ours, 64 SKUs"], "conditional UPDATE", sides["one statement, 64 SKUs"]),
        Figure.compare(
            f"stock: {ATTEMPTS:,} attempts on {SCARCE:,} units",
            sold,
            "units sold",
            "units there",
            SCARCE,
            "== 1",
            note=f"{rate:,.0f} attempts/s; in every run the holds add up to the stock row",
        ),
    ]


def _figure(path: str, ours: Sample, reference: str, other: Sample, goal: str = "") -> Figure:
    note = f"the reference: {told(other)}"
    return Figure.compare(
        path, ours.rate, "reservations/s", reference, other.rate, goal, sample=ours, note=note
    )


async def _ours(lab: Lab, seconds: float, reservers: int, skus: int) -> Sample:
    database = await _stocked(lab, skus, PLENTY)
    waiting = gather(database, Windows(900, {}))

    async def reserve(n: int) -> bool:
        return await _reserve(waiting, _sku(n % skus))

    sample, sold = await _closed_loop(lab, [partial(reserve, n) for n in range(reservers)], seconds)
    await _check(database, sold)
    await database.close()
    return sample


async def _twin(
    lab: Lab, seconds: float, reservers: int, skus: int, way: Callable[[twins.Texts], twins.Reserve]
) -> Sample:
    database = await _stocked(lab, skus, PLENTY)
    await _reserve(gather(database, Windows(900, {})), _sku(0))  # the texts to copy
    reserve = way(await twins.texts(database, stock_event=reservers == 1))
    connections = await twins.connect(database, reservers)
    calls = [partial(reserve, connections[n], _sku(n % skus)) for n in range(reservers)]
    sample, sold = await _closed_loop(lab, calls, seconds)
    for connection in connections:
        await connection.close()
    await _check(database, sold + 1)
    await database.close()
    return sample


async def _run_out(lab: Lab) -> tuple[int, float]:
    """More attempts than units: units sold, attempts a second."""
    database = await _stocked(lab, 1, SCARCE)
    waiting = gather(database, Windows(900, {}))
    sold = 0
    left = iter(range(ATTEMPTS))

    async def reserver() -> None:
        nonlocal sold
        for _ in left:
            if await _reserve(waiting, _sku(0)):
                sold += 1

    began = time.perf_counter()
    await asyncio.gather(*(reserver() for _ in range(RESERVERS)))
    took = time.perf_counter() - began
    await _check(database, sold)
    await database.close()
    return sold, ATTEMPTS / took


async def _reserve(waiting: ReservationGather, sku: str) -> bool:
    """One request as the route makes it; False when stock is gone."""
    asked = Request(uuid7(), (Wish(sku, "main", Decimal(1)),), 900, whole=True)
    key = uuid4()
    try:
        answer = await waiting.submit(Command("bench", key.hex, key.bytes, asked), LINE_BYTES)
    except InsufficientStock:
        return False
    if answer.status != 201 or answer.replayed:
        raise Incorrect(f"an unexpected answer: {answer.status}")
    return True


async def _closed_loop(
    lab: Lab, calls: Sequence[Callable[[], Awaitable[bool]]], seconds: float
) -> tuple[Sample, int]:
    """Every caller calls again as soon as it is answered; the sample, and what was sold in all."""
    took: list[float] = []
    sold = 0
    starts = time.perf_counter() + WARM_SECONDS
    ends = starts + seconds

    async def caller(call: Callable[[], Awaitable[bool]]) -> None:
        nonlocal sold
        while (began := time.perf_counter()) < ends:
            if not await call():
                raise Incorrect("stock that cannot run out ran out")
            sold += 1
            if (done := time.perf_counter()) <= ends and began >= starts:
                took.append(done - began)

    with Cpu(lab.pids) as cpu, OwnCpu() as own:
        await asyncio.gather(*(caller(call) for call in calls))
    took.sort()
    spent = {"postgres": cpu.each(sold)["postgres"], "client": own.seconds / sold}
    return Sample(
        len(took) / seconds, quantile(took, 0.50) * 1_000, quantile(took, 0.99) * 1_000, spent
    ), sold


async def _stocked(lab: Lab, skus: int, units: int) -> Database:
    """A fresh database with that many units of each SKU."""
    database = await lab.database(SERVICE)
    names = [_sku(n) for n in range(skus)]
    changes = [Change("receipt", name, "main", Decimal(units)) for name in names]
    await database.transact(STAFF, lambda tx: items.upsert(tx, [Item(name, name) for name in names]))
    await database.transact(STAFF, lambda tx: stock.change(tx, "receipt", changes))
    return database


def _sku(n: int) -> str:
    return f"HOT-{n:02}"


class _Sums(NamedTuple):
    on_hand: Decimal
    reserved: Decimal
    held: Decimal
    heads: int
    answers: int
    events: int


async def _check(database: Database, sold: int) -> None:
    """Every unit sold has its rows, and none was sold twice. Raises Incorrect."""
    async with database.read(WORKER) as tx:
        row = await tx.row(
            """
            select (select sum(on_hand) from stock) as on_hand, (select sum(reserved) from stock) as reserved,
                   (select coalesce(sum(held), 0) from hold) as held, (select count(*) from reservation) as heads,
                   (select count(*) from idempotency) as answers,
                   (select count(*) from outbox where aggregate_type = 'reservation') as events
            """
        )
    if row is None:
        raise Incorrect("nothing to count")
    sums = _Sums(row.on_hand, row.reserved, row.held, row.heads, row.answers, row.events)
    if set(sums[1:]) != {sold} or sums.held > sums.on_hand:
        raise Incorrect(f"{sold} were sold, and the tables say {sums}")
