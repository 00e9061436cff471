"""Group commit: everything that waits at this moment goes into one transaction.

No timer: the next batch forms while the last one commits, so an idle process adds no delay and a busy one
commits hundreds at a time. One writer a process. Bounded in rows and bytes; beyond that, `Overloaded`
(answered 503). A batch that fails is halved until the faulty item stands alone, so one never fails strangers.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from channel_kit import telemetry
from channel_kit.database import is_away

T = TypeVar("T")
R = TypeVar("R")

MEBIBYTE = 1024 * 1024


class Overloaded(Exception):
    """Too much is waiting to be written; the caller should come back in a moment."""


@dataclass(slots=True)
class _Waiter(Generic[T, R]):
    item: T
    size: int
    result: asyncio.Future[R]

    def settle(self, result: R | Exception) -> None:
        if self.result.done():  # its submitter was cancelled
            return
        if isinstance(result, Exception):
            self.result.set_exception(result)
        else:
            self.result.set_result(result)


class Gather(Generic[T, R]):
    """`flush` gets a batch and returns one result per item, in order, after COMMIT.

    An exception that `flush` returns in place of a result is raised to that item's submitter alone.
    """

    def __init__(
        self,
        name: str,
        flush: Callable[[list[T]], Awaitable[Sequence[R | Exception]]],
        *,
        rows: int = 256,
        bytes_max: int = 8 * MEBIBYTE,
        waiting_bytes_max: int = 32 * MEBIBYTE,
        waiting_rows_max: int = 20_000,
    ) -> None:
        self._name, self._flush = name, flush
        self._rows, self._bytes = rows, bytes_max
        self._waiting_bytes_max, self._waiting_rows_max = waiting_bytes_max, waiting_rows_max
        self._queue: deque[_Waiter[T, R]] = deque()
        self._waiting_bytes = self._waiting_rows = 0
        self._writer: asyncio.Task[None] | None = None

    async def submit(self, item: T, size: int = 0) -> R:
        """Waits for the commit that holds `item`, of `size` bytes; raises Overloaded at once when too much waits.

        A submitter that is cancelled takes nothing back: its item may be written or not.
        """
        if (
            self._waiting_bytes + size > self._waiting_bytes_max
            or self._waiting_rows >= self._waiting_rows_max
        ):
            raise Overloaded(
                f"{self._waiting_rows} rows of {self._waiting_bytes} bytes are waiting to be written"
            )
        result: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(item, size, result)
        self._queue.append(waiter)
        self._waiting_bytes += size
        self._waiting_rows += 1
        if self._writer is None or self._writer.done():
            # In a context of its own: a batch has many senders and belongs to no one's trace.
            self._writer = asyncio.create_task(
                self._write(), name=f"gather-{self._name}", context=contextvars.Context()
            )
        return await waiter.result

    async def _write(self) -> None:
        try:
            while self._queue:
                batch = self._next()
                telemetry.gather_rows.labels(self._name).observe(len(batch))
                try:
                    await self._settle(batch)
                finally:
                    self._forget(batch)
        finally:
            self._forget(self._queue)  # empty, unless this task was cancelled
            self._queue.clear()

    def _forget(self, waiters: Collection[_Waiter[T, R]]) -> None:
        for waiter in waiters:
            waiter.result.cancel()  # does nothing to one that is settled; nobody is left waiting for ever
            self._waiting_bytes -= waiter.size
            self._waiting_rows -= 1

    def _next(self) -> list[_Waiter[T, R]]:
        batch = [self._queue.popleft()]
        size = batch[0].size
        while self._queue and len(batch) < self._rows and size + self._queue[0].size <= self._bytes:
            batch.append(self._queue.popleft())
            size += batch[-1].size
        return batch

    async def _settle(self, batch: list[_Waiter[T, R]]) -> None:
        try:
            results = await self._flush([waiter.item for waiter in batch])
        except Exception as error:
            if len(batch) == 1 or is_away(error):
                for waiter in batch:
                    waiter.settle(error)
                return
            middle = len(batch) // 2
            await self._settle(batch[:middle])
            await self._settle(batch[middle:])
            return
        fault = RuntimeError(f"{self._name}: {len(results)} results for {len(batch)} items")
        answers = results if len(results) == len(batch) else [fault] * len(batch)
        for waiter, result in zip(batch, answers, strict=True):
            waiter.settle(result)
