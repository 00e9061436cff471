"""What the tests of this service share: a fresh database, an HTTP client, and orders as they arrive."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from channel_events import catalog
from channel_events.envelope import Event
from channel_events.order import OrderBody, OrderLine, OrderSnapshot, OrderTotals
from channel_events.partner import SigningKeyBody
from channel_kit import auth
from channel_kit.database import STAFF, WORKER, Database, Row, Write
from channel_kit.service import Runtime
from channel_kit.settings import ServiceSettings
from inventory_svc import app
from inventory_svc.hold import actions as holds
from inventory_svc.hold.values import Windows
from inventory_svc.item import actions as items
from inventory_svc.item.rules import Item
from inventory_svc.listing import actions as listings
from inventory_svc.listing.rules import Mapped
from inventory_svc.location import actions as locations
from inventory_svc.location.rules import Location, ShopLocation
from inventory_svc.service import SERVICE
from inventory_svc.stock import actions as stock
from inventory_svc.stock.actions import Change

WINDOWS = Windows(1_800, {"brief": 1})
TOTALS = OrderTotals(
    ordered_net_minor=0,
    cancelled_net_minor=0,
    returned_net_minor=0,
    paid_minor=0,
    refunded_minor=0,
    net_sales_minor=0,
)


@pytest.fixture
async def database(service_database: Callable[[Any], Awaitable[Database]]) -> AsyncIterator[Database]:
    """A fresh database of this service; its connections end with the test."""
    fresh = await service_database(SERVICE)
    yield fresh
    await fresh.close()


def snapshot(
    order_id: UUID, lines: Sequence[dict[str, Any]], payment: str = "paid", **facts: Any
) -> OrderSnapshot:
    """An order with the given lines; what a line leaves out is zero or null."""
    rows = [
        OrderLine(
            line_no=line.get("line_no", no),
            line_kind=line.get("line_kind", "product"),
            platform_sku=line.get("platform_sku"),
            sku=line.get("sku"),
            ordered=Decimal(line.get("ordered", 0)),
            cancelled=Decimal(line.get("cancelled", 0)),
            shipped=Decimal(line.get("shipped", 0)),
            returned=Decimal(line.get("restocked", 0)),
            restocked=Decimal(line.get("restocked", 0)),
            net_minor=100,
        )
        for no, line in enumerate(lines, 1)
    ]
    usual: dict[str, Any] = {
        "platform": "generic",
        "shop_id": "shop-1",
        "platform_order_id": str(order_id),
        "currency": "CNY",
        "tax_included": True,
        "lifecycle": "open",
        "fulfilment": "unfulfilled",
        "business_at": datetime(2026, 3, 1, 8, tzinfo=UTC),
        "flags": (),
        "totals": TOTALS,
    }
    return OrderSnapshot(order_id=order_id, payment=payment, lines=tuple(rows), **{**usual, **facts})


@pytest.fixture(scope="session")
def snapshot_of() -> Callable[..., OrderSnapshot]:
    """`snapshot`, for tests of pure rules."""
    return snapshot


def event(order: OrderSnapshot, version: int = 1) -> Event[OrderBody]:
    """The event that carries a snapshot."""
    return Event[OrderBody](
        id=uuid4(),
        source="/qudao/order-svc",
        type=catalog.ORDER_CHANGED,
        subject=str(order.order_id),
        time=datetime.now(UTC),
        aggregatetype="order",
        aggregateversion=version,
        correlationid=uuid4(),
        data=OrderBody(order=order, transitions=(), entries=()),
    )


@dataclass
class House:
    """The service from its actions' side."""

    database: Database

    @staticmethod
    def order(
        order_id: UUID, lines: Sequence[dict[str, Any]], payment: str = "paid", version: int = 1, **facts: Any
    ) -> Event[OrderBody]:
        """The event of an order's snapshot."""
        return event(snapshot(order_id, lines, payment, **facts), version)

    async def register(self, *skus: str) -> None:
        await self.staff(lambda tx: items.upsert(tx, [Item(sku, sku) for sku in skus]))

    async def receive(self, sku: str, quantity: int | str, location: str = "main") -> None:
        change = Change("receipt", sku, location, Decimal(quantity))
        await self.staff(lambda tx: stock.change(tx, "receipt", [change]))

    async def map(self, platform_sku: str, sku: str | None) -> None:
        mapped = Mapped("generic", "shop-1", platform_sku, sku)
        await self.staff(lambda tx: listings.map_one(tx, mapped, None))

    async def locate(self, code: str) -> None:
        await self.staff(lambda tx: locations.upsert(tx, [Location(code, code)]))

    async def serve_from(self, code: str) -> None:
        await self.staff(lambda tx: locations.assign(tx, [ShopLocation("generic", "shop-1", code)]))

    async def pass_time(self, order_id: UUID) -> None:
        """The claims of an order are over."""
        async with self.database.write(WORKER) as tx:
            await tx.execute(
                "update hold set expires_at = now() - interval '1 second' where order_id = $1", order_id
            )

    async def staff(self, run: Callable[[Write], Awaitable[Any]]) -> Any:
        return await self.database.transact(STAFF, run)

    async def apply(self, *events: Event[OrderBody]) -> None:
        await self.database.transact(WORKER, lambda tx: holds.apply(tx, events, WINDOWS))

    async def drain(self) -> None:
        """Every job until there is nothing left to do."""
        for run in (
            holds.expire,
            holds.spread,
            lambda tx: holds.rederive(tx, WINDOWS),
            lambda tx: holds.refill(tx, WINDOWS),
        ):
            while await self.database.transact(WORKER, run):
                pass

    async def hold(self, order_id: UUID, line_no: int = 1) -> Row:
        rows = await self.rows("select * from hold where order_id = $1 and line_no = $2", order_id, line_no)
        assert len(rows) == 1
        return rows[0]

    async def stock(self, sku: str, location: str = "main") -> Row:
        rows = await self.rows("select * from stock where sku = $1 and location = $2", sku, location)
        assert len(rows) == 1
        return rows[0]

    async def rows(self, sql: str, *args: Any) -> list[Row]:
        async with self.database.read(WORKER) as tx:
            return await tx.rows(sql, *args)

    async def announced(self, kind: str, aggregate_id: UUID) -> list[Row]:
        """The events of one aggregate: type, version and body."""
        return await self.rows(
            """
            select type, aggregate_version, payload::json->>'correlationid' as correlation_id,
                   payload::json->'data' as body
            from outbox where aggregate_type = $1 and aggregate_id = $2 order by aggregate_version
            """,
            kind,
            aggregate_id,
        )

    async def audit(self) -> None:
        """Equations 2 and 3, and that nobody waits beside free stock once the drains are done."""
        assert not await self.rows(
            """
            select s.sku from stock s
            where on_hand <> (select coalesce(sum(quantity), 0) from movement m where m.stock_id = s.stock_id)
               or reserved <> (select coalesce(sum(held), 0) from hold h
                               where h.sku = s.sku and h.location = s.location)
               or allocated <> (select coalesce(sum(committed), 0) from hold h
                                where h.sku = s.sku and h.location = s.location)
            """
        )
        assert not await self.rows(
            """
            select r.order_id from reservation r
            where stream_version <> (select count(*) from outbox o
                                     where o.aggregate_type = 'reservation' and o.aggregate_id = r.order_id)
            """
        )


@pytest.fixture
def house(database: Database) -> House:
    return House(database)


@dataclass
class Api:
    """The service from its callers' side."""

    client: httpx.AsyncClient
    private: str
    kid: str

    def token(self, *scopes: str, partner_id: UUID | None = None, subject: str = "tester") -> dict[str, str]:
        token = auth.sign(
            self.private,
            self.kid,
            subject=subject,
            scopes=scopes or ("stock:read", "stock:write"),
            partner_id=partner_id,
        )
        return {"authorization": f"Bearer {token}"}

    async def call(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        as_: dict[str, str] | None = None,
        **more: Any,
    ) -> httpx.Response:
        headers = {**(as_ or self.token()), **more.pop("headers", {})}
        if key is not None:
            headers["idempotency-key"] = key
        return await self.client.request(method, path, headers=headers, **more)

    async def post(self, path: str, body: Any, *, key: str | None = None, **more: Any) -> httpx.Response:
        return await self.call("POST", path, key=key or uuid4().hex, json=body, **more)

    async def get(self, path: str, **more: Any) -> httpx.Response:
        return await self.call("GET", path, **more)

    async def upload(self, path: str, text: str) -> httpx.Response:
        return await self.call("POST", path, content=text.encode(), headers={"content-type": "text/csv"})


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    """A client of the application, with a key the service knows."""
    kid, private, jwk = auth.new_key()
    now = datetime.now(UTC)
    body = SigningKeyBody(
        kid=kid, public_jwk=jwk, not_before=now - timedelta(hours=1), not_after=now + timedelta(hours=1)
    )
    async with database.write(WORKER) as tx:
        await auth.remember_keys(tx, [(uuid4(), body)])
    application = app.build(Runtime(ServiceSettings(), database))
    transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://inventory") as client:
        yield Api(client, private, kid)
