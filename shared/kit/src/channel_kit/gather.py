"""Group commit: everything that waits at this moment goes into one transaction.

No timer: the next batch forms while the last one commits, so an idle process adds no delay and a busy one
commits hundreds at a time. One writer a process. Bounded in rows and bytes; beyond that, `Overloaded`
(answered 503). A batch that fails is halved until the faulty item stands alone, so one never fails strangers.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from channel_kit import telemetry
from channel_kit.database import is_away

T = TypeVar("T")
R = TypeVar("R")

MEBIBYTE = 1024 * 1024


class Overloaded(Exception):
    """Too much is waiting to be written; the caller should come back in a moment."""


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
    ) -> None:
        self._name, self._flush = name, flush
        self._rows, self._bytes, self._waiting_max = rows, bytes_max, waiting_bytes_max
        self._queue: deque[tuple[T, int, asyncio.Future[R]]] = deque()
        self._waiting = 0
        self._writer: asyncio.Task[None] | None = None

    async def submit(self, item: T, size: int = 0) -> R:
        """Waits for the commit that holds `item`; raises Overloaded at once when too many bytes wait."""
        if self._waiting + size > self._waiting_max:
            raise Overloaded(f"{self._waiting} bytes are waiting to be written")
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._queue.append((item, size, future))
        self._waiting += size
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name=f"gather-{self._name}")
        return await future

    async def _write(self) -> None:
        while self._queue:
            batch = self._next()
            telemetry.gather_rows.labels(self._name).observe(len(batch))
            await self._settle(batch)
            self._waiting -= sum(size for _, size, _ in batch)

    def _next(self) -> list[tuple[T, int, asyncio.Future[R]]]:
        batch, size = [self._queue.popleft()], 0
        size = batch[0][1]
        while self._queue and len(batch) < self._rows and size + self._queue[0][1] <= self._bytes:
            batch.append(self._queue.popleft())
            size += batch[-1][1]
        return batch

    async def _settle(self, batch: list[tuple[T, int, asyncio.Future[R]]]) -> None:
        try:
            results = await self._flush([item for item, _, _ in batch])
        except Exception as error:
            if len(batch) == 1 or is_away(error):
                for _, _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                return
            middle = len(batch) // 2
            await self._settle(batch[:middle])
            await self._settle(batch[middle:])
            return
        except BaseException:
            for _, _, future in batch:
                future.cancel()
            raise
        for (_, _, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
