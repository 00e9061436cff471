"""What must stand before the day begins: partners, contracts, plans, products, places, stock, connections.

Everything goes through the services' HTTP APIs, and what is there already stays: a second day finds the first one's
stage. Secrets are drawn anew each time and known to the player only.
"""

import base64
import secrets
from dataclasses import dataclass
from typing import Any

from qudao.client import Client, Refused
from qudao.day import catalog
from qudao.day.catalog import (
    BOUND_LATE,
    CONNECTED,
    IN_FORCE_AT,
    PARTNERS,
    PLANS,
    SHOPS,
    TIME_ZONE,
    Plan,
    Shop,
)
from qudao.day.moments import Day

GRACE_SECONDS = 3_600


class Unprepared(RuntimeError):
    """The stage could not be set; the message says what was refused."""


@dataclass
class Stage:
    """What the player has to know: partner ids by code, and each connected shop's secrets, newest first."""

    partners: dict[str, str]
    secrets: dict[Shop, list[str]]

    async def rotate(self, client: Client, shop: Shop) -> None:
        """Gives the shop another secret; the one before stays good for `GRACE_SECONDS`."""
        fresh = _secret(shop)
        path = f"/v1/connections/{shop.platform}/{shop.slug}/secrets"
        await client.post("order", path, {"secret": fresh, "grace_seconds": GRACE_SECONDS})
        self.secrets.setdefault(shop, []).insert(0, fresh)


async def set_stage(client: Client, day: Day) -> Stage:
    """Puts everything in place. Raises `Unprepared`, and `Refused` or `Unreachable` of the client."""
    await _import(client, "partner", "/v1/partners/import", catalog.partners_file())
    stage = Stage(
        {one["code"]: one["partner_id"] async for one in client.pages("partner", "/v1/partners")}, {}
    )
    for plan in PLANS:
        await _plan(client, plan)
    for partner in PARTNERS:
        await _contract(client, partner, stage.partners[partner.code])
    for shop in SHOPS:
        if shop != BOUND_LATE:
            await bind(client, shop, stage.partners[shop.partner])
    await _import(client, "inventory", "/v1/items/import", catalog.items_file())
    await _import(client, "inventory", "/v1/locations/import", catalog.locations_file())
    await _import(client, "inventory", "/v1/shop-locations/import", catalog.shop_locations_file())
    await _import(client, "inventory", "/v1/listings/import", catalog.listings_file())
    opening = [(sku, location, f"{quantity:f}") for sku, location, quantity in day.opening]
    await _import(
        client,
        "inventory",
        "/v1/stock/import",
        catalog.table("sku location quantity", opening),
        refusals=True,
    )
    for shop in CONNECTED:
        await _connect(client, stage, shop)
    return stage


async def bind(client: Client, shop: Shop, partner_id: str) -> None:
    """The shop sells for its partner, since the beginning of their contract."""
    path = f"/v1/shops/{shop.platform}/{shop.shop_id}/bindings"
    binding = {"partner_id": partner_id, "channel": shop.channel, "valid_from": IN_FORCE_AT, "replace": True}
    await client.post("partner", path, binding)


async def _import(client: Client, service: str, path: str, raw: bytes, *, refusals: bool = False) -> None:
    """`refusals`: a row may be refused, as an opening is on a shelf that has moved since."""
    report = await client.upload(service, path, raw)
    if report["refused"] and not refusals:
        raise Unprepared(f"{path} refused {report['refused']} rows: {report['refusals'][:3]}")


async def _plan(client: Client, plan: Plan) -> None:
    found = await _or_none(client, "incentive", f"/v1/plans/{plan.code}")
    if found is None:
        found = await client.post("incentive", "/v1/plans", {"code": plan.code, "name": plan.name})
    versions = found["versions"] or [
        await client.post("incentive", f"/v1/plans/{plan.code}/versions", plan.terms)
    ]
    if all(version["state"] == "draft" for version in versions):
        await client.post("incentive", f"/v1/plans/{plan.code}/versions/{versions[0]['version']}/activate")


async def _contract(client: Client, partner: catalog.Partner, partner_id: str) -> None:
    found = (await client.get("partner", "/v1/contracts", code=partner.contract_code))["items"]
    contract: dict[str, Any] = found[0] if found else {}
    if not contract:
        terms = {"valid_from": IN_FORCE_AT, "time_zone": TIME_ZONE, "plan_codes": list(partner.plans)}
        opened = {"code": partner.contract_code, "partner_id": partner_id, **terms}
        contract = await client.post("partner", "/v1/contracts", opened)
    if contract["versions"][0]["state"] == "draft":
        await client.post("partner", f"/v1/contracts/{contract['contract_id']}/versions/1/approve")


async def _connect(client: Client, stage: Stage, shop: Shop) -> None:
    secret = _secret(shop)
    wanted = {"platform": shop.platform, "shop_id": shop.shop_id, "slug": shop.slug, "secret": secret}
    try:
        await client.post("order", "/v1/connections", wanted)
    except Refused as refusal:
        if refusal.code != "connection-exists":
            raise
        await stage.rotate(client, shop)
    else:
        stage.secrets[shop] = [secret]


async def _or_none(client: Client, service: str, path: str) -> Any:
    try:
        return await client.get(service, path)
    except Refused as refusal:
        if refusal.status != 404:
            raise
        return None


def _secret(shop: Shop) -> str:
    """What the platform would show."""
    if shop.platform == "generic":
        return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    # WordPress keeps special characters as entities and signs with what they mean.
    return secrets.token_urlsafe(32) + ("&lt;&amp;&gt;" if shop.platform == "woocommerce" else "")
