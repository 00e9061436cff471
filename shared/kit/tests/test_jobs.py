"""Loops: busy while there is work, woken when there is news, patient after failures, and honest about being stuck."""

import asyncio
import time
from contextlib import suppress

import pytest

from channel_kit.database import StaleWrite
from channel_kit.jobs import PACE_SECONDS, Health, Job, Pace, Pause


class Work:
    def __init__(self, amount: int = 0) -> None:
        self.left, self.runs = amount, 0
        self.errors: list[Exception] = []

    async def run(self) -> int:
        self.runs += 1
        if self.errors:
            raise self.errors.pop(0)
        done, self.left = min(self.left, 10), max(0, self.left - 10)
        return done


async def during(job: Job, stopping: asyncio.Event, seconds: float) -> None:
    running = asyncio.create_task(job.run(stopping))
    await asyncio.sleep(seconds)
    stopping.set()
    await asyncio.wait_for(running, 1)


async def test_a_job_runs_until_nothing_is_left_and_then_seldom(stopping: asyncio.Event) -> None:
    work = Work(200)
    await during(Job("test", work.run, idle_seconds=30), stopping, 20 * PACE_SECONDS + 0.3)
    assert work.left == 0
    assert 21 <= work.runs <= 25


async def test_rounds_that_find_little_keep_apart_and_large_ones_do_not_wait() -> None:
    pace = Pace()
    began = time.monotonic()
    await pace.kept()
    assert time.monotonic() - began >= PACE_SECONDS * 0.9
    pace.restart()
    await asyncio.sleep(PACE_SECONDS * 1.5)  # a round that took its time
    began = time.monotonic()
    await pace.kept()
    assert time.monotonic() - began < PACE_SECONDS


async def test_news_wakes_a_job_at_once(stopping: asyncio.Event) -> None:
    work = Work()
    job = Job("test", work.run, idle_seconds=30)
    running = asyncio.create_task(job.run(stopping))
    await asyncio.sleep(0.8)
    runs, work.left = work.runs, 5
    job.wake.set()
    await asyncio.sleep(0.05)
    assert work.runs >= runs + 1
    assert work.left == 0
    stopping.set()
    await asyncio.wait_for(running, 1)


@pytest.mark.parametrize("error", [StaleWrite("the database is away"), LookupError("a fault of ours")])
async def test_a_job_survives_its_failures(stopping: asyncio.Event, error: Exception) -> None:
    work = Work(10)
    work.errors = [error, error]
    job = Job("test", work.run)
    await during(job, stopping, 1.2)
    assert work.left == 0
    assert job.health.stuck() is None


async def test_news_does_not_hurry_a_job_that_fails(stopping: asyncio.Event) -> None:
    work = Work()
    work.errors = [LookupError()] * 1_000
    job = Job("test", work.run)

    async def hurry() -> None:
        while True:
            job.wake.set()
            await asyncio.sleep(0.001)

    hurrying = asyncio.create_task(hurry())
    await during(job, stopping, 0.6)
    hurrying.cancel()
    with suppress(asyncio.CancelledError):
        await hurrying
    assert work.runs <= 6


async def test_stopping_cuts_every_wait_short(stopping: asyncio.Event) -> None:
    pause = Pause(asyncio.Event(), stopping, 30)
    waiting = [
        asyncio.create_task(pause.failed(9)),
        asyncio.create_task(Pause(asyncio.Event(), stopping, 30).after(0)),
    ]
    await asyncio.sleep(0.01)
    started = time.monotonic()
    stopping.set()
    await asyncio.gather(*waiting)
    assert time.monotonic() - started < 0.5


def test_a_loop_that_stands_still_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    health = Health("relay", 120)
    now[0] = 119
    assert health.stuck() is None
    now[0] = 121
    assert health.stuck() == "relay has not turned for 121 s"
    health.touch()
    assert health.stuck() is None
