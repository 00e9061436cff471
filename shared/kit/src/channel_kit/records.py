"""A Kafka record, what is read from it, and the form in which it waits in `parked`.

Never raises: what is no event of ours becomes an item without event, under the aggregate it names or else under
a name made of its place and content. Called by `poll`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, NamedTuple, Self
from uuid import NAMESPACE_OID, uuid5

from channel_events import catalog
from channel_events.envelope import Event
from channel_kit.parking import FAILED, GAP, REDRIVE, Parked
from channel_kit.watermark import Key

NAMELESS = "unknown"


class Record(NamedTuple):
    """One Kafka record."""

    topic: str
    partition: int
    offset: int
    value: bytes | None
    headers: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Item:
    """One version of one aggregate; `event` None where the record could not be decoded."""

    key: Key
    version: int
    text: str
    event: Event[Any] | None
    error: str | None = None
    trace: str | None = None
    parked: str | None = None  # the reason it is parked under already
    has_failed: bool = False  # the handler refused it just now

    def failed(self, error: str) -> Self:
        """The same, to be parked as failed with this error."""
        return replace(self, error=error, has_failed=True)

    @property
    def is_news(self) -> bool:
        """Whether parking it changes anything: a version that waits already just goes on waiting."""
        return self.has_failed or self.parked in (None, REDRIVE)


def read(record: Record) -> Item:
    """Decodes a record."""
    value = record.value or b""
    text = _storable(value.decode("utf-8", "replace"))
    try:
        event = catalog.decode(record.value, _header(record, "ce_type"))
    except catalog.UndecodableEvent as fault:
        key, version = _place(record, value)
        return Item(key, version, text, None, describe(fault))
    key, trace = Key(event.aggregate_id, event.aggregatetype), _header(record, "traceparent")
    return Item(key, event.aggregateversion, text, event, None, trace if trace and len(trace) == 55 else None)


def unpark(row: Parked) -> Item:
    """What was parked, read again: another release may understand what this one's predecessor did not."""
    event, error = None, row.error
    try:
        event = catalog.decode(row.event)
        if (event.aggregate_id, event.aggregatetype, event.aggregateversion) != (*row.key, row.version):
            event, error = None, "it is of another aggregate than it was parked under; replay the feed"
    except catalog.UndecodableEvent as fault:
        error = describe(fault)
    return Item(row.key, row.version, row.event, event, error, None, row.reason)


def park(item: Item) -> Parked:
    failed = item.event is None or item.has_failed or item.parked == FAILED
    return Parked(item.key, item.version, item.text, FAILED if failed else GAP, item.error)


def describe(error: BaseException) -> str:
    """An error as it is stored: bounded, and without what a text column refuses."""
    return _storable(f"{type(error).__name__}: {error}"[:2_000])


def _place(record: Record, value: bytes) -> tuple[Key, int]:
    head = catalog.head(value)
    if head is not None:
        return Key(head.aggregate_id, head.aggregate_type), head.aggregate_version
    # Nothing says whose it is: it stands alone, at a version that never becomes due. The content is part of
    # the name, since a broker that lost its log gives the same place to another record.
    place = f"{record.topic}/{record.partition}/{record.offset}/{sha256(value).hexdigest()}"
    return Key(uuid5(NAMESPACE_OID, place), NAMELESS), record.offset + 2


def _header(record: Record, name: str) -> str | None:
    return (record.headers.get(name) or b"").decode("ascii", "replace") or None


def _storable(text: str) -> str:
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
