"""The inventory family into stock facts and item names. Listings and reservations are passed over."""

from collections.abc import Sequence
from typing import Any, Final

from channel_events.envelope import Event
from channel_events.inventory import ItemBody, StockBody
from channel_kit.database import Write
from insight_svc.fact import actions as facts
from insight_svc.reference import actions as reference

CONSUMER: Final = "insight.inventory"


async def handle(tx: Write, events: Sequence[Event[Any]]) -> None:
    """What a poll of the inventory topic does."""
    await facts.take_stock(tx, [event for event in events if isinstance(event.data, StockBody)])
    await reference.take_items(tx, [event for event in events if isinstance(event.data, ItemBody)])
    await facts.note_handled(tx, CONSUMER, events)
