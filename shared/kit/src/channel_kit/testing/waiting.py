"""Waiting for what another process or task brings about, with a limit."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(done: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    """Asks every 50 ms; raises TimeoutError when it does not come true in time."""
    async with asyncio.timeout(seconds):
        while not await done():  # noqa: ASYNC110  there is no event to wait for across processes
            await asyncio.sleep(0.05)
