"""The load generator against a server of the test: what it sends, how it counts, what it does when answers stay away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.bodies import Target, body, requests, template
from bench.load import Job, Load, Outcome
from channel_kit.clock import now
from order_svc.platforms import PLATFORMS

TARGETS = (Target("/webhooks/shopify/one", "secret one"), Target("/webhooks/shopify/two", "secret two"))
FORMS = (template(("A", "B", "C"), datetime(2026, 3, 1, tzinfo=UTC)),)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
Answer = Callable[[bytes], Awaitable[bytes | None]]


@asynccontextmanager
async def toy(answer: Answer) -> AsyncIterator[int]:
    """A server that answers each request with the bytes of `answer`, and hangs up on None."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                said = await answer(head + await reader.readexactly(length))
                if said is None:
                    break
                writer.write(said)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def sent(port: int, **changes: object) -> Outcome:
    usual = {"first": 0, "count": 2_000, "clients": 4, "seconds": 0.5, "warm": 8}
    job = Job(port, TARGETS, FORMS, **{**usual, **changes})  # type: ignore[arg-type]
    async with Load(job) as load:
        return await load.run()


def test_requests_are_unique_and_signed_for_their_target() -> None:
    made = list(requests(TARGETS, FORMS, 7, 4))
    assert len(set(made)) == 4
    for number, request in enumerate(made, 7):
        head, _, content = request.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
        target = TARGETS[number % 2]
        assert lines[0] == f"POST {target.path} HTTP/1.1"
        assert int(headers["content-length"]) == len(content)
        assert content == body(FORMS[0], number)
        assert 2_400 < len(content) < 3_200
        adapter = PLATFORMS["shopify"]
        assert adapter.verify(content, headers, [target.secret], now()) == 0
        read = adapter.normalise("orders/create", content, now())
        assert read.orders[0].platform_order_id == str(10**11 + number)  # type: ignore[union-attr]
        assert read.orders[0].payment == "paid"  # type: ignore[union-attr]


async def test_a_closed_loop_counts_every_answer_once(tmp_path: Path) -> None:
    came: list[bytes] = []

    async def answer(request: bytes) -> bytes:
        came.append(request)
        await asyncio.sleep(0.002)
        return OK

    numbers = tmp_path / "numbers"
    async with toy(answer) as port:
        outcome = await sent(port, numbers=numbers)
    assert len(set(came)) == len(came) == outcome.acknowledged
    assert 50 < outcome.ok < outcome.acknowledged
    assert 0.4 < outcome.seconds < 0.7
    assert 2 <= outcome.p50_ms <= outcome.p99_ms < 200
    assert (outcome.refused, outcome.broken) == ({}, 0)
    assert sorted(map(int, numbers.read_text().split())) == list(range(outcome.acknowledged))


async def test_a_closed_loop_ends_when_everything_is_sent() -> None:
    async def answer(request: bytes) -> bytes:
        return OK

    async with toy(answer) as port:
        outcome = await sent(port, count=100, warm=0, seconds=30)
    assert outcome.ok == outcome.acknowledged == 100
    assert outcome.seconds < 10


async def test_an_open_loop_keeps_its_rate_and_counts_the_wait_of_what_was_due() -> None:
    held = asyncio.Event()

    async def answer(request: bytes) -> bytes:
        if not held.is_set():
            held.set()
            await asyncio.sleep(0.3)  # the only connection is taken: all that is due meanwhile waits
        return OK

    async with toy(answer) as port:
        outcome = await sent(port, clients=1, per_second=200, warm=0)
    assert 95 <= outcome.ok <= 101
    assert outcome.p50_ms > 20
    assert outcome.p99_ms > 250


async def test_what_is_refused_is_not_counted_as_done() -> None:
    turn = iter(range(10**9))

    async def answer(request: bytes) -> bytes:
        if next(turn) % 2:
            return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
        return OK

    async with toy(answer) as port:
        outcome = await sent(port, warm=0, count=400, seconds=10)
    assert outcome.ok == 200
    assert outcome.refused == {"503": 200}


async def test_a_lost_connection_is_replaced_and_its_request_not_acknowledged(tmp_path: Path) -> None:
    came: list[bytes] = []

    async def answer(request: bytes) -> bytes | None:
        came.append(request)
        return None if len(came) % 10 == 5 else OK

    numbers = tmp_path / "numbers"
    async with toy(answer) as port:
        outcome = await sent(port, warm=0, count=200, seconds=20, numbers=numbers)
    hung_up = {number for number, request in enumerate(came) if number % 10 == 4}
    assert outcome.broken == len(hung_up) == 20
    assert outcome.acknowledged == 180
    assert len(set(numbers.read_text().split())) == 180


async def test_answers_in_pieces_are_put_together() -> None:
    async def answer(request: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000

    async with toy(answer) as port:
        outcome = await sent(port, warm=0, count=20, seconds=20)
    assert outcome.ok == 20


async def test_a_generator_without_a_server_to_talk_to_says_so() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2):
            await sent(1)
