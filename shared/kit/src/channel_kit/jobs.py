"""Loops of a worker: run until there is nothing left to do, then wait for a wake-up or a short while.

A job is a function that does one batch in its own transaction and returns how many things it did. A transient
fault is retried in place without limit (and counted); anything else is logged and retried slower, since one
broken batch must not stop the process that carries the others.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import structlog

from channel_kit import telemetry
from channel_kit.database import is_away

log = structlog.get_logger(__name__)

IDLE_SECONDS_MIN = 0.05
PACE_SECONDS = 0.02
"""Rounds that found work begin this far apart at least. The first one after a quiet while never waits, and a full
batch takes longer anyway; in between, ten orders cost far less than ten times one, so that waiting a moment saves CPU."""
FAILED_SECONDS_MAX = 5.0


def being_cancelled() -> bool:
    """Whether somebody is ending this task: a driver may meet that as a lost connection and say only so."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Health:
    """When a loop last turned. `stuck()` is a sentence once it has not for longer than allowed."""

    def __init__(self, name: str, seconds_max: float) -> None:
        self.name, self.seconds_max = name, seconds_max
        self._at = time.monotonic()
        self.fault: str | None = None

    def touch(self) -> None:
        self._at = time.monotonic()

    def stuck(self) -> str | None:
        quiet = time.monotonic() - self._at
        if quiet > self.seconds_max:
            return f"{self.name} has not turned for {quiet:.0f} s"
        return self.fault


class Pace:
    """Keeps rounds apart: `await pace.kept()` after a round that found work, `pace.restart()` where one begins."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._began = time.monotonic()

    async def kept(self) -> None:
        """Returns once `PACE_SECONDS` have passed since the round began; at least lets others run."""
        await asyncio.sleep(max(0.0, self._began + PACE_SECONDS - time.monotonic()))


class Pause:
    """Waiting between rounds: hardly any after work, 50 ms → `idle_seconds_max` when idle, longer after failures."""

    def __init__(self, wake: asyncio.Event, stopping: asyncio.Event, idle_seconds_max: float) -> None:
        self._wake, self._stopping, self._max = wake, stopping, idle_seconds_max
        self._idle = IDLE_SECONDS_MIN
        self._pace = Pace()

    async def after(self, done: int) -> None:
        if done:
            self._idle = IDLE_SECONDS_MIN
            await self._pace.kept()
        else:
            await self._rest(min(self._idle, self._max))
            self._idle = min(self._idle * 2, self._max)
        self._pace.restart()

    async def failed(self, failures: int) -> None:
        """Longer with every failure, up to 5 s. A wake-up does not cut it short: work is not what is missing."""
        seconds = min(0.1 * 2 ** min(failures, 8), FAILED_SECONDS_MAX) * random.uniform(0.5, 1)  # noqa: S311  jitter
        await _wait(seconds, self._stopping)

    async def _rest(self, seconds: float) -> None:
        await _wait(seconds, self._wake, self._stopping)
        self._wake.clear()


async def _wait(seconds: float, *events: asyncio.Event) -> None:
    """Until one of the events is set, or that many seconds."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


class Job:
    """`run` until it returns 0; then wait. `wake` lets another part of this process say that there is work."""

    def __init__(
        self,
        name: str,
        run: Callable[[], Awaitable[int]],
        *,
        idle_seconds: float = 0.5,
        wake: asyncio.Event | None = None,
    ) -> None:
        self.name = name
        self.health = Health(name, max(120.0, idle_seconds * 4))
        self.wake = wake or asyncio.Event()
        self._run = run
        self._idle_seconds = idle_seconds

    async def run(self, stopping: asyncio.Event) -> None:
        pause = Pause(self.wake, stopping, self._idle_seconds)
        failures = 0
        while not stopping.is_set():
            started = time.perf_counter()
            try:
                done = await self._run()
            except Exception as error:
                if being_cancelled():
                    raise
                failures += 1
                self.health.touch()
                telemetry.job_failures.labels(self.name).inc()
                if is_away(error):
                    log.warning(
                        "job: the database is away; trying again", job=self.name, error=repr(error)[:300]
                    )
                else:
                    log.exception("job: a run failed; trying again", job=self.name, failures=failures)
                await pause.failed(failures)
                continue
            failures = 0
            self.health.touch()
            if done:
                telemetry.job_seconds.labels(self.name).observe(time.perf_counter() - started)
            await pause.after(done)
