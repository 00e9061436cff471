"""Small events for tests of the mechanics: partners that change, as Kafka records and as announcements."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from channel_events.catalog import PARTNER_CHANGED, encode, envelope_class
from channel_events.envelope import Event
from channel_events.partner import PartnerBody
from channel_kit.ids import uuid7
from channel_kit.outbox import Announcement
from channel_kit.records import Record

_AT = datetime(2026, 1, 1, tzinfo=UTC)
AGGREGATE_TYPE = "partner"


def partner_body(name: str = "Partner") -> PartnerBody:
    """A sound body whose `name` tells one event from another."""
    return PartnerBody(code="P-1", name=name, kind="distributor", state="active", effective_from=_AT)


def partner_event(aggregate_id: UUID, version: int, name: str = "Partner") -> Event[Any]:
    """The event that brings an aggregate to `version`, under a new event id."""
    return envelope_class(PARTNER_CHANGED)(
        id=uuid7(),
        source="/qudao/partner-svc",
        type=PARTNER_CHANGED,
        subject=str(aggregate_id),
        time=_AT,
        aggregatetype=AGGREGATE_TYPE,
        aggregateversion=version,
        correlationid=uuid7(),
        data=partner_body(name),
    )


def announcement(aggregate_id: UUID, version: int, name: str = "Partner") -> Announcement:
    """What an action would announce for the same change."""
    return Announcement(PARTNER_CHANGED, aggregate_id, version, partner_body(name), uuid7())


def records(
    events: Sequence[Event[Any] | bytes | None], topic: str = "test", partition: int = 0
) -> list[Record]:
    """Kafka records at consecutive offsets; raw bytes and None (a tombstone) are taken as they are."""
    return [
        Record(topic, partition, offset, encode(event).encode() if isinstance(event, Event) else event, {})
        for offset, event in enumerate(events)
    ]
