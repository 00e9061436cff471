"""What partner-svc announces that order-svc needs: shop bindings and signing keys."""

import json
from collections.abc import Sequence
from typing import Any

from channel_events import catalog
from channel_events.envelope import Event
from channel_kit.auth import remember_keys
from channel_kit.database import Write
from order_svc.reference import actions
from order_svc.reference.store import Shop


async def handle(tx: Write, events: Sequence[Event[Any]]) -> None:
    """A poll of the partner family; of each shop the last list counts, since each is whole."""
    bound = {
        Shop(event.data.platform, event.data.shop_id): json.dumps(
            [binding.model_dump(mode="json") for binding in event.data.bindings]
        )
        for event in events
        if event.type == catalog.PARTNER_SHOP_BOUND
    }
    await actions.bind(tx, bound)
    keys = [
        (event.aggregate_id, event.data)
        for event in events
        if event.type == catalog.PARTNER_SIGNING_KEY_PUBLISHED
    ]
    if keys:
        await remember_keys(tx, keys)
