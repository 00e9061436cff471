"""Looks into a stack that has come to rest: what is stored, posted, moved, sent and parked; and lets the audit judge.

Asks the servers directly. The planted poison is counted first and then taken away again, since nobody ever produced it
and the audit would rightly complain.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal

import asyncpg

from channel_events.catalog import head
from channel_events.topics import TOPICS
from channel_kit.testing.broker import read_topic
from qudao import audit as auditing
from qudao.equations import CONSUMERS, EQUATIONS
from qudao.stack import SERVICES

from .check import Seen, Sent, Stored
from .poison import is_poison
from .recovery import ABSENT
from .rig import Rig
from .world import OrderKey

QUIET_SECONDS = 60.0

_STORED = (
    "select platform, shop_id, topic, message_id, encode(body_sha256, 'hex') as sha256, status from delivery"
)
_ENTRIES = """
select h.platform, h.shop_id, h.platform_order_id, e.kind,
  coalesce(sum(e.quantity) filter (where e.line_kind = 'product'), 0) as units,
  coalesce(sum(e.net_minor) filter (where e.line_kind <> 'platform_fee'), 0)::bigint as money
from ledger_entry e join order_head h using (order_id) group by 1, 2, 3, 4
"""
_EFFECTS = {
    "inventory": """
        select case kind when 'receipt' then 'receive' else 'adjust' end as op, reason as mark, count(*) as rows
        from movement where reason like 'chaos-%' group by 1, 2
        union all select 'reserve', order_id::text, 1 from reservation where source = 'api'
        """,
    "partner": "select 'register' as op, code as mark, count(*) as rows from partner where code like 'chaos-%' group by 2",
}


async def observe(rig: Rig, tell: Callable[[str], None]) -> Seen:
    """Waits until everything is quiet, then looks at all of it."""
    began = time.monotonic()
    seen = Seen()
    _, planted = await _topics(rig)  # what relays still have comes later, but no more poison
    expected = sum(len(CONSUMERS[topic]) for topic, _ in planted)
    seen.parked = await _parked(rig, expected, began + QUIET_SECONDS)
    tell(f"parked {len(seen.parked)} times after {time.monotonic() - began:.1f} s")
    await _take_poison_away(rig)
    async with auditing.connected({service: rig.database_url(service) for service in SERVICES}) as dbs:
        seen.settled = await auditing.quiet(dbs, max(5.0, began + QUIET_SECONDS - time.monotonic()))
        tell(f"{'quiet' if seen.settled else 'NOT quiet'} after {time.monotonic() - began:.1f} s; the audit")
        seen.findings = [
            finding for equation in (*EQUATIONS, auditing.blocks) async for finding in equation(dbs)
        ]
        seen.stored = [Stored(*row) for row in await dbs["order"].fetch(_STORED)]
        entries: dict[OrderKey, dict[str, tuple[Decimal, int]]] = {}
        for row in await dbs["order"].fetch(_ENTRIES):
            entries.setdefault(OrderKey(*row[:3]), {})[row["kind"]] = row["units"], row["money"]
        seen.entries = entries
        effects: Counter[tuple[str, str]] = Counter()
        for service, sql in _EFFECTS.items():
            for row in await dbs[service].fetch(sql):
                effects[row["op"], row["mark"]] += row["rows"]
        seen.effects = effects
    seen.sent, seen.planted = await _topics(rig)
    return seen


async def _topics(rig: Rig) -> tuple[list[Sent], list[tuple[str, str]]]:
    """Every event on every topic, and the poison apart."""
    sent: list[Sent] = []
    planted: list[tuple[str, str]] = []
    for topic in TOPICS:
        for record in await read_topic(rig.stack.kafka, topic):
            if is_poison(record.value):
                planted.append((topic.name, (record.value or b"").decode()))
                continue
            said = head(record.value)
            assert said is not None, f"somebody sent what is no event: {record}"
            aggregate = f"{said.aggregate_type}/{said.aggregate_id}"
            sent.append(Sent(topic.name, aggregate, said.aggregate_version, str(said.id)))
    return sent, planted


async def _parked(rig: Rig, expected: int, deadline: float) -> list[tuple[str, str]]:
    """What is parked anywhere, once it is as many as there should be, or when the time is over."""
    while True:
        found: list[tuple[str, str]] = []
        with suppress(*ABSENT):
            for service in SERVICES:
                async with rig.database(service) as db:
                    found += [tuple(row) for row in await db.fetch("select consumer, event from parked")]
            if len(found) == expected or time.monotonic() > deadline:
                return found
        await asyncio.sleep(0.5)


async def _take_poison_away(rig: Rig) -> None:
    """Forgets the planted events, and the marks that were made for their aggregates."""
    for service in SERVICES:
        async with rig.database(service) as db:
            rows = await db.fetch("select aggregate_id, event from parked")
            ours = [row["aggregate_id"] for row in rows if is_poison(row["event"])]
            await db.execute("delete from parked where aggregate_id = any($1)", ours)
            await db.execute("delete from watermark where aggregate_id = any($1) and last_version = 0", ours)


async def slice_of(rig: Rig, key: str) -> list[str]:
    """The rows that say most about one order: its head, its deliveries, its entries."""
    parts = key.split("/", 2)
    found: list[str] = []
    if len(parts) < 3:
        return found
    queries = (
        "select h.* from order_head h where (platform, shop_id, platform_order_id) = ($1, $2, $3)",
        "select d.delivery_id, d.topic, d.message_id, d.status, d.outcome, d.reason, d.received_at, d.settled_at "
        "from delivery d join order_head h using (order_id) "
        "where (h.platform, h.shop_id, h.platform_order_id) = ($1, $2, $3) order by d.received_at",
        "select e.entry_id, e.line_no, e.line_kind, e.kind, e.quantity, e.net_minor, e.cause_delivery_id, "
        "e.reverses_entry_id from ledger_entry e join order_head h using (order_id) "
        "where (h.platform, h.shop_id, h.platform_order_id) = ($1, $2, $3) order by e.entry_id",
    )
    with suppress(*ABSENT, asyncpg.PostgresError):
        async with rig.database("order") as db:
            for sql in queries:
                found += [
                    str({k: str(v)[:160] for k, v in row.items() if v is not None})
                    for row in await db.fetch(sql, *parts)
                ]
    return found
