"""The loops of the worker: the relay, the two feeds, and the drain that restates cells."""

from collections.abc import Sequence

from channel_events import topics
from channel_kit.database import WORKER
from channel_kit.feed import Feed
from channel_kit.jobs import Job
from channel_kit.service import Loop, Runtime
from channel_kit.upkeep import standard_loops
from incentive_svc.accrual.actions import restate
from incentive_svc.feeds import order, partner


def build(runtime: Runtime) -> Sequence[Loop]:
    """What runs beside, or without, the HTTP side."""
    database, settings = runtime.database, runtime.settings
    return standard_loops(
        runtime,
        feeds=[
            Feed(database, settings, consumer=order.CONSUMER, topic=topics.ORDER, handle=order.handle),
            Feed(database, settings, consumer=partner.CONSUMER, topic=topics.PARTNER, handle=partner.handle),
        ],
        jobs=[Job("incentive.restate", lambda: database.transact(WORKER, restate))],
    )
