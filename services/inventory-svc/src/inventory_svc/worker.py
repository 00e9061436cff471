"""The loops: the feeds of orders and signing keys, the drains of refills, expiries and mappings, and the kit's own."""

from collections.abc import Awaitable, Callable, Sequence

from channel_events import topics
from channel_kit.database import WORKER, Write
from channel_kit.feed import Feed
from channel_kit.jobs import Job
from channel_kit.service import Loop, Runtime
from channel_kit.upkeep import standard_loops
from inventory_svc.feeds import order, partner
from inventory_svc.hold import actions
from inventory_svc.settings import InventorySettings


def build(runtime: Runtime) -> Sequence[Loop]:
    """What runs beside, or without, the HTTP side."""
    database, settings = runtime.database, runtime.settings
    windows = InventorySettings().windows

    def drain(name: str, run: Callable[[Write], Awaitable[int]]) -> Job:
        return Job(name, lambda: database.transact(WORKER, run), idle_seconds=settings.poll_seconds_max)

    return standard_loops(
        runtime,
        feeds=[
            Feed(
                database,
                settings,
                consumer=order.CONSUMER,
                topic=topics.ORDER,
                handle=order.handler(windows),
            ),
            Feed(
                database,
                settings,
                consumer=partner.CONSUMER,
                topic=topics.PARTNER,
                handle=partner.handle,
            ),
        ],
        jobs=[
            drain("refill", lambda tx: actions.refill(tx, windows)),
            drain("expire", actions.expire),
            drain("spread", actions.spread),
            drain("rederive", lambda tx: actions.rederive(tx, windows)),
        ],
    )
