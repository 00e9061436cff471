"""Bytes on the wire that are no HTTP, or only the beginning of it: whoever sends them harms nobody else.

Written straight into a connection. Every answer there is, is no 5xx; afterwards the service answers as before, and
nothing was stored.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import psutil
import pytest

from .bad import Bad, Make, Tally
from .deployment import Deployment, new_id
from .letters import order_body, shopify_order
from .shops import as_bytes

MEBIBYTE = 1024 * 1024
SLOW, PROBES = 200, 100
REQUESTS = {
    "rubbish": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no version": b"POST {path}\r\n\r\n",
    "verb of 10 kB": b"P" * 10_000 + b" {path} HTTP/1.1\r\nhost: x\r\n\r\n",
    "header of 200 kB": b"POST {path} HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
    "10,000 headers": b"POST {path} HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 10_000 + b"\r\n",
    "line feed in a header": b"POST {path} HTTP/1.1\r\nhost: x\r\nx-shopify-hmac-sha256: a\n b\r\n\r\n",
    "length that is none": b"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n{body}",
    "length below zero": b"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n{body}",
    "two lengths": b"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{body}",
    "length too great": b"POST {path} HTTP/1.1\r\nhost: x\r\n{signed}content-length: 99999999\r\n\r\n{body}",
    "length too small": b"POST {path} HTTP/1.1\r\nhost: x\r\n{signed}content-length: 5\r\n\r\n{body}",
    "chunks without an end": b"POST {path} HTTP/1.1\r\nhost: x\r\n{signed}transfer-encoding: chunked\r\n\r\n5\r\n{body}",
    "chunk that is none": b"POST {path} HTTP/1.1\r\nhost: x\r\n{signed}transfer-encoding: chunked\r\n\r\nzz\r\n{body}",
    "length and chunks": b"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": b"POST {path} HTTP/1.1\r\nhost: x\r\n{signed}transfer-encoding: smuggled\r\n\r\n{body}",
    "carriage return in a header": b"POST {path} HTTP/1.1\r\nhost: x\r\nx-shopify-topic: a\rb\r\n\r\n",
    "NUL in a header": b"POST {path} HTTP/1.1\r\nhost: x\r\nx-shopify-topic: a\0b\r\n\r\n",
    "blank in a header's name": b"POST {path} HTTP/1.1\r\nhost: x\r\nx shopify: a\r\n\r\n",
    "half of the headers": b"POST {path} HTTP/1.1\r\nhost: x\r\nx-shopify-",
}


async def _send(port: int, raw: bytes) -> str:
    """The status of the first answer, or how it ended without one; we hang up after a short while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(raw)
        await writer.drain()
        line = await asyncio.wait_for(reader.readline(), 0.5)
    except TimeoutError:
        return "no answer before we hung up"
    except ConnectionError:
        return "hung up on"
    finally:
        writer.close()
    return line.split(b" ")[1].decode() if line.startswith(b"HTTP/1.1 ") else "hung up on"


@pytest.mark.parametrize("service", ["order", "inventory"])
async def test_bytes_that_are_no_request_harm_nobody(
    stack: Deployment, trade: Make, tally: Tally, service: str
) -> None:
    sold = await trade()
    _, body, topic = order_body("shopify", sold.sku)
    raw = as_bytes(body)
    signed = "".join(f"{name}: {value}\r\n" for name, value in sold.shop.headers(raw, topic).items())
    path = f"/webhooks/shopify/{sold.shop.slug}" if service == "order" else "/v1/receipts"
    count = "select count(*) from delivery where shop_id = $1"
    for name, template in REQUESTS.items():
        request = template.replace(b"{path}", path.encode()).replace(b"{signed}", signed.encode())
        ended = await _send(stack.stack.ports[service], request.replace(b"{body}", raw))
        tally(Bad.JSON, ended)
        assert ended[:1] not in ("2", "5"), f"{name}: {ended}"
        alive = await stack.http.get(stack.stack.url(service) + "/healthz")
        assert alive.status_code == 200, f"{name}: {alive.text}"
    assert await stack.value("order", count, sold.shop.shop_id) == 0
    await sold.shop.sent(body, topic)
    assert await stack.value("order", count, sold.shop.shop_id) == 1


async def test_many_slow_senders_hold_nobody_up(stack: Deployment, trade: Make, tally: Tally) -> None:
    """Headers and bodies that arrive a byte at a time, on 200 connections: others are served as before."""
    sold = await trade()
    port, stop = stack.stack.ports["order"], asyncio.Event()
    heads = (
        b"POST /webhooks/shopify/x HTTP/1.1\r\nhost: x\r\nx-slow: ",
        b"POST /v1/connections HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n",
        f"POST /webhooks/shopify/{sold.shop.slug} HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\n".encode(),
    )
    all_open, open_at_once = asyncio.Event(), 0

    async def dawdle(head: bytes) -> None:
        nonlocal open_at_once
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionError):
            writer.write(head)
            open_at_once += 1
            if open_at_once == SLOW:
                all_open.set()
            while not stop.is_set():
                writer.write(b"a")
                await writer.drain()
                await asyncio.sleep(0.2)
        writer.close()

    senders = [asyncio.create_task(dawdle(heads[n % 3])) for n in range(SLOW)]
    took: list[float] = []
    async with httpx.AsyncClient(timeout=30) as http:
        await asyncio.wait_for(all_open.wait(), 30)
        for n in range(PROBES):
            started = time.perf_counter()
            answer = await http.get(stack.stack.url("order") + "/healthz")
            took.append(time.perf_counter() - started)
            assert answer.status_code == 200
            if n % 10 == 0:
                await sold.shop.sent(shopify_order(new_id(), sold.sku), "orders/create")
    stop.set()
    await asyncio.gather(*senders)
    tally(Bad.JSON, f"{SLOW} slow senders beside quick answers")
    assert statistics.quantiles(took, n=100)[-1] < 0.5, sorted(took)[-5:]
    await stack.audit_clean()


async def test_a_body_beyond_the_cap_costs_no_memory(stack: Deployment, connect: Make, tally: Tally) -> None:
    """Bodies of 2 MiB and one, and such as never end, refused while they arrive."""
    shop = await connect()
    process = psutil.Process(stack.pids()["order"])
    block = b" " * 64 * 1024

    async def endless(blocks: int) -> AsyncIterator[bytes]:
        for _ in range(blocks):
            yield block

    async def refused(blocks: int) -> None:
        content = endless(blocks) if blocks else b" " * (2 * MEBIBYTE + 1)
        with suppress(httpx.WriteError):  # the rest may meet a connection that is closed already
            answer = await stack.http.post(shop.url, content=content)
            tally(Bad.JSON, str(answer.status_code))
            assert (answer.status_code, answer.json()["code"]) == (413, "delivery-too-large")

    for _ in range(5):
        await refused(0)
    before = process.memory_info().rss
    for _ in range(20):
        await refused(0)
        await refused(512)
    assert process.memory_info().rss - before < 8 * MEBIBYTE
