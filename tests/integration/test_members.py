"""More than one member: workers that join and leave under traffic, and a broker that is killed.

A second worker of a service shares its feeds, its relay and its drains with the first. Joins and leaves move
partitions while records are on their way; each change may show records twice, and no effect.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient

from channel_kit.local.server import free_port
from qudao.equations import CONSUMERS

from .deployment import Deployment, Member, until
from .letters import order_body
from .shops import Trade

Make = Callable[..., Awaitable[Any]]


class Stream:
    """Orders of one trade until stopped; each is repeated until it is accepted."""

    def __init__(self, sold: Trade, pause: float = 0.03) -> None:
        self.sold, self.pause = sold, pause
        self.accepted: list[str] = []
        self.stop = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while not self.stop.is_set():
            order_id, body, topic = order_body(self.sold.shop.platform, self.sold.sku)
            await self.sold.shop.delivered(body, topic)
            self.accepted.append(order_id)
            await asyncio.sleep(self.pause)

    async def more(self, orders: int) -> None:
        """Waits until that many more have been accepted."""
        enough = len(self.accepted) + orders
        await until(lambda: self._task.done() or len(self.accepted) >= enough, 90)

    async def end(self) -> list[str]:
        self.stop.set()
        await self._task
        return self.accepted


async def _members(stack: Deployment, consumer: str) -> dict[str, int]:
    """How many partitions each member of a consumer's group has."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.stack.kafka)
    await admin.start()
    try:
        [answer] = await admin.describe_consumer_groups([consumer])
        [group] = answer.groups
        state, members = group[2], group[5]
        if state != "Stable":
            return {}
        return {member[0]: len(_partitions(member[4])) for member in members}
    finally:
        await admin.close()


def _partitions(assignment: bytes) -> list[int]:
    """The partitions in a member's assignment of one topic: version, topics, name, partitions as big-endian ints."""
    if not assignment:
        return []
    name = int.from_bytes(assignment[6:8], "big")
    at = 8 + name
    count = int.from_bytes(assignment[at : at + 4], "big")
    return [int.from_bytes(assignment[at + 4 + 4 * n : at + 8 + 4 * n], "big") for n in range(count)]


def _feeds(service: str) -> list[str]:
    return [name for names in CONSUMERS.values() for name in names if name.startswith(f"{service}.")]


async def _shared(stack: Deployment, service: str, members: int) -> bool:
    """Whether every feed of a service is spread over that many members."""
    for consumer in _feeds(service):
        spread = await _members(stack, consumer)
        if len(spread) != members or not all(spread.values()) or sum(spread.values()) != 12:
            return False
    return True


async def test_members_join_and_leave_under_traffic(stack: Deployment, trade: Make, tmp_path: Path) -> None:
    sold = await trade(stock="100000")
    stream = Stream(sold)
    leaver, killed = [
        Member(
            stack.stack,
            service,
            "worker",
            tmp_path / f"{service}.log",
            QUDAO_INSTANCE_ID="second",
            QUDAO_HTTP_PORT=str(free_port()),
        )
        for service in ("order", "inventory")
    ]
    with leaver, killed:
        for member in (leaver, killed):
            await until(lambda m=member: _shared(stack, m.service, 2), 60, member.said)  # type: ignore[misc]
        await stream.more(40)
        assert leaver.end(signal.SIGTERM) == 0, leaver.said()  # leaves in order
        killed.end(signal.SIGKILL)  # leaves without a word,
        killed.start()  # and comes back under its own name
        await killed.ready(stack.http)
        await stream.more(40)
        await until(lambda: _shared(stack, "inventory", 2), 60, killed.said)
        killed.end(signal.SIGKILL)
        accepted = await stream.end()
        await stack.audit_clean(120)
        await _all_there(sold, accepted)
    for service in ("order", "inventory"):  # those who are gone are given up, and the first has all again
        await until(lambda s=service: _shared(stack, s, 1), 60)  # type: ignore[misc]


async def test_a_killed_broker_is_resumed(stack: Deployment, trade: Make) -> None:
    sold = await trade(stock="100000")
    stream = Stream(sold)
    await stream.more(20)
    pid = await stack.kill("kafka")
    await stream.more(20)  # accepted while there is no broker: the outbox waits
    await stack.back("kafka", pid)
    await stream.more(20)
    accepted = await stream.end()
    await stack.audit_clean(120)
    await _all_there(sold, accepted)


async def _all_there(sold: Trade, accepted: list[str]) -> None:
    """Each accepted order once: in the ledger, attributed, held, accrued."""
    shop = sold.shop
    rows = await sold.deployment.rows(
        "order",
        "select platform_order_id, partner_id::text as partner from order_head where platform = $1 and shop_id = $2",
        shop.platform,
        shop.shop_id,
    )
    assert sorted(row["platform_order_id"] for row in rows) == sorted(accepted)
    assert {row["partner"] for row in rows} == {sold.partner_id}
    [shelf] = await sold.deployment.get("inventory", f"/v1/stock/{sold.sku}")
    assert shelf["allocated"] == str(3 * len(accepted))
    statement = await sold.statement()
    assert statement["basis_minor"] == 30_973 * len(accepted)
