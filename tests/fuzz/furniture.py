"""What stands in the house before anybody tries its doors: two partners with all that one order leaves behind.

Shops, contracts, a plan, items and stock, orders of two platforms with a refund, a delivery in quarantine,
accruals, reservations: everything through the API. The bodies sent here are the examples that the fuzzer starts
from; `NEXT` and `FILES` are those of operations that can do the same thing only once, or that take files.
"""

import base64
import hmac
import json
from pathlib import Path
from typing import Any

from .house import PARTNERS, House

FIXTURES = Path(__file__).parents[2] / "services" / "order-svc" / "tests" / "platforms" / "fixtures"
SCOPES = ["insight:read", "orders:read", "partners:read", "plans:read", "statements:read", "stock:read",
          "stock:write"]  # fmt: skip
BEGIN = "2026-01-01T00:00:00Z"
TILL = "business_date,terminal,receipt,line,sku,quantity,unit_price\n2026-05-04,1,{n},1,TEA,2,12.50\n"

EXAMPLES: dict[str, Any] = {
    "platform": "shopify",    "from": "2026-02-01", "to": "2026-05-31", "period": "2026-05", "period_start": "2026-05-01",
    "known_at": "2026-05-05T00:00:00Z", "time_zone": "Asia/Shanghai", "currency": "CNY", "limit": 3,
    "file_name": "till.csv", "search": "Al", "category": "Drinks", "reason": "failed", "kind": "receipt",
    "status": "applied", "state": "active", "flag": "unknown-sku", "If-Match": '"1"',
}  # fmt: skip
"""Values of parameters by name, where none can be read from what exists."""

NEXT: dict[tuple[str, str], Any] = {
    ("incentive", "POST /v1/plans"): {"code": "NEXT", "name": "Another"},
    ("inventory", "POST /v1/items"): {"sku": "CUP", "name": "Cup"},
    ("order", "POST /v1/connections"): {"platform": "generic", "shop_id": "next", "slug": "next"},
    ("order", "POST /v1/connections/{platform}/{slug}/secrets"): {"grace_seconds": 60},
    ("partner", "POST /v1/clients/{client_id}/secrets"): {"grace_seconds": 60},
    ("partner", "POST /v1/contracts/{contract_id}/versions"): {
        "valid_from": "2026-07-01T00:00:00Z", "time_zone": "UTC"},
    ("partner", "PATCH /v1/partners/{partner_id}"): {"kind": "reseller"},
    ("partner", "POST /v1/shops/{platform}/{shop_id}/bindings/close"): {"valid_to": "2026-12-01T00:00:00Z"},
}  # fmt: skip

ANOTHER = {"POST /v1/clients/{client_id}/revoke": 1}
"""Which of the things that exist is taken, where the first one is needed by others afterwards."""

FILES: dict[tuple[str, str], str] = {
    ("inventory", "/v1/items/import"): "sku,name,unit_cost,currency\nPOT,Pot,12.50,CNY\nTEA,Tea,,\n",
    ("inventory", "/v1/listings/import"): "platform,shop_id,platform_sku,sku\nshopify,alpha,P-1,TEA\n",
    ("inventory", "/v1/locations/import"): "code,name\nannex,Annex\nyard,Yard\n",
    ("inventory", "/v1/shop-locations/import"): "platform,shop_id,location\npos,alpha,annex\n",
    ("inventory", "/v1/stock/import"): "sku,quantity,location\nTEA,80,main\n",
    ("partner", "/v1/partners/import"): "code,name,kind\nCHARLIE,Charlie,store\n",
    (
        "partner",
        "/v1/shops/import",
    ): "platform,shop_id,partner_code,channel,valid_from\npos,third,ALPHA,store,2026-01-01\n",
    ("order", "/v1/uploads"): TILL.format(n=77),
}


async def furnish(house: House) -> None:
    """Puts everything there."""
    call = house.call
    version = {"valid_from": "2026-01-01", "calendar": "month", "currency": "CNY", "shape": "marginal",
               "tiers": [{"lower_minor": 0, "rate_ppm": 20_000}, {"lower_minor": 20_000, "rate_ppm": 50_000}]}  # fmt: skip
    await call("incentive", "POST", "/v1/plans", {"code": "PLAN", "name": "Two percent, then five"})
    await call("incentive", "POST", "/v1/plans/PLAN/versions", version)
    await call("incentive", "POST", "/v1/plans/PLAN/versions/1/activate")
    await call("inventory", "POST", "/v1/items", {"sku": "TEA", "name": "Tea", "category_path": ["Drinks"]})
    await call("inventory", "PUT", "/v1/locations", {"code": "annex", "name": "Annex"})
    lines = [{"sku": "TEA", "quantity": "90"}, {"sku": "TEA", "location": "annex", "quantity": "9"}]
    await call("inventory", "POST", "/v1/receipts", {"lines": lines})
    await call("inventory", "POST", "/v1/adjustments",
               {"lines": [{"sku": "TEA", "quantity": "-1"}], "reason": "broken"})  # fmt: skip
    await call("inventory", "POST", "/v1/transfers",
               {"lines": [{"sku": "TEA", "source": "main", "destination": "annex", "quantity": "1"}]})  # fmt: skip
    await call("inventory", "POST", "/v1/availability", {"skus": ["TEA"]})
    for spare in ("one", "two"):
        await call("partner", "POST", "/v1/clients", {"name": spare, "scopes": ["orders:read"]})
    for n, who in enumerate(PARTNERS, 1):
        await _partner(house, n, who)
    await house.carry()
    for n, who in enumerate(PARTNERS, 1):
        await _orders(house, n, who)
        wish = {"lines": [{"sku": "TEA", "quantity": "1"}], "hold_seconds": 3600}
        made = await call("inventory", "POST", "/v1/reservations", wish, who=who)
        house.owned[who].add(made["reservation_id"])
    await house.carry()
    for who in PARTNERS:
        await _own(house, who)


async def _partner(house: House, n: int, who: str) -> None:
    call = house.call
    body = {"code": who.upper(), "name": who.title(), "kind": "distributor"}
    partner_id = (await call("partner", "POST", "/v1/partners", body))["partner_id"]
    contract = {"code": f"C-{n}", "partner_id": partner_id, "valid_from": BEGIN, "time_zone": "Asia/Shanghai",
                "plan_codes": ["PLAN"]}  # fmt: skip
    made = await call("partner", "POST", "/v1/contracts", contract)
    house.owned[who] |= {partner_id, made["contract_id"]}
    house.sent[-1] = "partner", "POST", "/v1/contracts", contract | {"code": "C-NEXT"}
    await call("partner", "POST", f"/v1/contracts/{made['contract_id']}/versions/1/approve")
    binding = {"partner_id": partner_id, "channel": "online", "valid_from": BEGIN}
    for platform in ("pos", "shopify"):
        await call("partner", "POST", f"/v1/shops/{platform}/{who}/bindings", binding)
    listing = {"platform": "shopify", "shop_id": who, "platform_sku": "TEA-OOLONG-250", "sku": "TEA"}
    await call("inventory", "PUT", "/v1/listings", listing)
    place = {"platform": "shopify", "shop_id": who, "location": "main"}
    await call("inventory", "PUT", "/v1/shop-locations", place)
    client = {"name": who, "scopes": SCOPES, "partner_id": partner_id}
    issued = await call("partner", "POST", "/v1/clients", client)
    client_id, secret = house.credentials[who] = issued["client_id"], issued["client_secret"]
    wanted = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    house.sent.append(("partner", "POST", "/v1/tokens", wanted))
    shop = {"platform": "shopify", "shop_id": who, "slug": who, "secret": f"secret-of-{who}"}
    await call("order", "POST", "/v1/connections", shop)


async def _orders(house: House, n: int, who: str) -> None:
    order = json.loads((FIXTURES / "shopify_order.json").read_text("utf-8")) | {"id": 7000 + n}
    for raw in (json.dumps(order).encode(), b"no order at all"):  # the second one ends in quarantine
        signature = base64.b64encode(hmac.digest(f"secret-of-{who}".encode(), raw, "sha256")).decode()
        headers = {"x-shopify-topic": "orders/create", "x-shopify-hmac-sha256": signature}
        answer = await house.ask("order", "POST", f"/webhooks/shopify/{who}", content=raw, headers=headers)
        assert answer.status_code == 200, answer.text
    till = {"content": TILL.format(n=n).encode(), "headers": {"content-type": "text/csv"}}
    await house.call("order", "POST", "/v1/uploads", params={"shop_id": who}, **till)


async def _own(house: House, who: str) -> None:
    """Notes whose the orders and the cells are, as staff sees them."""
    orders = await house.call("order", "GET", "/v1/orders", params={"shop_id": who})
    mine = [order["order_id"] for order in orders["items"]]
    accruals = await house.call("incentive", "GET", "/v1/accruals", params={"limit": 200})
    cells = [cell["cell_id"] for cell in accruals["items"] if cell["partner_id"] in house.owned[who]]
    assert len(mine) == len(cells) == 2, (mine, cells)
    house.owned[who].update(mine, cells)
