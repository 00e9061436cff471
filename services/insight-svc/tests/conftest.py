"""Events as the other services announce them, a migrated database, and ways to bring the one into the other."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import httpx
import pytest

from channel_events import catalog
from channel_events.envelope import Event
from channel_events.incentive import AccrualBody, AccrualSlice, Period
from channel_events.order import EntryBody, OrderBody, OrderLine, OrderSnapshot, OrderTotals
from channel_events.partner import PartnerBody, SigningKeyBody
from channel_kit.auth import new_key, sign
from channel_kit.clock import now
from channel_kit.database import WORKER, Database, Write
from channel_kit.poll import Poll, Record
from channel_kit.service import Runtime, Service
from channel_kit.settings import ServiceSettings
from channel_kit.testing.plugin import ServiceDatabase
from insight_svc.__main__ import SERVICE
from insight_svc.feeds import incentive, inventory, order, partner

SHANGHAI = ZoneInfo("Asia/Shanghai")
COMPONENTS = ("list", "promo", "platform_coupon", "merchant_coupon", "freight", "tax", "platform_fee")
HANDLERS = {
    "channel.order": (order.CONSUMER, order.handler(SHANGHAI)),
    "channel.incentive": (incentive.CONSUMER, incentive.handler(SHANGHAI)),
    "channel.inventory": (inventory.CONSUMER, inventory.handle),
    "channel.partner": (partner.CONSUMER, partner.handle),
}


class Maker:
    """Builds what arrives. Amounts are given per component (`list=20_000`), in minor units."""

    def entry(self, kind: str, at: datetime, **given: Any) -> EntryBody:
        amounts = {f"{name}_minor": given.pop(name, 0) for name in COMPONENTS}
        values: dict[str, Any] = {
            "entry_id": uuid4(),
            "order_id": uuid4(),
            "line_no": 1,
            "line_kind": "product",
            "kind": kind,
            "quantity": Decimal(0),
            "currency": "CNY",
            "net_minor": sum(amounts.values()),
            "tax_included": False,
            "business_at": at,
            "origin_at": at,
            "recorded_at": at,
            "entry_hash": "0" * 64,
        }
        return EntryBody(**{**values, **amounts, **given})

    def reversal(self, entry: EntryBody, **changes: Any) -> EntryBody:
        flipped = {f"{name}_minor": -getattr(entry, f"{name}_minor") for name in (*COMPONENTS, "net")}
        values = {
            **entry.model_dump(),
            **flipped,
            "quantity": -entry.quantity,
            "entry_id": uuid4(),
            "reverses_entry_id": entry.entry_id,
        }
        return EntryBody(**{**values, **changes})

    def order(self, order_id: UUID, at: datetime, skus: Sequence[str | None], **given: Any) -> OrderSnapshot:
        values: dict[str, Any] = {
            "order_id": order_id,
            "platform": "generic",
            "shop_id": "shop-1",
            "platform_order_id": f"O-{order_id}",
            "currency": "CNY",
            "tax_included": False,
            "lifecycle": "open",
            "payment": "paid" if given.get("paid_at") else "unpaid",
            "fulfilment": "unfulfilled",
            "business_at": at,
            "flags": (),
            "totals": OrderTotals(
                ordered_net_minor=0,
                cancelled_net_minor=0,
                returned_net_minor=0,
                paid_minor=0,
                refunded_minor=0,
                net_sales_minor=0,
            ),
            "lines": tuple(
                OrderLine(
                    line_no=number,
                    line_kind="product",
                    sku=sku,
                    ordered=Decimal(1),
                    cancelled=Decimal(0),
                    shipped=Decimal(0),
                    returned=Decimal(0),
                    restocked=Decimal(0),
                    net_minor=0,
                )
                for number, sku in enumerate(skus, 1)
            ),
        }
        return OrderSnapshot(**{**values, **given})

    def order_event(
        self,
        order: OrderSnapshot,
        version: int,
        entries: Sequence[EntryBody] = (),
        at: datetime | None = None,
    ) -> Event[Any]:
        body = OrderBody(order=order, transitions=(), entries=tuple(entries))
        return self.event(catalog.ORDER_CHANGED, order.order_id, version, body, at or order.business_at)

    def accrual(
        self,
        cell_id: UUID,
        version: int,
        partner_id: UUID,
        delta: int,
        slices: Sequence[tuple[str | None, str | None, int]],
        at: datetime,
        rebate: int = 0,
    ) -> Event[Any]:
        body = AccrualBody(
            plan_id=UUID(int=7),
            plan_version=1,
            partner_id=partner_id,
            period=Period(start_on=date(2026, 7, 1), end_on=date(2026, 8, 1)),
            currency="CNY",
            basis_minor=0,
            rebate_minor=rebate,
            delta_minor=delta,
            slices=tuple(
                AccrualSlice(channel=channel, sku=sku, basis_delta_minor=basis)
                for channel, sku, basis in slices
            ),
        )
        return self.event(catalog.INCENTIVE_ACCRUED, cell_id, version, body, at)

    def partner(self, partner_id: UUID, name: str) -> Event[Any]:
        at = datetime(2026, 1, 1, tzinfo=UTC)
        body = PartnerBody(
            code=name.lower(), name=name, kind="distributor", state="active", effective_from=at
        )
        return self.event(catalog.PARTNER_REGISTERED, partner_id, 1, body, at)

    def event(self, kind: str, about: UUID, version: int, body: Any, at: datetime) -> Event[Any]:
        entry = catalog.CATALOG[kind]
        return catalog.envelope_class(kind)(
            id=uuid4(),
            source="/qudao/test",
            type=kind,
            subject=str(about),
            time=at,
            aggregatetype=entry.aggregate_type,
            aggregateversion=version,
            correlationid=about,
            data=body,
        )


@pytest.fixture(scope="session")
def make() -> Maker:
    return Maker()


@pytest.fixture(scope="session")
def service() -> Service:
    return SERVICE


@pytest.fixture
async def facts(service_database: ServiceDatabase) -> Database:
    """A fresh, migrated database of this service."""
    return await service_database(SERVICE)


Deliver = Callable[..., Awaitable[None]]


@pytest.fixture(scope="session")
def deliver() -> Deliver:
    """`deliver(database, events, size=500)`: as polls of `size` records, through the kit's watermark."""

    async def run(database: Database, events: Sequence[Event[Any]], size: int = 500) -> None:
        for topic, (consumer, handle) in HANDLERS.items():
            records = [
                Record(topic, 0, offset, catalog.encode(event).encode(), {"ce_type": event.type.encode()})
                for offset, event in enumerate(events)
                if catalog.CATALOG[event.type].topic.name == topic
            ]
            for start in range(0, len(records), size):
                await Poll(consumer, handle).settle(database, records[start : start + size], _nowhere)
        async with database.read(WORKER) as tx:
            parked = await tx.rows("select error from parked where reason = 'failed'")
        assert parked == []

    return run


async def _nowhere(tx: Write) -> None:
    """These records come from no broker, so there is no position to keep."""


READ_MODEL = (
    "entry_fact",
    "daily_fact",
    "order_fact",
    "cell_fact",
    "rebate_fact",
    "stock_fact",
    "partner_name",
    "item_name",
)


@pytest.fixture(scope="session")
def read_model() -> Callable[[Database], Awaitable[dict[str, list[str]]]]:
    """Every row of the read model as text, sorted."""

    async def read(database: Database) -> dict[str, list[str]]:
        async with database.read(WORKER) as tx:
            return {
                table: sorted([row[0] for row in await tx.rows(f"select fact::text from {table} fact")])  # noqa: S608  names above
                for table in READ_MODEL
            }

    return read


class Client:
    """Calls the service's own application with a token that partner-svc might have signed."""

    def __init__(self, http: httpx.AsyncClient, kid: str, private: str) -> None:
        self._http, self._kid, self._private = http, kid, private

    async def get(
        self,
        path: str,
        *,
        as_partner: UUID | None = None,
        scopes: Sequence[str] = ("insight:read",),
        **query: Any,
    ) -> httpx.Response:
        token = sign(self._private, self._kid, subject="reader", scopes=scopes, partner_id=as_partner)
        query = {name.rstrip("_"): value for name, value in query.items()}
        return await self._http.get(path, params=query, headers={"Authorization": f"Bearer {token}"})


async def connect(database: Database, deliver: Deliver, make: Maker) -> Client:
    """A client of the application over `database`; its signing key comes through the partner feed."""
    kid, private, jwk = new_key()
    moment = now()
    body = SigningKeyBody(
        kid=kid,
        public_jwk=jwk,
        not_before=moment - timedelta(hours=1),
        not_after=moment + timedelta(hours=1),
    )
    await deliver(database, [make.event(catalog.PARTNER_SIGNING_KEY_PUBLISHED, uuid4(), 1, body, moment)])
    app = SERVICE.app(Runtime(ServiceSettings(time_zone="Asia/Shanghai"), database))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return Client(httpx.AsyncClient(transport=transport, base_url="http://insight"), kid, private)


@pytest.fixture
async def client(facts: Database, deliver: Deliver, make: Maker) -> Client:
    """A client of the application over `facts`."""
    return await connect(facts, deliver, make)


@pytest.fixture(scope="session")
async def client_of_nothing(service_database: ServiceDatabase, deliver: Deliver, make: Maker) -> Client:
    """A client of an application without facts, for questions that must not get as far as them."""
    return await connect(await service_database(SERVICE), deliver, make)
