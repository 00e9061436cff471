"""Shops as their platforms see us: signed deliveries of Shopify, WooCommerce and the generic contract, and trades.

The signatures are made here from the platforms' published rules, not with the code that checks them. A trade is
everything that one order needs on its way: partner, plan, contract, shop, item.
"""

import base64
import hmac
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx

from .deployment import Deployment, until, until_equal

IN_FORCE = "2026-01-01T00:00:00+08:00"
MONTH = "2026-03-01"
TIERS = ((0, 20_000), (20_000, 50_000))
"""2 % up to 200.00 of net sales a month, 5 % on what goes beyond."""


def digest(key: bytes, content: bytes) -> str:
    return base64.b64encode(hmac.digest(key, content, "sha256")).decode()


def as_bytes(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()


@dataclass
class Shop:
    """A connected shop; `post` is what its platform does."""

    deployment: Deployment
    platform: str
    shop_id: str
    slug: str
    secret: str

    @property
    def url(self) -> str:
        return f"{self.deployment.stack.url('order')}/webhooks/{self.platform}/{self.slug}"

    async def post(
        self, body: Any, topic: str = "", *, signed: bytes | None = None, **headers: str
    ) -> httpx.Response:
        """One delivery, signed over `signed` where that is not the body itself. Given headers replace ours."""
        raw = as_bytes(body)
        own = self.headers(raw if signed is None else signed, topic)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.deployment.http.post(self.url, content=raw, headers={**own, **given})

    def headers(
        self, raw: bytes, topic: str = "", *, message_id: str | None = None, at: int | None = None
    ) -> dict[str, str]:
        """What the platform puts beside a body. `message_id` and `at` are the generic contract's."""
        if self.platform == "shopify":
            signature = digest(self.secret.encode(), raw)
            return {
                "x-shopify-topic": topic,
                "x-shopify-hmac-sha256": signature,
                "x-shopify-webhook-id": uuid4().hex,
            }
        if self.platform == "woocommerce":
            signature = digest(self.secret.encode(), raw.strip(b" \t\n\r\0\x0b"))
            return {"x-wc-webhook-topic": topic, "x-wc-webhook-signature": signature}
        message_id, stamp = message_id or f"msg_{uuid4().hex}", str(int(time.time()) if at is None else at)
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        signature = digest(key, b".".join((message_id.encode(), stamp.encode(), raw)))
        return {"webhook-id": message_id, "webhook-timestamp": stamp, "webhook-signature": f"v1,{signature}"}

    async def sent(self, body: Any, topic: str = "") -> None:
        """A delivery that must be accepted."""
        answer = await self.post(body, topic)
        assert answer.status_code == 200, answer.text

    async def delivered(self, body: Any, topic: str = "", seconds: float = 120.0) -> None:
        """A delivery repeated, as platforms do, until it is accepted: the service may be away for a while."""

        async def attempt() -> bool:
            try:
                answer = await self.post(body, topic)
            except httpx.TransportError:
                return False
            assert answer.status_code in (200, 502, 503, 504), answer.text
            return answer.status_code == 200

        await until(attempt, seconds)

    async def order(self, order_id: object) -> Any | None:
        """The order of this shop with its lines, None while there is none with a document."""
        found = await self.deployment.get(
            "order",
            "/v1/orders",
            platform=self.platform,
            shop_id=self.shop_id,
            platform_order_id=str(order_id),
        )
        exact = [each for each in found["items"] if each["platform_order_id"] == str(order_id)]
        if not exact or exact[0]["lifecycle"] is None:
            return None
        return await self.deployment.get("order", f"/v1/orders/{exact[0]['order_id']}")

    async def settled(self, order_id: object) -> Any:
        """The order, once the drain has taken it in."""
        return await until(lambda: self.order(order_id), 30, lambda: f"order {order_id} of {self.slug}")


async def connect(deployment: Deployment, platform: str = "shopify", name: str = "") -> Shop:
    """A fresh shop that is connected and bound to nobody."""
    slug = f"{name or platform}-{uuid4().hex[:10]}"
    body = {"platform": platform, "shop_id": f"{slug}.example", "slug": slug}
    if platform != "generic":  # there the secret is ours to make
        body["secret"] = f"secret-of-{slug}"
    made = await deployment.call("order", "POST", "/v1/connections", body)
    return Shop(deployment, platform, made["shop_id"], slug, made["secret"])


@dataclass
class Trade:
    """A partner with a plan and a contract, a shop that sells for it, and one item in stock."""

    deployment: Deployment
    shop: Shop
    partner_id: str
    plan_code: str
    sku: str
    channel: str = "online"
    platform_sku: str = ""
    known: dict[str, Any] = field(default_factory=dict)

    async def bind(self, *, replace: bool = False) -> None:
        body = {
            "partner_id": self.partner_id,
            "channel": self.channel,
            "valid_from": IN_FORCE,
            "replace": replace,
        }
        path = f"/v1/shops/{self.shop.platform}/{self.shop.shop_id}/bindings"
        await self.deployment.call("partner", "POST", path, body)

    async def register(self) -> None:
        body = {"sku": self.sku, "name": f"茶 {self.sku}"}
        self.known["item"] = await self.deployment.call("inventory", "POST", "/v1/items", body)

    async def receive(self, quantity: str = "50") -> None:
        lines = [{"sku": self.sku, "quantity": quantity}]
        await self.deployment.call("inventory", "POST", "/v1/receipts", {"lines": lines})

    async def list_as(self, platform_sku: str) -> None:
        """Says that this is what the shop calls the item."""
        body = {
            "platform": self.shop.platform,
            "shop_id": self.shop.shop_id,
            "platform_sku": platform_sku,
            "sku": self.sku,
        }
        await self.deployment.call("inventory", "PUT", "/v1/listings", body)

    async def contract(self) -> None:
        body = {
            "code": f"C-{uuid4().hex[:12]}",
            "partner_id": self.partner_id,
            "valid_from": IN_FORCE,
            "time_zone": "Asia/Shanghai",
            "plan_codes": [self.plan_code],
        }
        made = await self.deployment.call("partner", "POST", "/v1/contracts", body)
        path = f"/v1/contracts/{made['contract_id']}/versions/1/approve"
        await self.deployment.call("partner", "POST", path)

    async def arrived(self) -> None:
        """Waits until everybody has heard of all of it: what is sent now finds it there."""
        await until(self._known_everywhere)

    async def _known_everywhere(self) -> bool:
        deployment, shop = self.deployment, self.shop
        bound = await deployment.value(
            "order",
            "select count(*) from shop_binding where platform = $1 and shop_id = $2",
            shop.platform,
            shop.shop_id,
        )
        item = await deployment.value("order", "select count(*) from item_copy where sku = $1", self.sku)
        signed = await deployment.value(
            "incentive", "select count(*) from contract where partner_id = $1::text::uuid", self.partner_id
        )
        return bool(bound and item and signed)

    # -- what became of it -----------------------------------------------------------------------------------

    async def statement(self) -> Any:
        return await self.deployment.get(
            "incentive", f"/v1/statements/{self.partner_id}/{self.plan_code}/{MONTH}"
        )

    async def live_entries(self, order: Any) -> list[tuple[Any, ...]]:
        """What the live entries of an order say, without ids and names of their own, sorted."""
        found = await self.deployment.get("order", f"/v1/orders/{order['order_id']}/entries")
        amounts = (
            "list",
            "promo",
            "platform_coupon",
            "merchant_coupon",
            "freight",
            "tax",
            "platform_fee",
            "net",
        )
        return sorted(
            (
                each["line_no"],
                each["line_kind"],
                each["kind"],
                each["quantity"],
                *(each[f"{name}_minor"] for name in amounts),
                each["partner_id"] == self.partner_id,
                each["channel"],
                each["sku"] == self.sku,
                each["business_at"],
                each["origin_at"],
            )
            for each in found["entries"]
            if each["live"]
        )

    async def holds(self, order: Any) -> list[tuple[str, ...]]:
        """The quantities of an order's holds, by line."""
        found = await self.deployment.pages("inventory", "/v1/holds", order_id=order["order_id"])
        names = ("demanded", "held", "committed", "issued", "short", "expired", "restocked")
        return sorted((str(each["line_no"]), *(each[name] for name in names)) for each in found)

    async def figures(self) -> dict[str, Any]:
        """insight's key figures of this partner, over the days of the bodies below and today."""
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()  # it is today in Shanghai
        days = sorted([MONTH, "2026-03-31", tomorrow])
        answer = await self.deployment.get(
            "insight",
            "/v1/insight/kpis",
            **{"from": days[0], "to": days[-1], "partner_id": self.partner_id, "currency": "CNY"},
        )
        found: dict[str, Any] = answer["items"][0]["figures"] if answer["items"] else {}
        return {name: figure["value"] for name, figure in found.items()}

    async def words(self, order_id: object) -> dict[str, Any]:
        """What every service says of the trade while this is its only order, in minor units."""
        order, statement, figures = (
            await self.shop.order(order_id),
            await self.statement(),
            await self.figures(),
        )
        return {
            "order": order and order["net_sales_minor"],
            "basis": statement["basis_minor"],
            "statement": statement["rebate_minor"],
            "accrued": statement["accrued_minor"],
            "net sales": figures.get("net_sales"),
            "rebate cost": figures.get("rebate_cost"),
            "held": bool(order) and bool(await self.holds(order)),
        }

    async def agreed(self, order_id: object, basis: int, rebate: int) -> None:
        """Waits until all of them say these figures."""
        rebates = dict.fromkeys(("statement", "accrued", "rebate cost"), rebate)
        expected = {**dict.fromkeys(("order", "basis", "net sales"), basis), **rebates, "held": True}
        await until_equal(lambda: self.words(order_id), expected)


async def trade(
    deployment: Deployment,
    platform: str = "shopify",
    *,
    ready: bool = True,
    contract: bool = True,
    stock: str = "50",
    tiers: tuple[tuple[int, int], ...] = TIERS,
) -> Trade:
    """A fresh trade. Not `ready`: nobody has heard of its shop and item yet; nor of a contract, without it."""
    mark = uuid4().hex[:10]
    call = deployment.call
    partner = await call(
        "partner",
        "POST",
        "/v1/partners",
        {"code": f"P-{mark}", "name": f"经销商 {mark}", "kind": "distributor"},
    )
    plan = f"plan-{mark}"
    await call("incentive", "POST", "/v1/plans", {"code": plan, "name": plan})
    version = {
        "valid_from": "2026-01-01",
        "calendar": "month",
        "currency": "CNY",
        "shape": "marginal",
        "recognition": "paid",
        "tiers": [{"lower_minor": lower, "rate_ppm": rate} for lower, rate in tiers],
    }
    await call("incentive", "POST", f"/v1/plans/{plan}/versions", version)
    await call("incentive", "POST", f"/v1/plans/{plan}/versions/1/activate")
    shop = await connect(deployment, platform)
    made = Trade(deployment, shop, partner["partner_id"], plan, f"TEA-{mark}")
    if contract:
        await made.contract()
    if ready:
        await made.register()
        await made.receive(stock)
        await made.bind()
        await made.arrived()
    return made
