"""`qudao demo` and `qudao up --demo`: a day of traffic, what came of it, and whether it adds up.

Sets the stage, plays the day, waits until nothing moves, prints what the services say, and ends with the audit. The
day itself is in `qudao.day`; this is its console.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from channel_kit.clock import now
from qudao import audit
from qudao.client import Client, Refused, Unreachable
from qudao.day.catalog import ZONE
from qudao.day.moments import Day
from qudao.day.plan import plan
from qudao.day.play import Played, play
from qudao.day.sales import Run, money
from qudao.day.stage import Unprepared, set_stage
from qudao.day.verdict import Verdict, judge
from qudao.stack import Stack
from qudao.up import up

SEED: Final = 20_240_101
ORDERS: Final = 600
DEVIATIONS_SHOWN: Final = 20
_STORED: Final = ("applied", "stale", "duplicate", "ignored", "quarantined")
_FIGURES: Final = ("net_sales", "orders", "units", "aov", "refund_rate", "return_rate", "rebate_cost")
_TELLS_EVERY = 5  # on a terminal that cannot draw a bar, this many times in all


async def demo(
    data: Path | None = None, *, seed: int = SEED, orders: int = ORDERS, console: Console | None = None
) -> int:
    """The day on a stack that is stopped afterwards; without `data` in a folder that is thrown away. The exit
    status: 0 only when everything arrived and the audit is clean."""
    console = console or Console()
    if data is None:
        with tempfile.TemporaryDirectory(prefix="qudao-demo-") as folder:
            return await demo(Path(folder), seed=seed, orders=orders, console=console)

    async def on_ready(stack: Stack) -> int:
        return await play_day(stack, console, seed=seed, orders=orders)

    return await up(data, on_ready=on_ready, console=console)


async def run(data: Path, *, seed: int = SEED, orders: int = ORDERS, console: Console | None = None) -> int:
    """The stack until Ctrl-C, with the day played into it on the first start. The exit status."""
    console = console or Console()
    mark = data / "demo.json"

    async def after_ready(stack: Stack) -> int:
        if mark.exists():
            console.print(
                f"The demo day was played here before; remove {mark} to play another at the next start."
            )
            return 0
        status = await play_day(stack, console, seed=seed, orders=orders)
        played = {"played_at": now().isoformat(), "seed": seed, "orders": orders, "status": status}
        mark.write_text(json.dumps(played) + "\n")
        console.print("The stack stays up; Ctrl-C stops it.")
        return status

    return await up(data, after_ready=after_ready, console=console)


async def play_day(stack: Stack, console: Console, *, seed: int = SEED, orders: int = ORDERS) -> int:
    """A new day on a running stack, its summary and the audit. 0 when all is well, 1 otherwise."""
    began = time.monotonic()
    day = plan(Run(seed, orders, now().replace(microsecond=0)))
    console.print(
        f"[bold]A day of {orders} orders[/], seed {seed}: {len(day.moments)} moments, "
        f"{day.reordered} pairs of deliveries in the wrong order"
    )
    try:
        async with Client.connect(stack) as client:
            stage = await set_stage(client, day)
            console.print(
                "[green]✓[/] partners, contracts, plans, products, stock and connections are in place"
            )
            with _progress(console) as tick:
                played = await play(client, day, stage, tick)
            settled = await _rest(stack, console)
            verdict = await judge(client, day, stage, played)
            _show_deliveries(console, played, verdict)
            await _show_figures(console, client, stack, day, played, verdict)
    except (Refused, Unreachable, Unprepared) as failure:
        console.print(f"[bold red]The day could not be played.[/] {failure}", highlight=False)
        return 1
    if not settled:
        verdict.deviations.append("events were still on their way when the time was over")
    _show_deviations(console, verdict)
    console.print(f"The day took {time.monotonic() - began:.1f} s.")
    status = await audit.audit(audit.database_urls(stack), console, as_json=False)
    return 1 if verdict.deviations else status


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[int, int], None]]:
    """A bar where one can be drawn, a line now and then where not."""
    if console.is_terminal:
        columns = (TextColumn("playing the day"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("day", total=None)
            yield lambda done, of: progress.update(task, completed=done, total=of)
        return

    def tell(done: int, of: int) -> None:
        if done * _TELLS_EVERY // of != (done - 1) * _TELLS_EVERY // of:
            console.print(f"playing the day: {done} of {of}", highlight=False)

    yield tell


async def _rest(stack: Stack, console: Console) -> bool:
    """Waits until nothing is on its way; a database that is being restarted is waited for too."""
    console.print("waiting until every event has arrived …", style="dim")
    deadline = time.monotonic() + audit.QUIET_SECONDS
    while True:
        try:
            async with audit.connected(audit.database_urls(stack)) as dbs:
                return await audit.quiet(dbs, max(1.0, deadline - time.monotonic()))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.5)


def _show_deliveries(console: Console, played: Played, verdict: Verdict) -> None:
    rate = len(played.history) / played.seconds if played.seconds else 0
    title = f"Deliveries: {len(played.history)} in {played.seconds:.1f} s ({rate:.0f}/s), {played.retried} sent again"
    table = Table("platform", "sent", "acknowledged", "twice", "forged: 401", *_STORED, title=title)
    for platform, tally in sorted(played.tallies.items()):
        outcomes = verdict.outcomes[platform]
        sent = (tally.posted, tally.acknowledged, tally.repeated, tally.refused)
        table.add_row(platform, *map(str, sent), *(str(outcomes[name]) for name in _STORED))
    console.print(table)


async def _show_figures(
    console: Console, client: Client, stack: Stack, day: Day, played: Played, verdict: Verdict
) -> None:
    orders = Table("orders", "", title=f"Orders: {verdict.orders.total()}")
    for state, count in verdict.orders.most_common():
        orders.add_row(state, str(count))
    console.print(orders)
    async with audit.connected(audit.database_urls(stack)) as dbs:
        entries = await dbs["order"].fetch(
            "select kind, count(*) as n from ledger_entry where recorded_at >= $1 group by kind order by n desc",
            played.began_at,
        )
        holds = await dbs["inventory"].fetchrow(
            "select sum(held) as held, sum(committed) as committed, sum(issued) as issued, sum(short) as short, "
            "sum(expired) as expired, sum(restocked) as restocked from hold"
        )
    console.print(_line("Entries", {row["kind"]: row["n"] for row in entries}))
    console.print(
        _line("Held for order lines", {name: f"{value:f}" for name, value in (holds or {}).items()})
    )
    console.print(_line("Reservations of others", played.reserved))
    console.print(_line("Orders that waited at noon", played.waited))
    await _show_rebates(console, client)
    await _show_kpis(console, client, day)


async def _show_rebates(console: Console, client: Client) -> None:
    names = {one["partner_id"]: one["name"] async for one in client.pages("partner", "/v1/partners")}
    table = Table("partner", "plan", "period", "basis", "rebate", "steps", title="Rebates")
    async for cell in client.pages("incentive", "/v1/accruals"):
        table.add_row(
            names.get(cell["partner_id"], cell["partner_id"]),
            f"{cell['plan_code']} v{cell['plan_version']}",
            cell["period"]["start_on"],
            f"{money(cell['basis_minor'])} {cell['currency']}",
            f"{money(cell['rebate_minor'])} {cell['currency']}",
            str(cell["steps"]),
        )
    console.print(table)


async def _show_kpis(console: Console, client: Client, day: Day) -> None:
    days = (day.begins_at.astimezone(ZONE).date(), datetime.now(UTC).astimezone(ZONE).date())
    answer = await client.get("insight", "/v1/insight/kpis", **{"from": f"{days[0]}", "to": f"{days[1]}"})
    table = Table("currency", *_FIGURES, "complete", title=f"Key figures, {days[0]} to {days[1]}")
    for group in answer["items"]:
        figures = group["figures"]
        complete = figures["net_sales"]["completeness_percent"]
        table.add_row(group["currency"], *(_figure(figures[name]) for name in _FIGURES), f"{complete} %")
    console.print(table)


def _figure(figure: dict[str, Any]) -> str:
    value = figure["value"]
    if value is None:
        return "–"
    return money(value) if figure["unit"] == "minor" else str(value)


def _line(name: str, counts: Any) -> str:
    return f"[bold]{name}:[/] " + ", ".join(f"{key} {value}" for key, value in counts.items())


def _show_deviations(console: Console, verdict: Verdict) -> None:
    if not verdict.deviations:
        console.print(
            f"[green]Everything arrived[/]: every order as it was sold, {verdict.repeats_seen} repetitions seen."
        )
        return
    console.print(f"[bold red]{len(verdict.deviations)} deviations from what was sold and sent:[/]")
    for deviation in verdict.deviations[:DEVIATIONS_SHOWN]:
        console.print(f"  {deviation}", highlight=False, markup=False)
