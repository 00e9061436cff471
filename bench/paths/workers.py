"""Do more workers do more? One, two and four `worker` processes of order-svc on one backlog, and of insight-svc on
one topic that is full.

Everything is the product's own process. On a machine of few cores the first worker, PostgreSQL and the broker may
fill them already; then more workers cannot help, so how many cores were busy stands beside every figure.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final

from bench.lab import Lab, Options, name_of
from bench.measure import Cpu, Figure, Incorrect, Sample, Tell, interleave
from bench.paths.drain import backlog, prepared
from channel_kit.database import Database
from channel_kit.service import Service
from channel_kit.testing.processes import running
from insight_svc.__main__ import SERVICE as INSIGHT
from order_svc.intake import actions
from order_svc.intake.store import Incoming
from order_svc.service import SERVICE as ORDER

WORKERS: Final = (1, 2, 4)
CONSUMERS: Final = (1, 2)
GOAL: Final = ">= 0.8"
_PER_SECOND: Final = 600
_TOPIC_TIMES: Final = 2
_SECONDS_MAX: Final = 180


async def measure(lab: Lab, options: Options, tell: Tell) -> list[Figure]:
    """Orders a second by number of workers, and events a second by number of consumers."""
    orders = 600 if options.small else int(_PER_SECOND * options.seconds)
    rounds = min(options.rounds, 2)
    waiting = backlog(orders)
    lab.renew_kafka()

    async def drained(count: int) -> Sample:
        database = await prepared(lab, [])

        async def begin() -> None:
            await actions.record(database, waiting)  # in one transaction: all workers see all of it at once

        async def done() -> int:
            settled = await lab.value(
                "select count(*) from delivery where status <> 'new'", name_of(database)
            )
            unpublished = await lab.value("select count(*) from outbox_pending", name_of(database))
            return min(int(settled), orders - int(unpublished))

        return await _together(lab, ORDER, database, count, orders, done, begin)

    sides = {f"{count} workers": (lambda count=count: drained(count)) for count in WORKERS}
    found = await interleave(sides, rounds, tell)
    figures = _figures(
        "drain and publish", "orders/s", [(count, found[f"{count} workers"]) for count in WORKERS]
    )

    total = await _fill(lab, backlog(_TOPIC_TIMES * orders))

    async def consumed(count: int) -> Sample:
        database = await lab.database(INSIGHT)

        async def done() -> int:
            return int(await lab.value("select count(*) from order_fact", name_of(database)))

        return await _together(lab, INSIGHT, database, count, total, done)

    sides = {f"{count} consumers": (lambda count=count: consumed(count)) for count in CONSUMERS}
    found = await interleave(sides, 1 if options.small else rounds, tell)
    return figures + _figures(
        "facts", "events/s", [(count, found[f"{count} consumers"]) for count in CONSUMERS]
    )


def _figures(what: str, unit: str, found: Sequence[tuple[int, Sample]]) -> list[Figure]:
    """Each number of processes beside what it could be: as many times one, or what the idle cores leave room for."""
    one, cores = found[0][1], os.cpu_count() or 1
    figures = []
    for count, sample in found[1:]:
        room = min(count, max(1.0, cores / _busy(one)))
        reference = (
            f"{count} × one process"
            if room == count
            else f"{room:.2f} × one process, then the cores are full"
        )
        note = f"{_busy(sample):.2f} of {cores} cores busy; one process beside its servers fills {_busy(one):.2f}"
        name = f"{what}, {count} processes"
        own = {kind: spent for kind, spent in (sample.cpu or {}).items() if kind != "machine"}
        shown = sample._replace(cpu=own)
        figures.append(
            Figure.compare(name, sample.rate, unit, reference, room * one.rate, GOAL, sample=shown, note=note)
        )
    return figures


def _busy(sample: Sample) -> float:
    return sample.rate * (sample.cpu or {})["machine"]


async def _together(
    lab: Lab,
    service: Service,
    database: Database,
    count: int,
    total: int,
    done: Callable[[], Awaitable[int]],
    begin: Callable[[], Awaitable[None]] | None = None,
) -> Sample:
    """The rate of `count` workers: from `begin`, which makes work for those that wait for it, until all `total` are
    done; from the first progress seen, where the work is there before them."""
    async with AsyncExitStack() as stack:
        command = ("-m", f"{service.name}_svc", "worker")
        children = [
            await stack.enter_async_context(running(command, database.settings)) for _ in range(count)
        ]
        if begin is not None:
            await asyncio.gather(*(child.ready() for child in children))
            await begin()
        first = 0 if begin is not None else await _until(done, 1)
        pids = {"service": [child.process.pid for child in children], **lab.pids}
        with Cpu(pids) as cpu:
            last = await _until(done, total)
        for child in children:  # in order, or the next ones wait until the broker gives up on them
            child.send(signal.SIGTERM)
        await asyncio.gather(*(child.ended() for child in children))
        if last != total:
            raise Incorrect(f"{count} workers made {last} of {total}")
    counted = total - first
    return Sample(counted / cpu.seconds, cpu={**cpu.each(counted), "machine": cpu.machine / counted})


async def _until(done: Callable[[], Awaitable[int]], count: int) -> int:
    deadline = time.monotonic() + _SECONDS_MAX
    while (found := await done()) < count:
        if time.monotonic() > deadline:
            raise Incorrect(f"{found} of {count} were done in {_SECONDS_MAX} s")
        await asyncio.sleep(0.05)
    return found


async def _fill(lab: Lab, waiting: Sequence[Incoming]) -> int:
    """An empty broker, and the events of one drained backlog on it."""
    lab.renew_kafka()
    database = await prepared(lab, waiting)
    async with running(("-m", "order_svc", "worker"), database.settings):
        await _until(lambda: _published(lab, name_of(database), len(waiting)), 1)
    return len(waiting)


async def _published(lab: Lab, name: str, orders: int) -> int:
    announced = await lab.value("select count(*) from outbox", name)
    pending = await lab.value("select count(*) from outbox_pending", name)
    return int(announced == orders and pending == 0)
