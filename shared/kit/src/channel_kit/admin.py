"""What an operator asks every service: where it stands, and four ways to set a stuck part going again.

Mounted by every service. Reads the kit's own tables only; a service's own exceptions (quarantined deliveries,
discrepancies) have their own routes. Each action leaves one row in `operator_action`, in the transaction of the
action, and only *asks*: the relay and the feeds do the work, with all their guards, in the worker process.
"""

import json
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import Field, StringConstraints

from channel_events.topics import TOPICS
from channel_kit import outbox, parking, positions
from channel_kit.auth import ADMIN, Caller, scope
from channel_kit.database import STAFF, Write
from channel_kit.http import Body, Router, View, database, json_body
from channel_kit.pagination import Cursor, Page
from channel_kit.problems import NotFound, Unprocessable

REPUBLISH_ROWS_MAX = 50_000

Consumer = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9.-]{0,99}$")]
Admin = Annotated[Caller, scope(ADMIN, staff=True)]

router = Router(tags=["admin"])


class UnknownConsumer(NotFound):
    code = "unknown-consumer"
    title = "No consumer of this name has read anything here; see the positions in /v1/admin/status"


class UnknownTopic(Unprocessable):
    code = "unknown-topic"
    title = "There is no such topic; see docs/events.md"


class OutboxView(View):
    pending: int
    oldest_seconds: int


class ParkedCount(View):
    consumer: str
    reason: str
    count: int
    first_at: datetime


class PositionView(View):
    consumer: str
    topic: str
    partition: int
    next_offset: int
    replay: bool
    handled_at: datetime


class StatusView(View):
    """`parked` and an old `oldest_seconds` are what needs attention; `positions` shows who moves."""

    service: str
    outbox: OutboxView
    parked: list[ParkedCount]
    positions: list[PositionView]


class ParkedView(View):
    consumer: str
    aggregate_type: str
    aggregate_id: UUID
    version: int
    reason: str
    error: str | None
    attempts: int
    first_at: datetime


class Redrive(Body):
    consumer: Consumer | None = None
    """One consumer's failed events; without it those of all."""


class Republish(Body):
    topic: Annotated[str, StringConstraints(max_length=100)] | None = None
    after_id: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Only outbox rows with a greater id; `last_id` of the answer before continues it."""


class RedriveView(View):
    events: int


class ReplayView(View):
    partitions: int


class RepublishView(View):
    """`events` were put back; up to `last_id` all rows have been looked at, null when there were no more."""

    events: int
    last_id: int | None


@router.get("/v1/admin/status")
async def status(caller: Admin, request: Request) -> StatusView:
    async with database(request).read(STAFF) as tx:
        waiting = await outbox.waiting(tx)
        parked = await parking.counts(tx)
        stand = await positions.every(tx)
    return StatusView(
        service=database(request).service,
        outbox=OutboxView(pending=waiting.rows, oldest_seconds=waiting.oldest_seconds),
        parked=[ParkedCount(**row) for row in parked],
        positions=[PositionView(**row) for row in stand],
    )


@router.get("/v1/admin/parked")
async def parked(
    caller: Admin,
    request: Request,
    cursor: Cursor,
    consumer: Annotated[str | None, Query(max_length=100)] = None,
    reason: Annotated[str | None, Query(pattern=r"^(gap|failed|redrive)$")] = None,
) -> Page[ParkedView]:
    after = cursor.values(str, UUID, str, int)
    async with database(request).read(STAFF) as tx:
        rows = await parking.page(tx, consumer=consumer, reason=reason, after=after, limit=cursor.limit + 1)
    items = [ParkedView(**row) for row in rows[: cursor.limit]]
    last = items[-1] if items else None
    return cursor.page(
        items,
        len(rows),
        (last.consumer, last.aggregate_id, last.aggregate_type, last.version) if last else (),
    )


@router.post("/v1/admin/parked/redrive")
async def redrive(
    command: Annotated[Redrive, json_body(Redrive)], caller: Admin, request: Request
) -> RedriveView:
    async with database(request).write(STAFF) as tx:
        events = await parking.ask_redrive(tx, command.consumer)
        await record(tx, caller, "redrive", consumer=command.consumer, events=events)
    return RedriveView(events=events)


@router.post("/v1/admin/feeds/{consumer}/replay")
async def replay(consumer: Consumer, caller: Admin, request: Request) -> ReplayView:
    async with database(request).write(STAFF) as tx:
        partitions = await positions.ask_replay(tx, consumer)
        if not partitions:
            raise UnknownConsumer
        await record(tx, caller, "replay", consumer=consumer, partitions=partitions)
    return ReplayView(partitions=partitions)


@router.post("/v1/admin/outbox/republish")
async def republish(
    command: Annotated[Republish, json_body(Republish)], caller: Admin, request: Request
) -> RepublishView:
    if command.topic is not None and command.topic not in {topic.name for topic in TOPICS}:
        raise UnknownTopic
    async with database(request).write(STAFF) as tx:
        done = await outbox.republish(
            tx, topic=command.topic, after_id=command.after_id, limit=REPUBLISH_ROWS_MAX
        )
        await record(
            tx,
            caller,
            "republish",
            topic=command.topic,
            after_id=command.after_id,
            last_id=done.last_id,
            events=done.events,
        )
    return RepublishView(events=done.events, last_id=done.last_id)


async def record(tx: Write, caller: Caller, action: str, **detail: Any) -> None:
    """Says who did what, in the transaction of the deed. `detail` is what JSON can say."""
    await tx.execute(
        "insert into operator_action (subject, action, detail) values ($1, $2, $3::text::json)",
        caller.subject,
        action,
        json.dumps(detail),
    )


def standard_routers() -> list[APIRouter]:
    """The routes that every service has beside its own."""
    return [router]
