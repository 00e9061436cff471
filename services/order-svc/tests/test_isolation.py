"""What partners see: their own orders and entries, and of others not even that they exist."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from asyncpg import PostgresError

from channel_events import catalog
from channel_events.partner import Binding, ShopBody, shop_aggregate_id
from channel_kit.database import WORKER, Actor, Database
from channel_kit.ids import uuid7
from order_svc.feeds import partner
from order_svc.order.actions import derive_marked

Make = Callable[..., dict[str, Any]]
Token = Callable[..., Awaitable[str]]
NUMBER = "820982911946154508"


async def bind(shop: Any, seller: UUID) -> None:
    binding = Binding(partner_id=seller, channel="online", valid_from=datetime(2020, 1, 1, tzinfo=UTC))
    event = catalog.envelope_class(catalog.PARTNER_SHOP_BOUND)(
        id=uuid7(),
        source="/qudao/partner-svc",
        type=catalog.PARTNER_SHOP_BOUND,
        subject=str(shop_aggregate_id(shop.platform, shop.shop_id)),
        time=datetime(2026, 1, 1, tzinfo=UTC),
        aggregatetype="shop",
        aggregateversion=1,
        correlationid=uuid7(),
        data=ShopBody(platform=shop.platform, shop_id=shop.shop_id, bindings=(binding,)),
    )
    await shop.database.transact(WORKER, lambda tx: partner.handle(tx, [event]))
    while await shop.database.transact(WORKER, lambda tx: derive_marked(tx, 10)):
        pass


@pytest.fixture
def ask(http: httpx.AsyncClient, make_token: Token) -> Callable[..., Awaitable[httpx.Response]]:
    """Call it as a partner (None: as staff with these scopes)."""

    async def get(
        path: str, seller: UUID | None, scopes: str = "orders:read", **query: Any
    ) -> httpx.Response:
        headers = {"authorization": f"Bearer {await make_token(seller, scopes)}"}
        return await http.get(path, params=query, headers=headers)

    return get


async def test_an_order_of_another_partner_is_as_unknown_as_one_that_never_was(
    connect: Any, order: Make, ask: Any
) -> None:
    mine, other = uuid4(), uuid4()
    shops = [await connect(), await connect(), await connect()]
    for shop, seller in zip(shops, (mine, other, None), strict=True):
        await shop.post("orders/create", order())
        await shop.drain()
        if seller:
            await bind(shop, seller)
    own, foreign, unbound = [await shop.order_id(NUMBER) for shop in shops]
    assert (await ask(f"/v1/orders/{own}", mine)).status_code == 200
    assert len((await ask(f"/v1/orders/{own}/entries", mine)).json()["entries"]) == 4
    for suffix in ("", "/entries"):
        answers = [await ask(f"/v1/orders/{each}{suffix}", mine) for each in (foreign, unbound, uuid4())]
        assert {(answer.status_code, answer.text) for answer in answers} == {(404, answers[0].text)}
    for query in (
        {},
        {"platform_order_id": NUMBER},
        {"partner_id": str(other)},
        {"shop_id": shops[1].shop_id},
    ):
        items = (await ask("/v1/orders", mine, **query)).json()["items"]
        assert {item["order_id"] for item in items} <= {str(own)}


async def test_an_order_that_moves_to_another_partner_is_gone_for_the_first(
    shop: Any, order: Make, ask: Any
) -> None:
    first, second = uuid4(), uuid4()
    await shop.post("orders/create", order())
    await shop.drain()
    await bind(shop, first)
    order_id = await shop.order_id(NUMBER)
    assert (await ask(f"/v1/orders/{order_id}", first)).status_code == 200
    await bind(shop, second)
    assert (await ask(f"/v1/orders/{order_id}", first)).status_code == 404
    assert (await ask(f"/v1/orders/{order_id}/entries", first)).status_code == 404
    entries = (await ask(f"/v1/orders/{order_id}/entries", second)).json()["entries"]
    assert [entry["live"] for entry in entries] == [True] * 4


async def test_the_database_itself_shows_a_partner_nothing_else(
    shop: Any, order: Make, database: Database
) -> None:
    seller = uuid4()
    await shop.post("orders/create", order())
    await shop.drain()
    await bind(shop, seller)
    for table in ("order_head", "order_line", "ledger_entry"):
        for actor, most in ((Actor.partner(seller), 1), (Actor.partner(uuid4()), 0), (Actor("partner"), 0)):
            async with database.read(actor) as tx:
                found = await tx.rows(f"select distinct partner_id from {table}")  # noqa: S608  constant names
            assert [row.partner_id for row in found] == [seller] * most
    with pytest.raises(PostgresError, match="permission denied"):
        async with database.read(Actor.partner(seller)) as tx:
            await tx.rows("select body from delivery")


STAFF_ONLY = (
    ("GET", "/v1/exceptions"),
    ("GET", "/v1/orders/{id}/documents"),
    ("GET", "/v1/deliveries"),
    ("GET", "/v1/deliveries/counts"),
    ("GET", "/v1/deliveries/{id}"),
    ("POST", "/v1/deliveries/reprocess"),
    ("GET", "/v1/connections"),
    ("POST", "/v1/connections"),
    ("POST", "/v1/connections/shopify/main/secrets"),
    ("GET", "/v1/uploads"),
    ("POST", "/v1/uploads"),
    ("GET", "/v1/ledger/blocks/1"),
)


@pytest.mark.parametrize(("method", "path"), STAFF_ONLY)
async def test_what_is_the_brands_own_is_refused_to_partners_and_to_strangers(
    http: httpx.AsyncClient, make_token: Token, method: str, path: str
) -> None:
    url = path.format(id=uuid4())
    partner_token = await make_token(uuid4())
    as_partner = await http.request(method, url, headers={"authorization": f"Bearer {partner_token}"})
    assert (as_partner.status_code, as_partner.json()["code"]) == (403, "staff-only")
    other = await make_token(None, "stock:read")
    without = await http.request(method, url, headers={"authorization": f"Bearer {other}"})
    assert (without.status_code, without.json()["code"]) == (403, "scope-missing")
    assert (await http.request(method, url)).status_code == 401


async def test_every_route_is_known_to_the_tests_above_or_open_to_partners(app: Any) -> None:
    """A new route has to be put on one of the two lists."""
    open_to_partners = {
        ("GET", "/v1/orders"),
        ("GET", "/v1/orders/{order_id}"),
        ("GET", "/v1/orders/{order_id}/entries"),
        ("GET", "/v1/ledger/blocks"),
    }
    names = {"/v1/orders/{id}/documents": "/v1/orders/{order_id}/documents"}
    staff = {
        (m, names.get(p, p).replace("deliveries/{id}", "deliveries/{delivery_id}")) for m, p in STAFF_ONLY
    }
    staff = {
        (m, p.replace("blocks/1", "blocks/{block_no}").replace("shopify/main", "{platform}/{slug}"))
        for m, p in staff
    }
    routes = {
        (method.upper(), path)
        for path, methods in app._app.openapi()["paths"].items()
        for method in methods
        if not path.startswith("/v1/admin/")
    }
    assert routes == open_to_partners | staff
