"""The envelope every event travels in: CloudEvents 1.0, structured JSON.

`subject` is the aggregate's id and the Kafka key. `aggregateversion` is contiguous from 1 per aggregate,
which is what a consumer's watermark counts on. Attributes follow CloudEvents: lower case, no underscores.
The kit's outbox builds envelopes; `catalog` turns them to text and back.
"""

from typing import Annotated, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import StringConstraints

from channel_events.values import Code, Instant, Record, Version

Body = TypeVar("Body")

UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

# One spelling only: the key decides the partition, and two spellings of an id would be two keys.
Subject = Annotated[str, StringConstraints(strict=True, pattern=UUID_PATTERN)]
Source = Annotated[str, StringConstraints(strict=True, max_length=100, pattern=r"^/qudao/[a-z][a-z0-9-]*$")]


class Event(Record, Generic[Body]):
    """One announced fact about one aggregate."""

    specversion: Literal["1.0"] = "1.0"
    id: UUID
    """Given once, when the event is written to the outbox; every repeat carries the same."""
    source: Source
    """`/qudao/<service>`."""
    type: Code
    subject: Subject
    """The aggregate's id, in canonical text: also the Kafka key."""
    time: Instant
    """When the producer recorded the fact."""
    datacontenttype: Literal["application/json"] = "application/json"
    aggregatetype: Code
    aggregateversion: Version
    """Contiguous from 1 per aggregate; a gap means that an event is missing."""
    correlationid: UUID
    """The delivery or command all this began with."""
    causationid: UUID | None = None
    """The event that caused this one; null when there are many or none."""
    data: Body

    @property
    def aggregate_id(self) -> UUID:
        """The subject as an id."""
        return UUID(self.subject)
