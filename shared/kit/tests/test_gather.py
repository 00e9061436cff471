"""Group commit: what waits goes together, one faulty item fails alone, too much is refused, nobody waits for ever."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar

import pytest

from channel_kit.database import StaleWrite
from channel_kit.gather import Gather, Overloaded


class Desk:
    """A flush that can be held shut, and what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.faulty: set[int] = set()
        self.fault: Callable[[], Exception] = lambda: LookupError("faulty")

    async def flush(self, batch: list[int]) -> Sequence[int | Exception]:
        self.batches.append(list(batch))
        await self.open.wait()
        if self.faulty & set(batch):
            raise self.fault()
        return [item * 10 for item in batch]

    def gather(self, **bounds: int) -> Gather[int, int]:
        return Gather("test", self.flush, **bounds)


async def some_turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_lone_item_is_written_at_once() -> None:
    desk = Desk()
    started = time.perf_counter()
    assert await desk.gather().submit(7) == 70
    assert time.perf_counter() - started < 0.005, "no timer delays it"


async def test_the_next_batch_forms_while_the_last_one_commits() -> None:
    desk = Desk()
    gather = desk.gather()
    desk.open.clear()
    first = asyncio.create_task(gather.submit(0))
    await some_turns()
    others = [asyncio.create_task(gather.submit(n)) for n in range(1, 50)]
    await some_turns()
    assert desk.batches == [[0]], "one writer: nothing goes beside it"
    desk.open.set()
    assert await asyncio.gather(first, *others) == [n * 10 for n in range(50)]
    assert desk.batches == [[0], list(range(1, 50))]


async def test_batches_are_bounded_in_rows_and_bytes() -> None:
    desk = Desk()
    gather = desk.gather(rows=4, bytes_max=100)
    sizes = [10, 10, 10, 10, 10, 60, 60, 200, 10]
    await asyncio.gather(*(gather.submit(n, size) for n, size in enumerate(sizes)))
    assert desk.batches == [[0, 1, 2, 3], [4, 5], [6], [7], [8]]


async def test_one_faulty_item_fails_alone() -> None:
    desk = Desk()
    desk.faulty = {5}
    gather = desk.gather()
    answers = await asyncio.gather(*(gather.submit(n) for n in range(16)), return_exceptions=True)
    assert [n for n, answer in enumerate(answers) if isinstance(answer, LookupError)] == [5]
    assert [answer for n, answer in enumerate(answers) if n != 5] == [n * 10 for n in range(16) if n != 5]


async def test_a_refusal_in_place_of_a_result_is_its_submitters_alone() -> None:
    async def flush(batch: list[int]) -> list[int | Exception]:
        return [KeyError(item) if item % 2 else item for item in batch]

    gather: Gather[int, int] = Gather("test", flush)
    answers = await asyncio.gather(*(gather.submit(n) for n in range(4)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [int, KeyError, int, KeyError]


async def test_an_absent_database_is_told_to_all_and_not_tried_piece_by_piece() -> None:
    desk = Desk()
    desk.faulty, desk.fault = {3}, lambda: StaleWrite("again, please")
    gather = desk.gather()
    answers = await asyncio.gather(*(gather.submit(n) for n in range(8)), return_exceptions=True)
    assert all(isinstance(answer, StaleWrite) for answer in answers)
    assert len(desk.batches) == 1
    desk.faulty = set()
    assert await gather.submit(1) == 10


@pytest.mark.parametrize(("bounds", "size"), [({"waiting_bytes_max": 100}, 40), ({"waiting_rows_max": 2}, 0)])
async def test_too_much_waiting_is_refused_at_once(bounds: dict[str, int], size: int) -> None:
    desk = Desk()
    gather = desk.gather(**bounds)
    desk.open.clear()
    accepted = [asyncio.create_task(gather.submit(n, size)) for n in range(2)]
    await some_turns()
    with pytest.raises(Overloaded):
        await gather.submit(9, size)
    desk.open.set()
    assert await asyncio.gather(*accepted) == [0, 10]
    assert await gather.submit(9, size) == 90, "what was written waits no longer"


async def test_a_submitter_that_gives_up_disturbs_nobody() -> None:
    desk = Desk()
    gather = desk.gather()
    desk.open.clear()
    tasks = [asyncio.create_task(gather.submit(n)) for n in range(4)]
    await some_turns()
    tasks[0].cancel()  # in the first batch
    tasks[2].cancel()
    await some_turns()
    desk.open.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [answers[1], answers[3]] == [10, 30]
    assert isinstance(answers[0], asyncio.CancelledError)
    assert await gather.submit(5) == 50


async def test_a_flush_that_miscounts_is_not_run_again() -> None:
    calls: list[int] = []

    async def flush(batch: list[int]) -> list[int | Exception]:
        calls.append(len(batch))
        return [0]

    gather: Gather[int, int] = Gather("test", flush)
    answers = await asyncio.gather(*(gather.submit(n) for n in range(3)), return_exceptions=True)
    assert [str(answer) for answer in answers] == ["test: 1 results for 3 items"] * 3
    assert calls == [3], "it may have committed"


async def test_a_writer_that_is_cancelled_leaves_nobody_waiting() -> None:
    desk = Desk()
    gather = desk.gather(rows=1)
    desk.open.clear()
    tasks = [asyncio.create_task(gather.submit(n, 10)) for n in range(3)]
    await some_turns()
    assert gather._writer is not None
    gather._writer.cancel()
    with suppress(asyncio.CancelledError):
        await gather._writer
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers)
    desk.open.set()
    assert await gather.submit(4) == 40


async def test_a_batch_belongs_to_no_senders_context() -> None:
    trace: ContextVar[str] = ContextVar("trace", default="none")

    async def flush(batch: list[int]) -> list[str | Exception]:
        return [trace.get()] * len(batch)

    gather: Gather[int, str] = Gather("test", flush)
    trace.set("the first sender's")
    assert await gather.submit(1) == "none"
