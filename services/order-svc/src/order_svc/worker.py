"""The loops: drain, sealer, re-derivation, the feeds of partner-svc and inventory-svc, and the kit's own."""

import asyncio
from collections.abc import Sequence

from channel_events import topics
from channel_kit.database import WORKER, Write
from channel_kit.feed import Feed
from channel_kit.jobs import Job
from channel_kit.service import Loop, Runtime
from channel_kit.upkeep import standard_loops
from order_svc.block.actions import seal_next
from order_svc.feeds import inventory, partner
from order_svc.intake.actions import drain, refresh_gauges
from order_svc.order.actions import derive_marked

REDERIVE_MAX = 200
GAUGE_SECONDS = 5.0


def drain_wake(runtime: Runtime) -> asyncio.Event:
    """Set by intake in the same process after each commit; a worker of its own polls instead."""
    event = runtime.shared.setdefault("drain_wake", asyncio.Event())
    assert isinstance(event, asyncio.Event)  # noqa: S101
    return event


def build(runtime: Runtime) -> Sequence[Loop]:
    database, settings = runtime.database, runtime.settings

    async def rederive(tx: Write) -> int:
        return await derive_marked(tx, REDERIVE_MAX)

    async def gauges() -> int:
        await refresh_gauges(database)
        return 0

    return standard_loops(
        runtime,
        feeds=[
            Feed(database, settings, consumer="order.partner", topic=topics.PARTNER, handle=partner.handle),
            Feed(
                database,
                settings,
                consumer="order.inventory",
                topic=topics.INVENTORY,
                handle=inventory.handle,
            ),
        ],
        jobs=[
            Job(
                "drain",
                lambda: drain(database),
                idle_seconds=settings.poll_seconds_max,
                wake=drain_wake(runtime),
            ),
            Job(
                "rederive",
                lambda: database.transact(WORKER, rederive),
                idle_seconds=settings.poll_seconds_max,
            ),
            Job("delivery-gauges", gauges, idle_seconds=GAUGE_SECONDS),
            Job("sealer", lambda: database.transact(WORKER, seal_next), idle_seconds=1.0),
        ],
    )
