"""The partner family into partner names and signing keys. Shops and contracts are passed over.

Which partner and channel an entry belongs to is said by the entry itself, so bindings are not needed here.
"""

from collections.abc import Sequence
from typing import Any, Final

from channel_events.envelope import Event
from channel_events.partner import PartnerBody, SigningKeyBody
from channel_kit.database import Write
from insight_svc.fact import actions as facts
from insight_svc.reference import actions as reference

CONSUMER: Final = "insight.partner"


async def handle(tx: Write, events: Sequence[Event[Any]]) -> None:
    """What a poll of the partner topic does."""
    await reference.take_partners(tx, [event for event in events if isinstance(event.data, PartnerBody)])
    await reference.take_keys(tx, [event for event in events if isinstance(event.data, SigningKeyBody)])
    await facts.note_handled(tx, CONSUMER, events)
