"""A whole stack as `qudao up` runs it, and what must stand in it before orders come: partners, plan, shops, products.

Everything goes through the services' HTTP APIs, with the client of the command line. The stack has a PostgreSQL and
a broker of its own; the server keeps commit times, so that what became visible when can be asked afterwards.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from bench.bodies import CURRENCY, Target
from channel_kit.local.postgres import LocalPostgres
from channel_kit.local.server import port_is_free
from qudao.client import Client
from qudao.stack import DEFAULT_PORTS, Stack

PARTNERS: Final = 4
SHOPS: Final = 8
SKUS: Final = 60
STOCK: Final = "100000000"
IN_FORCE_AT: Final = "2026-01-01T00:00:00+08:00"
PLAN: Final = "growth"
_TIERS: Final = ((0, 20_000), (50_000_000, 30_000), (200_000_000, 50_000))
_READY: Final = "Ctrl-C stops"
_START_SECONDS_MAX: Final = 240
_STOP_SECONDS_MAX: Final = 60
_PORTS: Final = range(15_000, 32_000)


@asynccontextmanager
async def stack_up(data: Path) -> AsyncIterator[Stack]:
    """`qudao up` in a process of its own, stopped at the end. Raises RuntimeError with its words when it fails."""
    await asyncio.to_thread(_prepare, data)
    log = data / "up.log"
    process = await asyncio.to_thread(_spawn, data, log)
    try:
        deadline = time.monotonic() + _START_SECONDS_MAX
        while _READY not in (said := await asyncio.to_thread(log.read_text, errors="replace")):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"qudao up is not ready: {said[-3000:]}")
            await asyncio.sleep(0.1)
        yield Stack.open(data)
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, _STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _spawn(data: Path, log: Path) -> "subprocess.Popen[bytes]":
    # Its servers are its own: named ones would be somebody else's, with what lies in them.
    own = {name: value for name, value in os.environ.items() if name not in ("QUDAO_KAFKA", "QUDAO_POSTGRES")}
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "qudao.main", "up", "--data", str(data)],
            env={**own, "COLUMNS": "200", "QUDAO_LOG_LEVEL": "WARNING"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _prepare(data: Path) -> None:
    """Ports beside the usual ones, and a database server that remembers when each transaction was committed."""
    data.mkdir(parents=True, mode=0o700)
    free = (port for port in random.sample(_PORTS, 2_000) if port_is_free(port))
    ports = {name: next(free) for name in DEFAULT_PORTS}
    (data / "stack.json").write_text(json.dumps({"ports": ports}))
    server = LocalPostgres(data / "postgres", ports["postgres"])
    server.prepare()
    with (server.data / "postgresql.auto.conf").open("a") as settings:
        settings.write("track_commit_timestamp = on\n")


def skus() -> list[str]:
    """The products; shops use the same codes."""
    return [f"SKU-{number:04}" for number in range(SKUS)]


async def furnish(stack: Stack) -> list[Target]:
    """Puts everything in place and waits until every service knows it; where orders may be sent."""
    async with Client.connect(stack) as client:
        await client.post("incentive", "/v1/plans", {"code": PLAN, "name": "Growth"})
        await client.post("incentive", f"/v1/plans/{PLAN}/versions", _terms())
        await client.post("incentive", f"/v1/plans/{PLAN}/versions/1/activate")
        partners = [await _partner(client, number) for number in range(PARTNERS)]
        targets = [await _shop(client, number, partners[number % PARTNERS]) for number in range(SHOPS)]
        items = "sku,name,uom,quantity_scale\n" + "".join(f"{sku},Product {sku},pcs,0\n" for sku in skus())
        await _import(client, "/v1/items/import", items)
        stock = "sku,location,quantity\n" + "".join(f"{sku},main,{STOCK}\n" for sku in skus())
        await _import(client, "/v1/stock/import", stock)
    return targets


def _terms() -> dict[str, Any]:
    return {
        "valid_from": "2026-01-01",
        "calendar": "month",
        "currency": CURRENCY,
        "shape": "marginal",
        "recognition": "paid",
        "tiers": [{"lower_minor": lower, "rate_ppm": rate} for lower, rate in _TIERS],
    }


async def _partner(client: Client, number: int) -> str:
    named = {"code": f"P-{number}", "name": f"Partner {number}", "kind": "distributor"}
    partner_id = str((await client.post("partner", "/v1/partners", named))["partner_id"])
    terms = {"valid_from": IN_FORCE_AT, "time_zone": "Asia/Shanghai", "plan_codes": [PLAN]}
    contract = await client.post(
        "partner", "/v1/contracts", {"code": f"C-{number}", "partner_id": partner_id, **terms}
    )
    await client.post("partner", f"/v1/contracts/{contract['contract_id']}/versions/1/approve")
    return partner_id


async def _shop(client: Client, number: int, partner_id: str) -> Target:
    slug, secret = f"shop-{number}", f"the secret of shop {number}"
    connection = {"platform": "shopify", "shop_id": slug, "slug": slug, "secret": secret}
    await client.post("order", "/v1/connections", connection)
    binding = {"partner_id": partner_id, "channel": "online", "valid_from": IN_FORCE_AT, "replace": True}
    await client.post("partner", f"/v1/shops/shopify/{slug}/bindings", binding)
    return Target(f"/webhooks/shopify/{slug}", secret)


async def _import(client: Client, path: str, table: str) -> None:
    report = await client.upload("inventory", path, table.encode())
    if report["refused"]:
        raise RuntimeError(f"{path} refused {report['refused']} rows: {report['refusals'][:3]}")
