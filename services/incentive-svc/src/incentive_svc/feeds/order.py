"""The order family: attributed ledger entries become basis and accruals. Consumer `incentive.order`."""

from collections.abc import Sequence
from typing import Any

from channel_events.envelope import Event
from channel_events.order import OrderBody
from channel_kit.database import Write
from incentive_svc.accrual import actions
from incentive_svc.accrual.values import Cause

CONSUMER = "incentive.order"


async def handle(tx: Write, events: Sequence[Event[Any]]) -> None:
    """Takes a poll's order events; everything but their attributed entries is of no interest here."""
    await actions.accrue(
        tx,
        [
            (entry, Cause(event.id, event.correlationid))
            for event in events
            if isinstance(event.data, OrderBody)
            for entry in event.data.entries
            if entry.partner_id is not None
        ],
    )
