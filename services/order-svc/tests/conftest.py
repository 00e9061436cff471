"""One order-svc per test module with a database of its own, and shops of its tests' own, driven over HTTP."""

import base64
import hashlib
import hmac
import importlib.util
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from pydantic import SecretStr

from channel_kit import auth
from channel_kit.auth import sign
from channel_kit.clock import now
from channel_kit.database import STAFF, WORKER, Database
from channel_kit.service import Runtime
from channel_kit.settings import ServiceSettings
from channel_kit.testing.plugin import SECRET_KEY, ServiceDatabase
from order_svc.intake.actions import drain
from order_svc.service import SERVICE

SECRETS = {
    "shopify": "a-secret-of-the-shop",
    "woocommerce": "a-secret & of the <shop>",
    "generic": "whsec_" + base64.b64encode(b"twenty-four-bytes-or-more").decode(),
}
TRIMMED = b" \t\n\r\0\x0b"  # what WordPress takes off a body before it signs it
ALL_SCOPES = "orders:read orders:write deliveries:replay"


@dataclass
class Shop:
    """A connected shop, as its platform sees us."""

    http: httpx.AsyncClient
    database: Database
    platform: str
    shop_id: str
    slug: str
    secret: str
    known: dict[str, str] = field(default_factory=dict)

    def headers(
        self,
        topic: str,
        raw: bytes,
        *,
        secret: str | None = None,
        message_id: str | None = None,
        at: datetime | None = None,
    ) -> dict[str, str]:
        """What the platform sends beside the body, signed."""
        text = secret or self.secret
        if self.platform == "generic":
            message, stamp = message_id or f"msg-{uuid4()}", str(int((at or now()).timestamp()))
            key = base64.b64decode(text.removeprefix("whsec_"))
            signed = hmac.new(key, f"{message}.{stamp}.".encode() + raw, hashlib.sha256).digest()
            signature = f"v1,{base64.b64encode(signed).decode()}"
            return {"webhook-id": message, "webhook-timestamp": stamp, "webhook-signature": signature}
        content = raw.strip(TRIMMED) if self.platform == "woocommerce" else raw
        digest = base64.b64encode(hmac.new(text.encode(), content, hashlib.sha256).digest()).decode()
        prefix = {"shopify": ("x-shopify-topic", "x-shopify-hmac-sha256")}.get(
            self.platform, ("x-wc-webhook-topic", "x-wc-webhook-signature")
        )
        return {prefix[0]: topic, prefix[1]: digest}

    @property
    def path(self) -> str:
        return f"/webhooks/{self.platform}/{self.slug}"

    async def post(self, topic: str, body: Any, **signed: Any) -> httpx.Response:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.http.post(self.path, content=raw, headers=self.headers(topic, raw, **signed))

    async def drain(self) -> None:
        while await drain(self.database):
            pass

    async def rows(self, sql: str, *args: Any) -> list[Any]:
        async with self.database.read(WORKER) as tx:
            return await tx.rows(sql, *args)

    async def deliveries(self) -> list[Any]:
        return await self.rows("select * from delivery where shop_id = $1 order by delivery_id", self.shop_id)

    async def order_id(self, platform_order_id: str) -> UUID:
        query = {"shop_id": self.shop_id, "platform_order_id": platform_order_id}
        found = (await self.http.get("/v1/orders", params=query)).json()["items"]
        assert len(found) == 1, found
        return UUID(found[0]["order_id"])

    async def entries(self, platform_order_id: str) -> list[dict[str, Any]]:
        """The live entries of an order, as the API shows them."""
        answer = await self.http.get(f"/v1/orders/{await self.order_id(platform_order_id)}/entries")
        return [entry for entry in answer.json()["entries"] if entry["live"]]


Connect = Callable[..., Awaitable[Shop]]


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


@pytest.fixture(scope="module")
async def database(service_database: ServiceDatabase) -> Database:
    return await service_database(SERVICE)


@pytest.fixture(scope="module")
def runtime(database: Database) -> Runtime:
    return Runtime(ServiceSettings(secret_key=SecretStr(SECRET_KEY)), database)


@pytest.fixture(scope="module")
def app(runtime: Runtime) -> Any:
    return SERVICE.app(runtime)


@pytest.fixture(scope="module")
async def http(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://order") as client:
        yield client


@pytest.fixture(scope="module")
def make_token(database: Database) -> Callable[..., Awaitable[str]]:
    """Call it for a token, of staff or of a partner, signed with a key that this service knows."""
    kid, private, public = auth.new_key()
    stored: list[str] = []

    async def make(partner_id: UUID | None = None, scopes: str = ALL_SCOPES) -> str:
        if not stored:
            async with database.write(STAFF) as tx:
                await tx.execute(
                    "insert into signing_key values ($1, $2, $3::text::json, now() - interval '1 day', now() + interval '1 day')",
                    kid,
                    uuid4(),
                    json.dumps(public),
                )
            stored.append(kid)
        return sign(
            private, kid, subject="tests", scopes=scopes.split(), partner_id=partner_id, issued_at=now()
        )

    return make


@pytest.fixture(scope="module")
async def staff(app: Any, make_token: Callable[..., Awaitable[str]]) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {await make_token()}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://order", headers=headers) as client:
        yield client


@pytest.fixture(scope="module")
def connect(staff: httpx.AsyncClient, database: Database) -> Connect:
    """Call it with a platform: a shop that nobody else uses."""

    async def make(platform: str = "shopify", secret: str | None = None) -> Shop:
        slug = f"s-{uuid4().hex[:12]}"
        shop = Shop(staff, database, platform, f"shop-{slug}", slug, secret or SECRETS[platform])
        command = {"platform": platform, "shop_id": shop.shop_id, "slug": slug, "secret": shop.secret}
        answer = await staff.post("/v1/connections", json=command)
        assert answer.status_code == 201, answer.text
        return shop

    return make


@pytest.fixture
async def shop(connect: Connect) -> Shop:
    return await connect("shopify")


@pytest.fixture(scope="module")
def printed() -> Iterator[Counter[tuple[str, str]]]:
    """Counts by class and outcome, printed at the end of the module."""
    counts: Counter[tuple[str, str]] = Counter()
    yield counts
    for (kind, outcome), count in sorted(counts.items()):
        print(f"{kind:>28} {outcome:<28} {count}")


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


def make_generic(order_id: str = "G-1", **changes: Any) -> dict[str, Any]:
    """The same contract as we publish it: one cup for 35.00, paid."""
    data = {
        "order_id": order_id,
        "currency": "CNY",
        "lifecycle": "open",
        "payment": "paid",
        "fulfilment": "unfulfilled",
        "placed_at": "2026-03-02T10:00:00+08:00",
        "updated_at": "2026-03-02T10:00:00+08:00",
        "total": "35.00",
        "lines": [{"line_id": "1", "kind": "product", "sku": "CUP", "quantity": "1", "total": "35.00"}],
        **changes,
    }
    return {"type": "qudao.order.v1", "timestamp": "2026-03-02T10:00:00+08:00", "data": data}


@pytest.fixture(scope="session")
def order() -> Callable[..., dict[str, Any]]:
    return make_order


@pytest.fixture(scope="session")
def refund() -> Callable[..., dict[str, Any]]:
    return make_refund


@pytest.fixture(scope="session")
def generic() -> Callable[..., dict[str, Any]]:
    return make_generic
