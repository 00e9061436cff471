"""One order-svc with a database of its own, driven over HTTP and through its drain."""

import base64
import hashlib
import hmac
import importlib.util
import json
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from channel_kit import auth
from channel_kit.auth import sign
from channel_kit.clock import now
from channel_kit.database import STAFF, WORKER, Database
from channel_kit.service import Runtime
from channel_kit.settings import ServiceSettings
from channel_kit.testing.plugin import SECRET_KEY, ServiceDatabase
from order_svc.intake.actions import drain
from order_svc.service import SERVICE

SECRET = "a-secret-of-the-shop"


@dataclass
class Shop:
    """A connected Shopify shop, as its platform sees us."""

    http: httpx.AsyncClient
    database: Database
    slug: str = "main"
    platform: str = "shopify"
    secret: str = SECRET

    async def post(self, topic: str, body: dict[str, Any] | bytes, **headers: str) -> httpx.Response:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        digest = base64.b64encode(hmac.new(self.secret.encode(), raw, hashlib.sha256).digest()).decode()
        return await self.http.post(
            f"/webhooks/{self.platform}/{self.slug}",
            content=raw,
            headers={"x-shopify-topic": topic, "x-shopify-hmac-sha256": digest, **headers},
        )

    async def drain(self) -> None:
        while await drain(self.database):
            pass

    async def rows(self, sql: str, *args: Any) -> list[Any]:
        async with self.database.read(WORKER) as tx:
            return await tx.rows(sql, *args)


@pytest.fixture(scope="session")
def histories() -> ModuleType:
    """The module beside this one: strategies for order histories, and a ledger in memory."""
    path = Path(__file__).with_name("histories.py")
    spec = importlib.util.spec_from_file_location("order_histories", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def database(service_database: ServiceDatabase) -> Database:
    return await service_database(SERVICE)


@pytest.fixture
async def http(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    settings = ServiceSettings(secret_key=SECRET_KEY)  # type: ignore[arg-type]
    app = SERVICE.app(Runtime(settings, database))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://order") as client:
        yield client


@pytest.fixture
async def token(database: Database) -> str:
    """A staff token, signed with a key that this service knows."""
    return await make_token(database)


async def make_token(
    database: Database,
    partner_id: UUID | None = None,
    scopes: str = "orders:read orders:write deliveries:replay",
) -> str:
    kid, private, public = auth.new_key()
    async with database.write(STAFF) as tx:
        await tx.execute(
            "insert into signing_key values ($1, $2, $3::text::json, now() - interval '1 day', now() + interval '1 day')",
            kid,
            uuid4(),
            json.dumps(public),
        )
    return sign(private, kid, subject="tests", scopes=scopes.split(), partner_id=partner_id, issued_at=now())


@pytest.fixture
async def staff(http: httpx.AsyncClient, token: str) -> httpx.AsyncClient:
    http.headers["authorization"] = f"Bearer {token}"
    return http


@pytest.fixture
async def shop(staff: httpx.AsyncClient, database: Database) -> Shop:
    answer = await staff.post(
        "/v1/connections", json={"platform": "shopify", "shop_id": "shop-1", "slug": "main", "secret": SECRET}
    )
    assert answer.status_code == 201, answer.text
    return Shop(staff, database)


def make_order(
    order_id: int = 820982911946154508,
    *,
    updated: str = "2026-03-02T10:00:00+08:00",
    paid: bool = True,
    shipped: int = 0,
    quantity: int = 2,
    sku: str = "TEA-250",
    **changes: Any,
) -> dict[str, Any]:
    """Two tins of tea at 100.00 less a coupon of 20.00, freight 10.00, tax 13 % included: the buyer pays 190.00."""
    fulfilled = [
        {
            "id": 7,
            "status": "success",
            "created_at": "2026-03-02T15:00:00+08:00",
            "line_items": [{"id": 466157049, "quantity": shipped}],
        }
    ]
    return {
        "id": order_id,
        "name": "#1001",
        "created_at": "2026-03-02T09:59:00+08:00",
        "processed_at": "2026-03-02T09:59:00+08:00",
        "updated_at": updated,
        "currency": "CNY",
        "total_price": "190.00",
        "total_tax": "21.86",
        "taxes_included": True,
        "test": False,
        "financial_status": "paid" if paid else "pending",
        "fulfillment_status": None,
        "cancelled_at": None,
        "closed_at": None,
        "line_items": [
            {
                "id": 466157049,
                "sku": sku,
                "title": "Green tea 250 g",
                "quantity": quantity,
                "price": "100.00",
                "discount_allocations": [{"amount": "20.00"}],
                "tax_lines": [{"price": "20.71", "rate": 0.13, "title": "VAT"}],
            }
        ],
        "shipping_lines": [
            {
                "id": 5,
                "title": "SF",
                "price": "10.00",
                "discounted_price": "10.00",
                "tax_lines": [{"price": "1.15", "rate": 0.13}],
            }
        ],
        "refunds": [],
        "fulfillments": fulfilled if shipped else [],
        **changes,
    }


def make_refund(
    order_id: int = 820982911946154508, *, quantity: int = 1, amount: str = "90.00", tax: str = "10.36"
) -> dict[str, Any]:
    """One tin back for 90.00 (of which tax 10.36, included), restocked."""
    return {
        "id": 509562969,
        "order_id": order_id,
        "created_at": "2026-03-05T12:00:00+08:00",
        "processed_at": "2026-03-05T12:00:00+08:00",
        "note": "too much tea",
        "refund_line_items": [
            {
                "id": 1,
                "line_item_id": 466157049,
                "quantity": quantity,
                "subtotal": amount,
                "total_tax": tax,
                "restock_type": "return",
            }
        ],
        "transactions": [
            {"id": 2, "kind": "refund", "status": "success", "amount": amount, "currency": "CNY"}
        ],
        "order_adjustments": [],
    }


@pytest.fixture(scope="session")
def order() -> Callable[..., dict[str, Any]]:
    return make_order


@pytest.fixture(scope="session")
def refund() -> Callable[..., dict[str, Any]]:
    return make_refund
