"""`qudao audit`: does everything add up, across all services, by what lies in their databases?

Waits until events have reached everybody (or reports who lags), then checks every equation and the chain of
sealed blocks, prints each with its figures, and fails on a breach. Reads only.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
from rich.console import Console
from rich.table import Table

from order_svc.block.rules import GENESIS, seal
from order_svc.ledger.store import COLUMNS, entry
from qudao.equations import EQUATIONS, Databases, Finding, flow
from qudao.stack import SERVICES, Stack

QUIET_SECONDS = 60.0


def database_urls(stack: Stack | None) -> dict[str, str]:
    """Where each service's database is: the local stack's, or `QUDAO_<SERVICE>_DATABASE_URL` of the environment."""
    named = {service: os.environ.get(f"QUDAO_{service.upper()}_DATABASE_URL") for service in SERVICES}
    urls = {
        service: url or (stack.database_url(service, "owner") if stack else "")
        for service, url in named.items()
    }
    if missing := [service for service, url in urls.items() if not url]:
        raise ValueError(f"set QUDAO_{missing[0].upper()}_DATABASE_URL, or name a local stack with --data")
    return {service: url.replace("postgresql+asyncpg://", "postgresql://") for service, url in urls.items()}


@asynccontextmanager
async def connected(urls: Mapping[str, str]) -> AsyncIterator[Databases]:
    """A read-only connection to every service's database."""
    async with AsyncExitStack() as stack:
        found = {}
        for service, url in urls.items():
            connection = await asyncpg.connect(url, server_settings={"default_transaction_read_only": "on"})
            stack.push_async_callback(connection.close)
            found[service] = connection
        yield found


async def quiet(dbs: Databases, seconds: float = QUIET_SECONDS) -> bool:
    """Waits until nothing is on its way any more; False when it still is after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        settled = not await dbs["order"].fetchval("select count(*) from delivery where status = 'new'")
        settled = settled and not await dbs["order"].fetchval("select count(*) from ledger_unsealed")
        settled = settled and not await dbs["inventory"].fetchval("select count(*) from refill")
        if settled and all([finding.holds async for finding in flow(dbs)]):
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.2)


async def blocks(dbs: Databases) -> AsyncIterator[Finding]:
    """7. Blocks verify from the first to the head, and every entry is in one."""
    db = dbs["order"]
    wrong: list[str] = []
    previous, count, entries = GENESIS, 0, 0
    for block in await db.fetch("select * from ledger_block order by block_no"):
        rows = await db.fetch(
            f"select {COLUMNS} from ledger_block_entry m join ledger_entry e using (entry_id) "  # noqa: S608  constant columns
            "where m.block_no = $1 order by m.position",
            block["block_no"],
        )
        hashes = [entry(_Row(row)).entry_hash for row in rows]  # type: ignore[arg-type]
        count, entries = count + 1, entries + len(hashes)
        expected = seal(block["block_no"], previous, block["sealed_at"], hashes) if hashes else ("", "")
        stated = (block["merkle_root"], block["hash"])
        if block["block_no"] != count or block["prev_hash"] != previous or stated != expected:
            wrong.append(f"block {block['block_no']} does not say what it said")
        previous = block["hash"]
    outside = await db.fetchval(
        "select count(*) from ledger_entry e where not exists (select from ledger_block_entry m where m.entry_id = e.entry_id)"
    )
    if outside:
        wrong.append(f"{outside} entries are in no block")
    yield Finding(
        "7 blocks",
        "every entry is sealed, and the chain verifies",
        {"blocks": count, "entries": entries},
        len(wrong),
        tuple(wrong[:5]),
    )


class _Row:
    """A driver's row with attributes, as the service's own reader wants it."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.__dict__.update(row)


async def audit(
    urls: Mapping[str, str], console: Console, *, as_json: bool, wait: float = QUIET_SECONDS
) -> int:
    """Prints every equation with its figures; 0 when all hold, 1 otherwise."""
    async with connected(urls) as dbs:
        if not as_json:
            console.print("Waiting until every event has arrived …", style="dim")
        settled = await quiet(dbs, wait)
        findings = [finding for equation in (*EQUATIONS, blocks) async for finding in equation(dbs)]
    clean = all(finding.holds for finding in findings)
    if as_json:
        report = {"clean": clean, "settled": settled, "findings": [_plain(finding) for finding in findings]}
        print(json.dumps(report, default=str, ensure_ascii=False))
        return 0 if clean else 1
    table = Table("equation", "what must be equal", "figures", "", title="Audit")
    for finding in findings:
        figures = "  ".join(f"{key} {value}" for key, value in finding.figures.items())
        table.add_row(
            finding.equation, finding.name, figures, "[green]holds[/]" if finding.holds else "[red]BREACH[/]"
        )
    console.print(table)
    for finding in findings:
        for example in finding.examples if not finding.holds else ():
            console.print(f"[red]{finding.equation}[/] {finding.name}: {example}")
    if not settled:
        console.print(f"[yellow]Events were still on their way after {wait:.0f} s; see equation 6.[/]")
    console.print("[green]Everything adds up.[/]" if clean else "[red]Something does not add up.[/]")
    return 0 if clean else 1


def _plain(finding: Finding) -> dict[str, Any]:
    return {
        "equation": finding.equation,
        "name": finding.name,
        "holds": finding.holds,
        "breaches": finding.breaches,
        "figures": dict(finding.figures),
        "examples": list(finding.examples),
    }
