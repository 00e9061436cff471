"""Calls to the outside: bounded in time, never redirected, on a real socket."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from channel_kit import outbound


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """A server that answers /moved with a redirect and says nothing to anything else."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /moved"):
            bearer = b"yes" if b"authorization: bearer t" in head.lower() else b"no"
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: /else\r\nX-Bearer: " + bearer)
            writer.write(b"\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
        else:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    yield f"http://{host}:{port}"
    server.close()


async def test_redirects_are_handed_back_and_the_token_is_sent(address: str) -> None:
    async with outbound.client(address, token="t") as client:
        answer = await client.get("/moved")
    assert answer.status_code == 302
    assert answer.headers["x-bearer"] == "yes"


async def test_silence_ends_in_a_time_out(address: str) -> None:
    async with outbound.client(address, answer_seconds=0.1) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/silent")
