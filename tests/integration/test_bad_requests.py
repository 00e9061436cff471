"""Bytes on the wire that are no HTTP, or only the beginning of it: whoever sends them harms nobody else.

Written straight into a connection. Every answer there is, is no 5xx; afterwards the service answers as before, and
nothing was stored.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from .deployment import Deployment
from .letters import order_body
from .shops import as_bytes

Make = Callable[..., Awaitable[Any]]
Tally = Callable[[str, str], None]

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
        tally("requests", ended)
        assert ended[:1] not in ("2", "5"), f"{name}: {ended}"
        alive = await stack.http.get(stack.stack.url(service) + "/healthz")
        assert alive.status_code == 200, f"{name}: {alive.text}"
    assert await stack.value("order", count, sold.shop.shop_id) == 0
    await sold.shop.sent(body, topic)
    assert await stack.value("order", count, sold.shop.shop_id) == 1
