"""SIGKILL between every two steps of every mechanism, under traffic; and of every kind of process during a day.

Nothing that was answered 200 is lost, nothing is done twice, and the audit is clean once everybody is back.
"""

import asyncio
import re
import signal
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import asyncpg
from rich.console import Console

from qudao.day.catalog import SHOPS
from qudao.demo import play_day

from . import shops
from .deployment import Deployment
from .lab import Lab
from .letters import order_body
from .shops import IN_FORCE, Trade

ROOT = Path(__file__).parents[2]
FAILPOINT = re.compile(r'failpoint\("([a-z_.]+)"\)')
# Every failpoint there is, each in a service whose work passes it; a count lets some of them come in the middle of
# things. What order-svc does to its events comes first, so that the others get some.
POINTS = {
    "partner": ("relay.after_commit",),
    "order": (
        "relay.after_ack",
        "relay.before_commit:2",
        "drain.after_commit",
        "drain.after_claim:2",
        "drain.before_settle",
        "drain.before_commit:3",
        "intake.before_commit:2",
        "intake.after_commit",
    ),
    "inventory": ("feed.before_handle", "feed.after_handle:2", "relay.before_send"),
    "incentive": ("feed.before_commit", "relay.before_ack"),
    "insight": ("feed.before_commit:5", "feed.after_commit:3"),
}

# The day's order of deaths: the services one by one, then what they all stand on.
KINDS = ("order", "inventory", "incentive", "insight", "partner", "kafka", "postgres")
DAY_ORDERS = 150


class Traffic:
    """Bursts of orders and changes of reference data until stopped. Remembers what was accepted."""

    def __init__(self, bench: Lab, trades: list[Trade]) -> None:
        self.bench, self.trades = bench, trades
        self.accepted: list[tuple[Trade, str]] = []
        self.stop = asyncio.Event()

    async def orders(self) -> None:
        for number in count():
            if self.stop.is_set():
                return
            sold = self.trades[number % len(self.trades)]
            burst = [order_body(sold.shop.platform, sold.sku) for _ in range(4)]
            await asyncio.gather(*(sold.shop.delivered(body, topic) for _, body, topic in burst))
            self.accepted += [(sold, order_id) for order_id, _, _ in burst]
            await asyncio.sleep(0.05)

    async def changes(self) -> None:
        """Stock, mappings, bindings: something for each producer's relay and each consumer's feeds."""
        for number in count():
            if self.stop.is_set():
                return
            sold = self.trades[number % len(self.trades)]
            shop = f"/v1/shops/{sold.shop.platform}/{sold.shop.shop_id}/bindings"
            bound = {
                "partner_id": sold.partner_id,
                "channel": ("online", "store")[number % 2],
                "valid_from": IN_FORCE,
                "replace": True,
            }
            lines = [{"sku": sold.sku, "quantity": "2"}]
            await asyncio.gather(
                self.bench.insist("partner", "POST", shop, bound),
                self.bench.insist("inventory", "POST", "/v1/receipts", {"lines": lines}),
            )
            await asyncio.sleep(0.3)


async def _run_the_gauntlet(bench: Lab, service: str) -> list[str]:
    """Lets a service die at each of its points, then runs it without any; where it died."""
    member = bench.members[service]
    died = []
    for point in POINTS[service]:
        member.end(signal.SIGKILL)
        member.start(QUDAO_FAILPOINT=point)
        status = await member.died(150, f"{service} at {point}")
        assert status == -signal.SIGKILL, f"{service} at {point} ended with {status}: {member.said()}"
        died.append(point)
    member.start()
    return died


def test_no_failpoint_is_left_out() -> None:
    """Every place in the code where a process can be killed on purpose is among the points above."""
    sources = [*ROOT.glob("shared/*/src/**/*.py"), *ROOT.glob("services/*/src/**/*.py")]
    there = {name for source in sources for name in FAILPOINT.findall(source.read_text())}
    assert {point.partition(":")[0] for points in POINTS.values() for point in points} == there


async def test_death_between_any_two_steps_loses_and_doubles_nothing(
    bench: Lab, tell: Callable[[str], None]
) -> None:
    trades = [await shops.trade(bench, platform) for platform in ("shopify", "woocommerce", "generic")]
    traffic = Traffic(bench, trades)
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:  # whoever fails ends all of it
        group.create_task(traffic.orders())
        group.create_task(traffic.changes())
        runs = [group.create_task(_run_the_gauntlet(bench, service)) for service in POINTS]
        deaths = await asyncio.gather(*runs)
        traffic.stop.set()
    assert dict(zip(POINTS, deaths, strict=True)) == {name: list(points) for name, points in POINTS.items()}
    for service in POINTS:
        await bench.ready(service)
    await bench.audit_clean(120)
    taken = await bench.rows(
        "order",
        "select platform_order_id from order_head where document is not null and shop_id = any($1)",
        [sold.shop.shop_id for sold in trades],
    )
    assert sorted(row[0] for row in taken) == sorted(order_id for _, order_id in traffic.accepted)
    lasted = time.monotonic() - began
    tell(f"{sum(map(len, deaths))} deaths in {lasted:.0f} s under {len(traffic.accepted)} orders")


async def test_a_day_in_which_every_process_is_killed_ends_with_everything_in_its_place(
    stack: Deployment, tmp_path: Path
) -> None:
    said = tmp_path / "day.log"
    with said.open("w") as output:
        console = Console(file=output, width=200)
        day = asyncio.create_task(play_day(stack.stack, console, seed=7, orders=DAY_ORDERS))
        killed = asyncio.create_task(_kill_all(stack, day))
        status = await day
    assert await killed == [*KINDS], said.read_text()
    assert status == 0, said.read_text()
    await stack.audit_clean()


async def _kill_all(stack: Deployment, day: "asyncio.Task[int]") -> list[str]:
    """Kills one process after the other, each when the day is a step further on; those killed in time."""
    killed: list[str] = []
    for number, name in enumerate(KINDS):
        while await _taken(stack) < DAY_ORDERS * (number + 1) // (len(KINDS) + 2):
            if day.done():
                return killed
            await asyncio.sleep(0.02)
        pid = await stack.kill(name)
        killed.append(name)
        await stack.back(name, pid)
    return killed


async def _taken(stack: Deployment) -> int:
    """Orders of the demo's shops so far; -1 while the database is away."""
    try:
        count = "select count(*) from order_head where document is not null and shop_id = any($1)"
        return int(await stack.value("order", count, [shop.shop_id for shop in SHOPS]))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return -1
