"""The client against a stand-in that answers as the services do: what is asked again, how, and what is raised."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from channel_kit.local.server import free_port
from qudao.client import Client, Refused, Unreachable
from qudao.stack import DEFAULT_PORTS, Admin, Stack

Answer = tuple[int, dict[str, Any]]
TOKEN: Answer = (200, {"access_token": "one", "token_type": "Bearer", "expires_in": 900, "scope": ""})


class Service:
    """Answers each request with what `replies` say in turn (None = hangs up), the last one for ever."""

    def __init__(self, *replies: Answer | None) -> None:
        self.replies, self.seen = list(replies), list[tuple[str, dict[str, str]]]()
        self.token = TOKEN

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
        }
        await reader.readexactly(int(headers.get("content-length", "0")))
        asked = head[0].rpartition(" ")[0]
        self.seen.append((asked, headers))
        reply = self.token if asked == "POST /v1/tokens" else self._next()
        if reply is not None:
            status, body = reply
            raw = json.dumps(body).encode()
            writer.write(
                f"HTTP/1.1 {status} X\r\ncontent-length: {len(raw)}\r\nconnection: close\r\n\r\n".encode()
            )
            writer.write(raw)
        writer.close()

    def _next(self) -> Answer | None:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def asked(self, what: str) -> list[dict[str, str]]:
        return [headers for asked, headers in self.seen if asked == what]


def make_stack(port: int) -> Stack:
    ports = dict.fromkeys(DEFAULT_PORTS, port)
    return Stack(Path(), ports, {}, {}, Admin("admin", "word"), "", None, None)


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[Client]:
    server = await asyncio.start_server(service, "127.0.0.1", 0)
    async with server, Client.connect(make_stack(server.sockets[0].getsockname()[1])) as client:
        yield client


async def test_post_is_repeated_with_its_key_until_somebody_answers() -> None:
    service = Service(
        (503, {"code": "unavailable"}), None, (409, {"code": "request-in-flight"}), (201, {"id": 1})
    )
    async with running(service) as client:
        assert await client.post("inventory", "/v1/receipts", {"lines": []}) == {"id": 1}
    keys = [headers["idempotency-key"] for headers in service.asked("POST /v1/receipts")]
    assert len(keys) == 4
    assert len(set(keys)) == 1
    assert len(keys[0]) >= 16


async def test_problem_is_raised_with_its_code_and_detail_and_not_repeated() -> None:
    service = Service((409, {"code": "code-taken", "title": "Taken", "detail": "Choose another."}))
    async with running(service) as client:
        with pytest.raises(
            Refused, match=r"POST /v1/partners answered 409 code-taken: Choose another\."
        ) as met:
            await client.post("partner", "/v1/partners", {})
    assert (met.value.status, met.value.code) == (409, "code-taken")
    assert len(service.asked("POST /v1/partners")) == 1


async def test_fault_of_a_service_is_not_hidden_by_asking_again() -> None:
    service = Service((500, {"code": "internal-error", "title": "Broken"}))
    async with running(service) as client:
        with pytest.raises(Refused, match="internal-error"):
            await client.get("order", "/v1/orders")
    assert len(service.asked("GET /v1/orders")) == 1


async def test_token_is_asked_for_once_and_renewed_before_it_ends() -> None:
    service = Service((200, {}))
    async with running(service) as client:
        for _ in range(3):
            await client.get("order", "/v1/orders")
        assert len(service.asked("POST /v1/tokens")) == 1
        # Less than the margin is left of this one from the beginning.
        service.token = (200, {**TOKEN[1], "access_token": "two", "expires_in": 30})
        client._renew_at = 0
        await client.get("order", "/v1/orders")
        await client.get("order", "/v1/orders")
    assert len(service.asked("POST /v1/tokens")) == 3
    assert service.asked("GET /v1/orders")[-1]["authorization"] == "Bearer two"


async def test_pages_are_followed_to_the_end() -> None:
    service = Service(
        (200, {"items": [{"n": 1}, {"n": 2}], "next_cursor": "abc"}),
        (200, {"items": [{"n": 3}], "next_cursor": None}),
    )
    async with running(service) as client:
        assert [item["n"] async for item in client.pages("order", "/v1/orders", flag="cod")] == [1, 2, 3]
    assert service.asked("GET /v1/orders?flag=cod&cursor=abc&limit=200")


async def test_service_that_stays_away_is_given_up() -> None:
    with pytest.raises(Unreachable, match=r"within 0\.2 s.*ConnectError"):
        async with Client.connect(make_stack(free_port()), patience=0.2):
            pass
