"""The whole way of an order: a signed webhook, confirmed, stock held, rebate accrued, all of it visible in insight.

On a stack as `qudao up` runs it: five services, PostgreSQL and Kafka on this machine. First a backlog, as fast as
clients can send it: orders a second from the first request to the last order that is visible. Then a steady rate at
a quarter, half and four fifths of that: how long one order takes. Every moment is read afterwards from the commit
times of the databases, so little is asked while it runs. Ends with the audit: every equation must hold.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from bench.bodies import Target, template
from bench.lab import Lab, Options
from bench.load import Job, Load
from bench.measure import Cpu, Figure, Incorrect, Sample, Tell, quantile, told
from bench.paths.intake import CLIENTS, SIX
from bench.stage import furnish, skus, stack_up
from bench.twins import raw
from channel_kit.clock import now
from qudao import audit
from qudao.equations import EQUATIONS, Databases
from qudao.stack import Stack

GOAL_SHARE: Final = 0.5
SHARES: Final = (0.25, GOAL_SHARE, 0.8)
_WARM: Final = 400
_PER_SECOND: Final = 1_200
_STEADY_TIMES: Final = 2.5
_SETTLE_SECONDS_MAX: Final = 180
_SERVERS: Final = ("postgres", "kafka")


async def measure(lab: Lab, options: Options, tell: Tell) -> list[Figure]:
    """The sustained rate beside PostgreSQL's own, and the time that one order takes at parts of it."""
    whole = await lab.scratch(raw.ORDER_SCHEMA)

    async def reference() -> float:
        return (await lab.pgbench(raw.SIX_STATEMENTS, CLIENTS, options.seconds, whole)).rate

    before = await reference()
    async with (
        stack_up(lab.folder / f"stack-{time.monotonic_ns()}") as stack,
        audit.connected(audit.database_urls(stack)) as dbs,
    ):
        road = _Road(stack, dbs, await furnish(stack))
        sustained, steady = await _drive(road, options, tell)
        await _check(road)
        tell("audit: every equation holds")
    return _figures(sustained, steady, statistics.mean((before, await reference())))


class _Measured(NamedTuple):
    """A load: its sample, and the median milliseconds from a webhook's arrival until each station has its order."""

    sample: Sample
    stations: dict[str, float]

    def told(self) -> str:
        return ", ".join(f"{name} {after:,.0f}" for name, after in self.stations.items())


async def _drive(road: "_Road", options: Options, tell: Tell) -> tuple[Sample, dict[float, _Measured]]:
    await road.settled(await road.send(_WARM))
    orders = 300 if options.small else int(_PER_SECOND * options.seconds)
    sustained = (await road.measured(orders)).sample
    tell(f"a backlog of {orders:,}: {told(sustained)}")
    steady: dict[float, _Measured] = {}
    for share in SHARES:
        rate = share * sustained.rate
        steady[share] = await road.measured(int(rate * options.seconds * _STEADY_TIMES), rate)
        tell(f"{share:.0%}, {rate:,.0f} a second: {told(steady[share].sample)}; ms to {steady[share].told()}")
    return sustained, steady


def _figures(sustained: Sample, steady: Mapping[float, _Measured], reference: float) -> list[Figure]:
    figures = [
        Figure.compare(
            "end to end, a backlog",
            sustained.rate,
            "orders/s",
            SIX,
            reference,
            ">= 0.2",
            sample=Sample(sustained.rate, cpu=sustained.cpu),
            note="from the first webhook to the last order that is confirmed, held, accrued and visible in insight",
        )
    ]
    for share, measured in steady.items():
        figures.append(
            Figure.absolute(
                f"webhook to accrued and visible at {share:.0%}, p99",
                measured.sample.p99_ms or 0,
                "ms",
                "<= 200" if share == GOAL_SHARE else "",
                sample=measured.sample,
                note=f"{share * sustained.rate:,.0f} orders a second, steadily; median ms to {measured.told()}",
            )
        )
    return figures


class _Sent(NamedTuple):
    """The numbers of one load, and how many of it were acknowledged."""

    first: int
    acknowledged: int


class _Road:
    """One furnished stack: sends orders, waits for them, and asks when each arrived where."""

    def __init__(self, stack: Stack, dbs: Databases, targets: Sequence[Target]) -> None:
        self._stack, self.dbs, self._targets = stack, dbs, targets
        self._first = self.acknowledged = 0

    async def measured(self, orders: int, per_second: float | None = None) -> _Measured:
        """Orders a second until all are visible, what each cost which process, and how long each took."""
        job = self._job(orders, per_second)
        async with Load(job) as load:
            with Cpu(self._pids()) as cpu:
                outcome = await load.run()
                if outcome.refused or outcome.broken:
                    raise Incorrect(f"orders were not accepted: {outcome.refused}, {outcome.broken} broken")
                self.acknowledged += outcome.acknowledged
                await self.settled(_Sent(job.first, outcome.acknowledged))
        measured = await self._times(_Sent(job.first, outcome.acknowledged))
        spent = {**cpu.each(outcome.acknowledged), "load": outcome.cpu_seconds / outcome.acknowledged}
        return measured._replace(sample=measured.sample._replace(cpu=spent))

    async def send(self, orders: int) -> _Sent:
        """A load that is not measured."""
        job = self._job(orders, None)
        async with Load(job) as load:
            outcome = await load.run()
        self.acknowledged += outcome.acknowledged
        return _Sent(job.first, outcome.acknowledged)

    def _job(self, orders: int, per_second: float | None) -> Job:
        first, self._first = self._first, self._first + orders
        names, at = skus(), now()
        templates = [template(names[n : n + 3], at) for n in range(len(names) - 2)]
        port = self._stack.ports["order"]
        seconds = _SETTLE_SECONDS_MAX if per_second is None else orders / per_second
        return Job(port, self._targets, templates, first, orders, CLIENTS, seconds, per_second, warm=0)

    def _pids(self) -> dict[str, list[int]]:
        listed = json.loads((self._stack.data / "run.json").read_text())["children"]
        return {child["name"]: [child["pid"]] for child in listed}

    async def settled(self, sent: _Sent) -> None:
        """Waits until nothing is on its way."""
        deadline = time.monotonic() + _SETTLE_SECONDS_MAX
        while not await self._still():
            if time.monotonic() > deadline:
                raise Incorrect(
                    f"orders of the load from {sent.first} on did not arrive in {_SETTLE_SECONDS_MAX} s"
                )
            await asyncio.sleep(0.25)
        there = await self.dbs["order"].fetchval("select count(*) from order_head")
        if there < self.acknowledged:
            raise Incorrect(f"{self.acknowledged} orders were acknowledged and {there} are there")

    async def _still(self) -> bool:
        if await self.dbs["order"].fetchval("select exists (select from delivery where status = 'new')"):
            return False
        for service in ("order", "inventory", "incentive"):
            if await self.dbs[service].fetchval("select exists (select from outbox_pending)"):
                return False
        cells = "coalesce(sum({}), 0) from {}"
        announced = await self.dbs["incentive"].fetchval("select " + cells.format("stream_version", "cell"))
        shown = await self.dbs["insight"].fetchval("select " + cells.format("version", "cell_fact"))
        # Not what was acknowledged: of a call that got no answer nobody knows, and its order is there all the same.
        taken = await self.dbs["order"].fetchval("select count(*) from order_head")
        orders = await self.dbs["insight"].fetchval("select count(*) from order_fact")
        return bool(announced == shown and orders == taken)

    async def _times(self, sent: _Sent) -> _Measured:
        """The rate from the first webhook's arrival to the last order that is held, accrued and visible, and how long
        that took each."""
        numbers = [f"{number:032}" for number in range(sent.first, self._first)]
        came = await self._pairs(
            "order", "select order_id, received_at from delivery where message_id = any($1)", numbers
        )
        orders = list(came)
        if len(orders) < sent.acknowledged:
            raise Incorrect(f"{sent.acknowledged} orders were acknowledged and {len(orders)} are there")
        moment = (
            "select order_id, max(pg_xact_commit_timestamp(xmin)) from {} where order_id = any($1) group by 1"
        )
        stations = {
            "ordered": await self._pairs("order", moment.format("ledger_entry"), orders),
            "held": await self._pairs("inventory", moment.format("reservation"), orders),
            "accrued": await self._pairs("incentive", moment.format("basis_entry"), orders),
            "sales visible": await self._pairs("insight", moment.format("entry_fact"), orders),
            "rebate visible": await self._rebates(orders),
        }
        done = {order: max(at[order] for at in stations.values()) for order in orders}
        took = sorted(_milliseconds(came[order], done[order]) for order in orders)
        seconds = _milliseconds(min(came.values()), max(done.values())) / 1000
        medians = {
            name: statistics.median(_milliseconds(came[order], at[order]) for order in orders)
            for name, at in stations.items()
        }
        return _Measured(Sample(len(orders) / seconds, quantile(took, 0.50), quantile(took, 0.99)), medians)

    async def _rebates(self, orders: Sequence[Any]) -> dict[Any, datetime]:
        """When the accrual of each order was visible in insight: that of the transaction that took its entries in."""
        accruals = await self.dbs["incentive"].fetch(
            "select distinct b.order_id, o.aggregate_id, o.aggregate_version "
            "from basis_entry b join outbox o on o.xmin::text = b.xmin::text where b.order_id = any($1)",
            orders,
        )
        shown = {
            (row[0], row[1]): row[2]
            for row in await self.dbs["insight"].fetch(
                "select cell_id, version, max(pg_xact_commit_timestamp(xmin)) from rebate_fact group by 1, 2"
            )
        }
        found: dict[Any, datetime] = {}
        for order, cell, version in accruals:
            # A batch accrues in several cells; which one is an order's own does not matter, they are shown together.
            if (cell, version) in shown:
                at = shown[cell, version]
                found[order] = max(found.get(order, at), at)
        return found

    async def _pairs(self, service: str, sql: str, keys: Sequence[Any]) -> dict[Any, datetime]:
        return {row[0]: row[1] for row in await self.dbs[service].fetch(sql, keys)}


def _milliseconds(since: datetime, until: datetime) -> float:
    return (until - since).total_seconds() * 1000


async def _check(road: _Road) -> None:
    """Everything acknowledged is an order with stock held, and the audit finds nothing. Raises Incorrect."""
    orders = await road.dbs["order"].fetchval("select count(*) from order_head where lifecycle is not null")
    if orders != road.acknowledged:
        raise Incorrect(f"{road.acknowledged} deliveries were acknowledged and {orders} orders are there")
    settled = await audit.quiet(road.dbs, _SETTLE_SECONDS_MAX)
    findings = [found for equation in (*EQUATIONS, audit.blocks) async for found in equation(road.dbs)]
    broken = [f"{found.equation} {found.name}: {found.examples}" for found in findings if not found.holds]
    if broken or not settled:
        raise Incorrect("; ".join(broken) or "the stack does not become quiet")
    unconfirmed = await road.dbs["order"].fetchval(
        "select count(*) from order_head where stock_status is null"
    )
    if unconfirmed:
        raise Incorrect(f"{unconfirmed} orders do not say whether their stock is held")
