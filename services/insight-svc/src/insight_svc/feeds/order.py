"""The order family into entry, order and daily facts."""

from collections.abc import Sequence
from datetime import tzinfo
from typing import Any, Final

from channel_events.envelope import Event
from channel_kit.database import Write
from channel_kit.poll import Handler
from insight_svc.fact import actions
from insight_svc.fact.values import ORDER_CONSUMER

CONSUMER: Final = ORDER_CONSUMER


def handler(zone: tzinfo) -> Handler:
    """What a poll of the order topic does; days are days of `zone`."""

    async def handle(tx: Write, events: Sequence[Event[Any]]) -> None:
        # One body serves every type of the family.
        await actions.take_orders(tx, events, zone)
        await actions.note_handled(tx, CONSUMER, events)

    return handle
