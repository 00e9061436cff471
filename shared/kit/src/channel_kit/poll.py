"""What one poll does to the database, without Kafka: decode, merge, apply runs, park the rest.

Per aggregate: what is at or below the watermark is dropped, the contiguous run after it goes to the handler,
everything else is parked. A batch that fails for good is halved by aggregate until the faulty event is known and
parked. Kept apart from `feed` so that every rule here is tested without a broker; `records` says what a record is.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog

from channel_events.envelope import Event
from channel_kit import parking, telemetry, watermark
from channel_kit.database import WORKER, Database, Write, is_away, is_timeout
from channel_kit.failpoints import failpoint
from channel_kit.parking import FAILED
from channel_kit.records import Item, Record, describe, park, read, unpark
from channel_kit.watermark import NOTHING, Key, Mark

__all__ = ["Handler", "Poll", "Record"]

log = structlog.get_logger(__name__)

Handler = Callable[[Write, Sequence[Event[Any]]], Awaitable[None]]
"""Gets the new events of one poll: many aggregates, each with its next versions in order and without a hole."""
Then = Callable[[Write], Awaitable[None]]
Groups = Mapping[Key, Sequence[Item]]


@dataclass(slots=True)
class _Trial:
    """One aggregate, one version at a time: which one is being tried, and with what it failed."""

    version: int = 0
    failure: str | None = None


@dataclass(slots=True)
class _Plan:
    """What one transaction does with the aggregates at hand."""

    run: list[Item] = field(default_factory=list)
    rest: list[Item] = field(default_factory=list)
    moves: dict[Key, tuple[Mark, Mark]] = field(default_factory=dict)
    passed: list[tuple[Key, int]] = field(default_factory=list)  # what was parked up to here is done
    seen: int = 0


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
            if _must_wait(error, groups):
                raise
            log.warning(
                "feed: a poll failed; looking for the event", consumer=self.consumer, error=repr(error)[:500]
            )
            await self._bisect(database, groups)
            await database.transact(WORKER, position)

    async def redrive(self, database: Database, keys: Sequence[Key]) -> None:
        """Tries parked keys again, in version order."""
        await self._bisect(database, dict.fromkeys(keys, ()))

    async def _bisect(self, database: Database, groups: Groups) -> None:
        try:
            await self._apply(database, groups, None)
        except Exception as error:
            if _must_wait(error, groups):
                raise
            if len(groups) == 1:
                await self._one_by_one(database, groups)
                return
            keys = list(groups)
            for half in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
                await self._bisect(database, {key: groups[key] for key in half})

    async def _one_by_one(self, database: Database, groups: Groups) -> None:
        """A single aggregate: version after version, until the one that fails is known and parked."""
        trial = _Trial()
        while True:
            try:
                if not await self._apply(database, groups, None, trial):
                    return
            except Exception as error:
                if _must_wait(error, groups) or trial.failure is not None:
                    raise  # not even parking it succeeds, so it is not the event's fault
                log.exception(
                    "feed: an event failed and is parked",
                    consumer=self.consumer,
                    key=str(next(iter(groups))),
                    version=trial.version,
                )
                trial.failure = describe(error)

    async def _apply(
        self, database: Database, groups: Groups, then: Then | None, trial: _Trial | None = None
    ) -> int:
        """One transaction over all groups; returns how many events were handled.

        A `trial` handles one event at most, or, once that one has failed, parks exactly that version.
        """

        async def run(tx: Write) -> _Plan:
            plan = await self._plan(tx, groups, trial)
            failpoint("feed.before_handle")
            if plan.run:
                await self._handle(tx, [item.event for item in plan.run if item.event is not None])
            failpoint("feed.after_handle")
            await watermark.advance(tx, self.consumer, plan.moves)
            await parking.save(tx, self.consumer, [park(item) for item in plan.rest if item.is_news])
            await parking.remove(tx, self.consumer, plan.passed)
            if then is not None:
                await then(tx)
            failpoint("feed.before_commit")
            return plan

        plan = await database.transact(WORKER, run)
        failpoint("feed.after_commit")
        parked = sum(item.is_news for item in plan.rest)
        for outcome, count in (("applied", len(plan.run)), ("parked", parked), ("seen", plan.seen)):
            telemetry.feed_events.labels(self.consumer, outcome).inc(count)
        return len(plan.run)

    async def _plan(self, tx: Write, groups: Groups, trial: _Trial | None) -> _Plan:
        """Locks the marks and sorts everything polled and parked into run and rest."""
        keys = sorted(groups)
        marks = await watermark.lock(tx, self.consumer, keys)
        waiting: dict[Key, list[Item]] = {}
        for row in await parking.load(tx, self.consumer, keys):
            waiting.setdefault(row.key, []).append(unpark(row))
        plan, traces = _Plan(), dict[UUID, str]()
        for key, polled in groups.items():
            mark, parked = marks.get(key, NOTHING), waiting.get(key, ())
            run, rest = self._sort([*parked, *polled], mark)
            plan.seen += len(polled) + len(parked) - len(run) - len(rest)
            if trial is not None and run:
                run, rest = _tried(run, rest, trial)
            plan.run += run
            plan.rest += rest
            if run and (last := run[-1].event) is not None:
                plan.moves[key] = (mark, Mark(run[-1].version, last.id))
            elif rest and key not in marks:
                plan.moves[key] = (NOTHING, NOTHING)
            if parked:
                plan.passed.append((key, run[-1].version if run else mark.version))
            traces |= {item.event.correlationid: item.trace for item in run if item.event and item.trace}
        telemetry.remember(traces)
        return plan

    def _sort(self, items: Sequence[Item], mark: Mark) -> tuple[list[Item], list[Item]]:
        """The contiguous run after `mark`, and what has to wait. A failed event ends the run.

        What is parked comes first in `items` and keeps its reason, except where its text could not be read
        and a readable copy has come now.
        """
        by_version: dict[int, Item] = {}
        for item in items:
            if item.version == mark.version and item.event is not None:
                self._compare(item, mark.event_id)
            if item.version <= mark.version:
                continue
            known = by_version.get(item.version)
            if known is not None and known.event is not None and item.event is not None:
                self._compare(item, known.event.id)
            if known is None or (known.event is None and item.event is not None):
                by_version[item.version] = item
        run: list[Item] = []
        rest: list[Item] = []
        for version in sorted(by_version):
            item = by_version[version]
            due = version == mark.version + len(run) + 1
            if not rest and due and item.event is not None and item.parked != FAILED:
                run.append(item)
            else:
                rest.append(item)
        return run, rest

    def _compare(self, item: Item, event_id: UUID | None) -> None:
        """Raises the alarm when a version exists twice: somebody writes the same aggregate's history anew."""
        if item.event is not None and item.event.id != event_id:
            telemetry.feed_alarms.labels(self.consumer).inc()
            log.error(
                "feed: two histories of one aggregate",
                consumer=self.consumer,
                key=str(item.key),
                version=item.version,
                event_id=str(item.event.id),
                known_event_id=str(event_id),
            )


def _tried(run: list[Item], rest: list[Item], trial: _Trial) -> tuple[list[Item], list[Item]]:
    first = run[0]
    if trial.failure is not None and first.version == trial.version:
        # Its later versions wait behind it.
        return [], [first.failed(trial.failure), *run[1:], *rest]
    trial.version, trial.failure = first.version, None
    # What follows comes again with the next round of the trial.
    return [first], rest if len(run) == 1 else []


def _must_wait(error: Exception, groups: Groups) -> bool:
    """Whether only time can help. A batch that takes too long may also be too large."""
    return is_away(error) and not (is_timeout(error) and len(groups) > 1)
