"""A line between a client and a server that can be made bad: slow, cut in the middle of a message, reset, silent.

Forwards bytes both ways and knows nothing of what they mean, but for PostgreSQL's COMMIT, at which it can cut exactly.
Faults concern the connections that are open, by the label that their client gave itself (PostgreSQL's user). Used by
`storm`; listens on 127.0.0.1 only.
"""

import asyncio
import random
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from .wire import Commit, Frontend

Direction = Literal["up", "down"]
"""From the client to the server, and back."""

Where = Literal["before", "after"]
Wanted = Callable[[str], bool]

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER 0: closing sends RST, and what was not sent is thrown away


def everybody(label: str) -> bool:
    return True


@dataclass(eq=False)
class Link:
    """One connection through the proxy."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    frontend: Frontend | None
    cut_in_frame: bool = False
    answer_dropped: asyncio.Future[Commit] | None = None  # set = the next answer is dropped, and the line cut
    committed: Commit | None = None

    @property
    def label(self) -> str:
        return self.frontend.user if self.frontend else ""

    def reset(self) -> None:
        """Ends it as a crashed host would: a reset to both."""
        for writer in (self.client, self.server):
            with suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


@dataclass
class _Trap:
    """Waits for one COMMIT."""

    where: Where
    wanted: Wanted
    statement: bytes
    sprung: "asyncio.Future[Commit]"

    def fits(self, link: Link, commit: Commit) -> bool:
        named = any(self.statement in each for each in commit.statements)
        return not self.sprung.done() and named and self.wanted(link.label)


@dataclass
class Proxy:
    """Listens after `start`; every connection is led on to `target`, a port of this machine."""

    name: str
    target: int
    speaks_postgres: bool = False
    port: int = 0
    links: set[Link] = field(default_factory=set)
    _delay: tuple[float, float] = (0.0, 0.0)
    _held: dict[Direction, asyncio.Event] = field(default_factory=dict)
    _traps: list[_Trap] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_CHUNK)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        self.heal()
        if self._server is not None:
            self._server.close()
        self.reset()
        if self._tasks:  # every line is dead, so they end by themselves
            await asyncio.wait(self._tasks, timeout=5)

    # -- faults --------------------------------------------------------------------------------------------

    def delay(self, seconds: float, jitter: float) -> None:
        """Every piece takes that long from now on, and up to `jitter` more."""
        self._delay = (seconds, jitter)

    def hold(self, direction: Direction) -> None:
        """Nothing passes that way until `heal`; the other way stays open."""
        self._held.setdefault(direction, asyncio.Event())

    def heal(self) -> None:
        """Ends delay, hold and whatever waits for something to come."""
        self._delay = (0.0, 0.0)
        for event in self._held.values():
            event.set()
        self._held.clear()
        for trap in self._traps:
            trap.sprung.cancel()
        self._traps.clear()
        for link in self.links:
            link.cut_in_frame = False

    def reset(self, wanted: Wanted = everybody) -> int:
        """Resets the open connections; how many."""
        struck = [link for link in self.links if wanted(link.label)]
        for link in struck:
            link.reset()
        return len(struck)

    def cut(self, wanted: Wanted = everybody) -> int:
        """The next message of each open connection, either way, arrives without its end; then the line is dead."""
        struck = [link for link in self.links if wanted(link.label)]
        for link in struck:
            link.cut_in_frame = True
        return len(struck)

    def cut_at_commit(self, where: Where, wanted: Wanted, statement: bytes = b"") -> "asyncio.Future[Commit]":
        """Cuts the next connection that says COMMIT after a write (one that contains `statement`): before the
        server hears it, or after it has answered and before the client hears that. Done when it happened."""
        trap = _Trap(where, wanted, statement, asyncio.get_running_loop().create_future())
        self._traps.append(trap)
        return trap.sprung

    # -- lines ---------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError):
                await self._connect(reader, writer)
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, server = await asyncio.open_connection("127.0.0.1", self.target, limit=_CHUNK)
        link = Link(writer, server, Frontend() if self.speaks_postgres else None)
        self.links.add(link)
        try:
            ways = {
                asyncio.ensure_future(self._pump(link, "up", reader, server)),
                asyncio.ensure_future(self._pump(link, "down", answers, writer)),
            }
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
            with suppress(OSError):  # whoever is still there hears that the other has gone
                await asyncio.gather(*(self._flush(each) for each in (writer, server)))
        finally:
            self.links.discard(link)
            server.transport.abort()

    async def _flush(self, writer: asyncio.StreamWriter) -> None:
        if not writer.transport.is_closing():
            writer.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), 1)

    async def _pump(
        self, link: Link, way: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                if any(self._delay):
                    await asyncio.sleep(self._delay[0] + random.random() * self._delay[1])
                while way in self._held:
                    await self._held[way].wait()
                if link.cut_in_frame and len(data) > 1:
                    writer.write(data[: max(1, len(data) - 3)])
                    await self._drained(writer)
                    link.reset()
                    return
                if self._strikes(link, way, data):
                    link.reset()
                    return
                writer.write(data)
                await writer.drain()

    async def _drained(self, writer: asyncio.StreamWriter) -> None:
        await writer.drain()
        await asyncio.sleep(0.01)  # a reset overtakes what is still in the buffers

    def _strikes(self, link: Link, way: Direction, data: bytes) -> bool:
        """Whether the line is to be cut here instead of forwarding `data`."""
        if way == "down":
            if link.answer_dropped is None:
                return False
            if not link.answer_dropped.done() and link.committed is not None:
                link.answer_dropped.set_result(link.committed)
            return True
        commit = link.frontend.feed(data) if link.frontend else None
        trap = next((each for each in self._traps if commit and each.fits(link, commit)), None)
        if commit is None or not commit.statements or trap is None:
            return False
        self._traps.remove(trap)
        if trap.where == "before":
            trap.sprung.set_result(commit)
            return True
        link.answer_dropped, link.committed = trap.sprung, commit
        return False
