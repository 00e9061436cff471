"""The loops of insight-svc: one feed a family.

It announces nothing and takes no commands, so the kit's relay and the upkeep of outbox and idempotency keys, which
other workers run, would find their tables empty for ever.
"""

from collections.abc import Sequence

from channel_events import topics
from channel_kit.feed import Feed
from channel_kit.service import Loop, Runtime
from insight_svc.feeds import incentive, inventory, order, partner


def build(runtime: Runtime) -> Sequence[Loop]:
    """The four feeds."""
    database, settings = runtime.database, runtime.settings
    handlers = (
        (partner.CONSUMER, topics.PARTNER, partner.handle),
        (inventory.CONSUMER, topics.INVENTORY, inventory.handle),
        (order.CONSUMER, topics.ORDER, order.handler(settings.zone)),
        (incentive.CONSUMER, topics.INCENTIVE, incentive.handler(settings.zone)),
    )
    return [
        Feed(database, settings, consumer=consumer, topic=topic, handle=handle)
        for consumer, topic, handle in handlers
    ]
