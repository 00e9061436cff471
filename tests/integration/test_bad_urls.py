"""Addresses in everything that strangers write: they are text, and nobody calls them.

There is no place yet where a stranger may name an address for us to call. Should one come, its own filter has to be
tried with this list; until then a listener on this machine shows that no address of the list is ever visited.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from channel_kit.local.server import free_port
from qudao.stack import SERVICES

from .bad import Bad, Make, Tally, judge
from .deployment import Deployment, new_id
from .letters import generic_order, shopify_order

ADDRESSES = (
    "http://127.0.0.1:{port}/", "http://0:{port}/", "http://0x7f.1:{port}/", "http://2130706433:{port}/",
    "http://[::1]:{port}/", "http://[::ffff:127.0.0.1]:{port}/", "http://[::ffff:10.0.0.1]/", "http://[64:ff9b::a00:1]/",
    "http://169.254.169.254/latest/meta-data/", "http://localhost.:{port}/", "http://shop.example@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}#@shop.example/", "https://127.0.0.1:{port}/", "http://127.0.0.1:22/", "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_x", "http://ѕhop.example/", "//127.0.0.1:{port}/", "http://127.1:{port}/%0d%0ax: y",
)  # fmt: skip
PLACES = ("callback", "endpoint", "uri", "url", "webhook_url")
"""What a member would be called that we are meant to call."""


@pytest.fixture
async def visited() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A listener's port, and the first bytes of everybody who came."""
    visits: list[bytes] = []

    async def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append(await reader.read(100))
        writer.close()

    port = free_port()
    server = await asyncio.start_server(come, "127.0.0.1", port)
    yield port, visits
    server.close()


async def test_no_address_that_a_stranger_writes_is_called(
    stack: Deployment, connect: Make, tally: Tally, visited: tuple[int, list[bytes]]
) -> None:
    port, visits = visited
    shopify, generic = await connect("shopify"), await connect("generic")
    for address in (each.format(port=port) for each in ADDRESSES):
        number, ascii_only = new_id(), address.encode("ascii", "replace").decode()
        body = shopify_order(
            number, address, landing_site=address, order_status_url=address, source_url=address
        )
        body["line_items"][0]["title"] = address
        steps: list[tuple[str, Any, int]] = [
            (
                "in an order",
                await shopify.post(body, "orders/create", origin=ascii_only, referer=ascii_only),
                200,
            ),
            ("in a document", await generic.post(generic_order(f"{address}{number}", address)), 200),
            (
                "in an item",
                await stack.ask(
                    "inventory", "POST", "/v1/items", json={"sku": f"U-{uuid4().hex}", "name": address}
                ),
                201,
            ),
            (
                "in headers",
                await stack.ask(
                    "order",
                    "GET",
                    "/v1/orders",
                    headers={"x-forwarded-host": address.encode(), "link": f"<{address}>".encode()},
                ),
                200,
            ),
            ("in a query", await stack.ask("order", "GET", "/v1/orders", params={"shop_id": address}), 200),
        ]
        for name, answer, expected in steps:
            judge(tally, Bad.URLS, f"{address} {name}", answer, expected)
    await stack.taken_in()
    await stack.audit_clean()
    assert visits == []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"somebody")
    await writer.drain()
    await reader.read()
    writer.close()
    assert visits == [b"somebody"], "a visit would have been seen"


async def test_there_is_no_place_for_an_address(stack: Deployment, tally: Tally) -> None:
    """No request of any service has a member that is an address to call."""
    for service in SERVICES:
        document = (await stack.http.get(stack.stack.url(service) + "/openapi.json")).json()
        assert document["paths"]
        tally(Bad.URLS, "a service without a place for one")
        assert [
            each for each in _members(document) if each[0] in PLACES or each[1] in ("uri", "url")
        ] == [], service


def _members(node: Any) -> list[tuple[str, str]]:
    """(name, format) of every property and parameter of a document."""
    if isinstance(node, list):
        return [found for each in node for found in _members(each)]
    if not isinstance(node, dict):
        return []
    own = [
        (name, str(schema.get("format", "")))
        for name, schema in node.get("properties", {}).items()
        if isinstance(schema, dict)
    ]
    if isinstance(node.get("name"), str) and "in" in node:
        own.append((node["name"], str(node.get("schema", {}).get("format", ""))))
    return own + [found for each in node.values() for found in _members(each)]
