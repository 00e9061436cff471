"""What one poll does to the database, without Kafka: decode, merge, apply runs, park the rest.

Per aggregate: what is at or below the watermark is dropped, the contiguous run after it goes to the handler,
everything else is parked. Kept apart from `feed` so that every rule here is tested without a broker.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import NAMESPACE_OID, UUID, uuid5

import structlog

from channel_events import catalog
from channel_events.envelope import Event
from channel_kit import parking, telemetry, watermark
from channel_kit.database import WORKER, Database, Write, is_away
from channel_kit.failpoints import failpoint
from channel_kit.parking import FAILED, GAP, Parked
from channel_kit.watermark import NOTHING, Key, Mark

log = structlog.get_logger(__name__)

Handler = Callable[[Write, Sequence[Event[Any]]], Awaitable[None]]
"""Gets a poll's new events: contiguous per aggregate, many aggregates, in the order they came."""
Then = Callable[[Write], Awaitable[None]]


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


class Poll:
    """Applies records as `consumer`."""

    def __init__(self, consumer: str, handle: Handler) -> None:
        self.consumer = consumer
        self._handle = handle

    async def settle(self, database: Database, records: Sequence[Record], position: Then) -> None:
        """Applies a poll and writes the position with its last transaction. Raises only what `is_away`."""
        groups: dict[Key, list[Item]] = {}
        for record in records:
            item = read(record)
            groups.setdefault(item.key, []).append(item)
        try:
            await self._apply(database, groups, position)
        except Exception as error:
            if is_away(error):
                raise
            log.warning(
                "feed: a poll failed; looking for the event", consumer=self.consumer, error=repr(error)[:500]
            )
            await self._bisect(database, groups)
            await database.transact(WORKER, position)

    async def redrive(self, database: Database, keys: Sequence[Key]) -> None:
        """Tries parked keys again, in version order."""
        await self._bisect(database, {key: [] for key in keys})

    async def _bisect(self, database: Database, groups: Mapping[Key, list[Item]]) -> None:
        try:
            await self._apply(database, groups, None)
        except Exception as error:
            if is_away(error):
                raise
            if len(groups) == 1:
                await self._one_by_one(database, groups)
                return
            keys = list(groups)
            for half in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
                await self._bisect(database, {key: groups[key] for key in half})

    async def _one_by_one(self, database: Database, groups: Mapping[Key, list[Item]]) -> None:
        """A single key: version after version, until the one that fails is known and parked."""
        while True:
            try:
                if not await self._apply(database, groups, None, run_max=1):
                    return
            except Exception as error:
                if is_away(error):
                    raise
                log.exception(
                    "feed: an event failed and is parked", consumer=self.consumer, key=str(next(iter(groups)))
                )
                await self._apply(database, groups, None, run_max=1, failure=_describe(error))
                return

    async def _apply(
        self,
        database: Database,
        groups: Mapping[Key, list[Item]],
        then: Then | None,
        *,
        run_max: int | None = None,
        failure: str | None = None,
    ) -> int:
        """One transaction over all groups; returns how many events were handled.

        With `failure`, the first event of the run is parked under it instead of being handled.
        """

        async def run(tx: Write) -> int:
            keys = sorted(groups)
            marks = await watermark.lock(tx, self.consumer, keys)
            waiting: dict[Key, list[Item]] = {}
            for row in await parking.load(tx, self.consumer, keys):
                waiting.setdefault(row.key, []).append(_unpark(row))
            events: list[Event[Any]] = []
            traces: dict[UUID, str] = {}
            parked: list[Parked] = []
            moves: dict[Key, tuple[Mark, Mark]] = {}
            for key, polled in groups.items():
                mark = marks.get(key, NOTHING)
                applied, rest = self._plan([*waiting.get(key, ()), *polled], mark)
                if failure is not None and applied:
                    first = applied[0]
                    rest = [Item(first.key, first.version, first.text, None, failure), *applied[1:], *rest]
                    applied = []
                elif run_max is not None and len(applied) > run_max:
                    applied, rest = applied[:run_max], []  # the others come again with the next call
                for item in applied:
                    if item.event is not None:
                        events.append(item.event)
                        if item.trace:
                            traces[item.event.correlationid] = item.trace
                if applied:
                    last = applied[-1]
                    moves[key] = (mark, Mark(last.version, last.event.id if last.event else None))
                parked += [_park(item) for item in rest]
            telemetry.remember(traces)
            failpoint("feed.before_handle")
            if events:
                await self._handle(tx, events)
            failpoint("feed.after_handle")
            await watermark.advance(tx, self.consumer, moves)
            await parking.save(tx, self.consumer, parked)
            await parking.remove(
                tx, self.consumer, [(key, move[1].version) for key, move in sorted(moves.items())]
            )
            if then is not None:
                await then(tx)
            failpoint("feed.before_commit")
            self._count(groups, len(events), len(parked))
            return len(events)

        handled = await database.transact(WORKER, run)
        failpoint("feed.after_commit")
        return handled

    def _plan(self, items: Sequence[Item], mark: Mark) -> tuple[list[Item], list[Item]]:
        """The contiguous run after `mark`, and what has to wait. A failed event ends the run."""
        by_version: dict[int, Item] = {}
        for item in items:
            if item.version == mark.version and item.event is not None and item.event.id != mark.event_id:
                telemetry.feed_alarms.labels(self.consumer).inc()
                log.error(
                    "feed: two histories of one aggregate",
                    consumer=self.consumer,
                    key=str(item.key),
                    version=item.version,
                )
            if item.version > mark.version:
                by_version.setdefault(item.version, item)  # what is parked comes first and keeps its reason
        run: list[Item] = []
        rest: list[Item] = []
        expected = mark.version + 1
        for version in sorted(by_version):
            item = by_version[version]
            if not rest and version == expected and item.event is not None and item.parked != FAILED:
                run.append(item)
                expected += 1
            else:
                rest.append(item)
        return run, rest

    def _count(self, groups: Mapping[Key, list[Item]], applied: int, parked: int) -> None:
        total = sum(len(items) for items in groups.values())
        for outcome, count in (
            ("applied", applied),
            ("parked", parked),
            ("seen", max(0, total - applied - parked)),
        ):
            telemetry.feed_events.labels(self.consumer, outcome).inc(count)


def read(record: Record) -> Item:
    """Decodes a record. What is no event of ours is kept under the key it names, else under its own place."""
    trace = record.headers.get("traceparent", b"").decode("ascii", "replace") or None
    text = (record.value or b"").decode("utf-8", "replace").replace("\x00", "�")
    try:
        event = catalog.decode(
            record.value or b"", record.headers.get("ce_type", b"").decode("ascii", "replace") or None
        )
    except catalog.UndecodableEvent as error:
        head = catalog.head(record.value or b"")
        if head is not None:
            key, version = Key(head.aggregate_id, head.aggregate_type), head.aggregate_version
        else:
            # Nothing says whose it is: it stands alone, at a version that never becomes due.
            place = f"{record.topic}/{record.partition}/{record.offset}"
            key, version = Key(uuid5(NAMESPACE_OID, place), "unknown"), record.offset + 2
        return Item(key, version, text, None, _describe(error), trace)
    return Item(
        Key(event.aggregate_id, event.aggregatetype), event.aggregateversion, text, event, None, trace
    )


def _unpark(row: Parked) -> Item:
    try:
        event: Event[Any] | None = catalog.decode(row.event.encode())
        error = row.error
    except catalog.UndecodableEvent as fault:
        event, error = None, _describe(fault)
    return Item(row.key, row.version, row.event, event, error, None, row.reason)


def _park(item: Item) -> Parked:
    failed = item.event is None or item.parked == FAILED
    return Parked(item.key, item.version, item.text, FAILED if failed else GAP, item.error)


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:2_000].replace("\x00", "�")
