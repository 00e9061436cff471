"""The incentive family into cells, rebate shares and daily facts. Plans are passed over."""

from collections.abc import Sequence
from datetime import tzinfo
from typing import Any, Final

from channel_events.envelope import Event
from channel_events.incentive import AccrualBody
from channel_kit.database import Write
from channel_kit.poll import Handler
from insight_svc.fact import actions

CONSUMER: Final = "insight.incentive"


def handler(zone: tzinfo) -> Handler:
    """What a poll of the incentive topic does; a rebate falls on the day of its event in `zone`."""

    async def handle(tx: Write, events: Sequence[Event[Any]]) -> None:
        accruals = [event for event in events if isinstance(event.data, AccrualBody)]
        await actions.take_accruals(tx, accruals, zone)
        await actions.note_handled(tx, CONSUMER, events)

    return handle
