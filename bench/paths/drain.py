"""A backlog of recorded deliveries becomes orders, ledger entries and events: the product's drain, and what of it
is not Python.

Ours is `intake.actions.drain` until nothing is left. The reference plays the same statements with the same arguments,
taped once, so what lies between the two is reading, deciding and wording. Both are said per core: orders a second
that client and PostgreSQL spend together. `backlog` and `prepared` also serve other paths.
"""

import gc
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid5

from bench.bodies import body, template
from bench.lab import Lab, Options
from bench.measure import Cpu, Figure, Incorrect, Sample, Tell, interleave
from bench.twins import drain as twin
from channel_events import catalog
from channel_events.envelope import Event
from channel_events.inventory import ItemBody
from channel_events.partner import SHOP_NAMESPACE, Binding, ShopBody, shop_aggregate_id
from channel_kit.database import WORKER, Database
from channel_kit.ids import uuid7
from channel_kit.process import GC_THRESHOLDS
from order_svc.feeds import inventory, partner
from order_svc.intake import actions
from order_svc.intake.store import Incoming
from order_svc.service import SERVICE

ORDERS: Final = 2_000
ORDERS_SMALL: Final = 200
SHOPS: Final = 10
SKUS: Final = 12
LINES: Final = 3
RECORD: Final = 200
PLACED: Final = datetime(2026, 3, 2, 2, tzinfo=UTC)
TOPIC: Final = "orders/paid"
_TABLES: Final = (
    *("delivery", "delivery_key", "order_head", "order_line", "order_revision", "refund", "ledger_entry"),
    *("ledger_unsealed", "outbox", "outbox_pending"),
)


async def measure(lab: Lab, options: Options, tell: Tell) -> list[Figure]:
    """Orders a second and per core, ours beside the same statements alone; what an order costs in either part."""
    orders = backlog(ORDERS_SMALL if options.small else ORDERS)
    taped, rows = await _tape(lab, orders)
    tell(
        f"drain: {len(taped)} transactions, {sum(map(len, taped))} statements taped, {sum(rows.values())} rows"
    )
    settle_heap()
    sides = await interleave(
        {"drain": lambda: _ours(lab, orders, rows), "statements": lambda: _raw(lab, orders, taped, rows)},
        options.rounds,
        tell,
    )
    ours, raw = sides["drain"], sides["statements"]
    note = f"{LINES} lines an order; {_split('drain', ours)}; {_split('statements', raw)}"
    return [
        Figure.compare(
            "drain, per core",
            _per_core(ours),
            "orders/s/core",
            "its own statements without Python",
            _per_core(raw),
            ">= 0.4",
            sample=ours,
            note=note,
        ),
        Figure.compare(
            "drain, one process", ours.rate, "orders/s", "its own statements without Python", raw.rate
        ),
    ]


def _per_core(sample: Sample) -> float:
    return 1 / sum((sample.cpu or {}).values())


def _split(name: str, sample: Sample) -> str:
    parts = [f"{kind} {seconds * 1e6:,.0f} µs" for kind, seconds in sorted((sample.cpu or {}).items())]
    return f"{name} an order: {', '.join(parts)}"


async def _tape(lab: Lab, orders: Sequence[Incoming]) -> tuple[list[list[twin.Call]], dict[str, int]]:
    """The statements of one whole drain, and the rows they leave behind."""
    database = await prepared(lab, orders)
    tape = twin.Tape(database)
    await drain(tape)
    rows = await _rows(database)
    if rows["order_head"] != len(orders) or rows["ledger_entry"] != len(orders) * LINES * 2:
        raise Incorrect(f"{len(orders)} deliveries became {rows}")
    await tape.close()
    await database.close()
    return [calls for calls in tape.transactions if len(calls) > 1], rows


async def _ours(lab: Lab, orders: Sequence[Incoming], rows: Mapping[str, int]) -> Sample:
    database = await prepared(lab, orders)
    with Cpu(lab.pids) as cpu, OwnCpu() as own:
        await drain(database)
    await _same(database, rows)
    await database.close()
    return _sample(len(orders), cpu, own)


async def _raw(
    lab: Lab, orders: Sequence[Incoming], taped: list[list[twin.Call]], rows: Mapping[str, int]
) -> Sample:
    database = await prepared(lab, orders)
    connection = await twin.connect(database)
    with Cpu(lab.pids) as cpu, OwnCpu() as own:
        await twin.play(connection, taped)
    await connection.close()
    await _same(database, rows)
    await database.close()
    return _sample(len(orders), cpu, own)


def _sample(orders: int, cpu: Cpu, own: "OwnCpu") -> Sample:
    return Sample(
        orders / cpu.seconds, cpu={"postgres": cpu.each(orders)["postgres"], "client": own.seconds / orders}
    )


def settle_heap() -> None:
    """What a process of ours does after its start, so that what lies in memory here is not walked again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


class OwnCpu:
    """CPU seconds of this process alone; its servers are its children, so counting its tree would count them too."""

    seconds = 0.0

    def __enter__(self) -> "OwnCpu":
        self._began = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.process_time() - self._began


async def drain(database: Database) -> None:
    """Until nothing is left."""
    while await actions.drain(database):
        pass


async def _rows(database: Database) -> dict[str, int]:
    async with database.read(WORKER) as tx:
        counts = {table: int(await tx.value(f"select count(*) from {table}")) for table in _TABLES}  # noqa: S608
        settled = await tx.value("select count(*) from delivery where status = 'applied'")
    return {**counts, "applied": int(settled)}


async def _same(database: Database, rows: Mapping[str, int]) -> None:
    if (found := await _rows(database)) != rows:
        raise Incorrect(f"another run of the same drain left {found}, not {rows}")


async def prepared(lab: Lab, orders: Sequence[Incoming]) -> Database:
    """A fresh database of order-svc that knows shops and products and has recorded these deliveries."""
    database = await lab.database(SERVICE)
    since = PLACED - timedelta(days=365)
    bound = [
        event(
            catalog.PARTNER_SHOP_BOUND,
            shop_aggregate_id("shopify", shop_of(n)),
            ShopBody(
                platform="shopify",
                shop_id=shop_of(n),
                bindings=(Binding(partner_id=partner_of(n), channel="online", valid_from=since),),
            ),
        )
        for n in range(SHOPS)
    ]
    products = [
        event(
            catalog.INVENTORY_ITEM_REGISTERED,
            uuid7(),
            ItemBody(sku=sku_of(n), name=sku_of(n), uom="pcs", quantity_scale=0),
        )
        for n in range(SKUS)
    ]
    await database.transact(WORKER, lambda tx: inventory.handle(tx, products))
    await database.transact(WORKER, lambda tx: partner.handle(tx, bound))
    for at in range(0, len(orders), RECORD):
        await actions.record(database, orders[at : at + RECORD])
    return database


def backlog(count: int) -> list[Incoming]:
    """That many deliveries as intake records them: a paid order of three lines each."""
    templates = [template([sku_of(first + n) for n in range(LINES)], PLACED) for first in range(SKUS)]
    headers = json.dumps({"x-shopify-topic": TOPIC, "content-type": "application/json"})
    found = []
    for number in range(count):
        raw = body(templates[number % SKUS], number)
        digest = hashlib.sha256(raw).digest()
        found.append(
            Incoming(
                uuid7(),
                "shopify",
                shop_of(number % SHOPS),
                TOPIC,
                None,
                digest,
                b"",
                digest,
                raw,
                headers,
                None,
                PLACED + timedelta(milliseconds=number),
            )
        )
    return found


def partner_of(shop: int) -> UUID:
    """The partner that the shop of this number sells for."""
    return uuid5(SHOP_NAMESPACE, f"partner {shop}")


def shop_of(number: int) -> str:
    """The id of a shop."""
    return f"shop-{number}"


def sku_of(number: int) -> str:
    """One of a few products."""
    return f"SKU-{number % SKUS:02}"


def event(kind: str, aggregate_id: UUID, said: Any) -> Event[Any]:
    """The first event of an aggregate, as another service would have announced it."""
    return catalog.envelope_class(kind)(
        id=uuid7(),
        source="/qudao/bench",
        type=kind,
        subject=str(aggregate_id),
        time=PLACED,
        aggregatetype=catalog.CATALOG[kind].aggregate_type,
        aggregateversion=1,
        correlationid=uuid7(),
        data=said,
    )
