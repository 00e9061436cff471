"""The proxy does to a connection exactly what it was told to, and nothing when it was told nothing."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from channel_kit.testing.waiting import until

from .proxy import Proxy
from .wire import Frontend


class Echo:
    """A server that sends everything back and remembers it."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                self.heard += data
                writer.write(data)
                await writer.drain()
        writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    made = Echo()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[Proxy]:
    made = Proxy("test", echo.port, speaks_postgres=True)
    await made.start()
    yield made
    await made.stop()


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">i", len(body) + 4) + body


SSL = struct.pack(">ii", 8, 80877103)
HELLO = message(b"", struct.pack(">i", 196608) + b"user\0order_worker\0database\0x\0\0")
BEGIN, COMMIT = message(b"Q", b"BEGIN;\0"), message(b"Q", b"COMMIT;\0")
PARSE = message(b"P", b"s1\0insert into effect values ($1)\0\0\0")
BIND = message(b"B", b"\0s1\0\0\0\0\0\0\0")
READ = message(b"P", b"s2\0select 1\0\0\0") + message(b"B", b"\0s2\0\0\0\0\0\0\0")


async def connect(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def said(proxy: Proxy, *parts: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection over which all of this has gone there and back."""
    reader, writer = await connect(proxy)
    for part in parts:
        writer.write(part)
        assert await reader.readexactly(len(part)) == part
    return reader, writer


async def _none(proxy: Proxy) -> bool:
    return not proxy.links


async def rest(reader: asyncio.StreamReader) -> bytes:
    """All that still comes before the line ends, however it ends."""
    got = bytearray()
    with suppress(OSError):
        async with asyncio.timeout(5):
            while data := await reader.read(65_536):
                got += data
    return bytes(got)


async def test_everything_passes_unchanged(proxy: Proxy, echo: Echo) -> None:
    sent = SSL + HELLO + message(b"d", bytes(range(256)) * 4_000)
    reader, writer = await connect(proxy)
    writer.write(sent)
    assert await asyncio.wait_for(reader.readexactly(len(sent)), 10) == sent == bytes(echo.heard)
    writer.close()


async def test_an_end_is_passed_on(proxy: Proxy) -> None:
    reader, writer = await said(proxy, SSL, HELLO)
    writer.write_eof()
    assert await rest(reader) == b""
    await until(lambda: _none(proxy))


async def test_a_reset_is_a_reset(proxy: Proxy) -> None:
    reader, _ = await said(proxy, SSL, HELLO)
    assert proxy.reset(lambda label: label == "somebody_else") == 0
    assert proxy.reset(lambda label: label == "order_worker") == 1
    with pytest.raises(ConnectionResetError):
        await reader.read(1)


async def test_a_message_is_cut_before_its_end(proxy: Proxy, echo: Echo) -> None:
    reader, writer = await said(proxy, SSL, HELLO)
    before = len(echo.heard)
    assert proxy.cut() == 1
    writer.write(BIND)
    assert len(await rest(reader)) < len(BIND)
    assert 0 < len(echo.heard) - before < len(BIND)


@pytest.mark.parametrize(("direction", "heard"), [("up", False), ("down", True)])
async def test_a_hold_is_one_way_and_ends(proxy: Proxy, echo: Echo, direction: str, heard: bool) -> None:
    reader, writer = await said(proxy, SSL, HELLO)
    proxy.hold("up" if direction == "up" else "down")
    before = len(echo.heard)
    writer.write(BEGIN)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.2)
    assert (len(echo.heard) > before) is heard
    proxy.heal()
    assert await asyncio.wait_for(reader.readexactly(len(BEGIN)), 2) == BEGIN


async def test_a_delay_delays_and_keeps_the_order(proxy: Proxy) -> None:
    proxy.delay(0.05, 0.02)
    loop = asyncio.get_running_loop()
    began = loop.time()
    reader, writer = await said(proxy, SSL, HELLO)
    assert loop.time() - began >= 0.2  # two pieces, each there and back
    for number in range(5):
        writer.write(message(b"d", bytes([number])))
        await asyncio.sleep(0.01)
    got = await reader.readexactly(30)
    assert [got[n * 6 + 5] for n in range(5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("where", "arrives"), [("before", False), ("after", True)])
async def test_a_cut_at_commit_is_before_or_after_it(
    proxy: Proxy, echo: Echo, where: str, arrives: bool
) -> None:
    sprung = proxy.cut_at_commit(
        "before" if where == "before" else "after", lambda label: label == "order_worker"
    )
    reader, writer = await said(proxy, SSL, HELLO, BEGIN, READ, COMMIT, BEGIN, PARSE, BIND)
    assert not sprung.done(), "a transaction that only read"
    writer.write(COMMIT)
    assert await rest(reader) == b"", "the answer never comes"
    assert b"insert into effect" in (await asyncio.wait_for(sprung, 2)).statements[0]
    assert (echo.heard.count(COMMIT) == 2) is arrives
    await said(proxy, SSL, HELLO, BEGIN, PARSE, BIND, COMMIT)  # once only


async def test_a_cut_at_commit_waits_for_its_statement_and_user(proxy: Proxy) -> None:
    deleting = proxy.cut_at_commit("before", lambda label: True, b"delete from outbox_pending")
    of_others = proxy.cut_at_commit("before", lambda label: label == "insight_worker")
    await said(proxy, SSL, HELLO, BEGIN, PARSE, BIND, COMMIT)
    assert not deleting.done()
    assert not of_others.done()


def test_the_protocol_is_read_from_any_pieces() -> None:
    whole = SSL + HELLO + BEGIN + PARSE + BIND + COMMIT + BEGIN + BIND + COMMIT + BEGIN + COMMIT
    frontend = Frontend()
    commits = [commit for n in range(len(whole)) if (commit := frontend.feed(whole[n : n + 1]))]
    assert frontend.user == "order_worker"
    assert [len(commit.statements) for commit in commits] == [1, 1, 0]
