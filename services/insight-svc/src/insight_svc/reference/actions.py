"""Taking announcements into the copies; called by the feeds with a whole poll, inside its transaction."""

from collections.abc import Sequence

from channel_events.envelope import Event
from channel_events.inventory import ItemBody
from channel_events.partner import PartnerBody, SigningKeyBody
from channel_kit.auth import remember_keys
from channel_kit.database import Write
from insight_svc.reference import store
from insight_svc.reference.store import ItemName, PartnerName


async def take_partners(tx: Write, events: Sequence[Event[PartnerBody]]) -> None:
    """The newest name of each partner."""
    names = {
        event.aggregate_id: PartnerName(
            event.aggregate_id, event.aggregateversion, event.data.code, event.data.name
        )
        for event in sorted(events, key=lambda event: event.aggregateversion)
    }
    await store.save_partners(tx, list(names.values()))


async def take_items(tx: Write, events: Sequence[Event[ItemBody]]) -> None:
    """The newest name of each item."""
    names = {
        event.aggregate_id: ItemName(
            event.aggregate_id, event.aggregateversion, event.data.sku, event.data.name
        )
        for event in sorted(events, key=lambda event: event.aggregateversion)
    }
    await store.save_items(tx, list(names.values()))


async def take_keys(tx: Write, events: Sequence[Event[SigningKeyBody]]) -> None:
    """The public keys that access tokens are verified with."""
    await remember_keys(tx, [(event.aggregate_id, event.data) for event in events])
