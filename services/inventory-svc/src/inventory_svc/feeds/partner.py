"""Reaction to the partner family: the keys that access tokens are signed with; all else is read past."""

from collections.abc import Sequence
from typing import Any

from channel_events.envelope import Event
from channel_events.partner import SigningKeyBody
from channel_kit.auth import remember_keys
from channel_kit.database import Write

CONSUMER = "inventory.partner"


async def handle(tx: Write, events: Sequence[Event[Any]]) -> None:
    """Copies the signing keys of a poll."""
    await remember_keys(
        tx, [(event.aggregate_id, event.data) for event in events if isinstance(event.data, SigningKeyBody)]
    )
