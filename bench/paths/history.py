"""Does it slow down with what it has stored? Intake and drain on an empty database and on one with a long history.

Both sides are the product's own transactions: `record` (T1) for deliveries that never came before, then `drain` (T2)
until nothing is left. The history is made of rows that the product wrote, copied under new ids; nothing else differs.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Final

from bench.lab import Lab, Options, name_of
from bench.measure import Cpu, Figure, Incorrect, Sample, Side, Tell, interleave
from bench.paths.drain import RECORD, OwnCpu, backlog, drain, prepared, settle_heap
from channel_kit.database import WORKER, Database
from order_svc.block.actions import seal_next
from order_svc.intake import actions
from order_svc.intake.store import Incoming

MODEL: Final = 500
_ORDERS: Final = 1_500
_TIMES: Final = 10
_SMALL: Final = 4

# What identifies rows; each copy gets its own. Everything else stays what the product wrote.
_IDS: Final = (
    *("delivery_id", "cause_delivery_id", "order_id", "aggregate_id", "revision_id", "event_id"),
    *("entry_id", "reverses_entry_id", "origin_entry_id"),
)
_TEXTS: Final = ("platform_order_id", "number", "message_id")
_KEYS: Final = ("dedupe_key", "body_sha256")
_TABLES: Final = (
    *("delivery", "delivery_key", "order_head", "order_line", "order_revision", "refund", "ledger_entry"),
    *("ledger_block_entry", "outbox"),
)


async def measure(lab: Lab, options: Options, tell: Tell) -> list[Figure]:
    """Orders a second through intake and drain, with ten times the stored history against an empty database."""
    batch = _ORDERS // 10 if options.small else _ORDERS
    copies = _SMALL if options.small else options.rounds * batch * _TIMES // MODEL
    history = await _model(lab)
    began = time.monotonic()
    await _multiply(lab, name_of(history), copies)
    stored = int(await lab.value("select count(*) from order_head", name_of(history)))
    size = await lab.value("select pg_size_pretty(pg_database_size(current_database()))", name_of(history))
    tell(f"{stored:,} orders of history, {size}, in {time.monotonic() - began:.0f} s")
    empty = await prepared(lab, [])
    taken = _Orders(batch)
    settle_heap()
    sides: Mapping[str, Side] = {
        "empty": lambda: _run(lab, empty, taken.next()),
        "history": lambda: _run(lab, history, taken.next()),
    }
    found = await interleave(sides, options.rounds, tell)
    new = options.rounds * batch
    return [
        Figure.compare(
            f"intake and drain on {stored:,} stored orders",
            found["history"].rate,
            "orders/s",
            f"the same on an empty database ({new:,} at the end)",
            found["empty"].rate,
            ">= 0.9",
            sample=found["history"],
            note=f"{size} of history",
        )
    ]


class _Orders:
    """Deliveries that never came before, a batch at a time."""

    def __init__(self, batch: int) -> None:
        self._batch, self._made = batch, MODEL

    def next(self) -> list[Incoming]:
        first, self._made = self._made, self._made + self._batch
        return backlog(self._made)[first:]


async def _run(lab: Lab, database: Database, orders: Sequence[Incoming]) -> Sample:
    before = await lab.value("select count(*) from order_head", name_of(database))
    with Cpu(lab.pids) as cpu, OwnCpu() as own:
        for at in range(0, len(orders), RECORD):
            await actions.record(database, orders[at : at + RECORD])
        await drain(database)
    after = await lab.value("select count(*) from order_head", name_of(database))
    if after - before != len(orders):
        raise Incorrect(f"{len(orders)} deliveries became {after - before} orders")
    spent = {"postgres": cpu.each(len(orders))["postgres"], "client": own.seconds / len(orders)}
    return Sample(len(orders) / cpu.seconds, cpu=spent)


async def _model(lab: Lab) -> Database:
    """A database with a few hundred orders taken in, sealed and published."""
    database = await prepared(lab, backlog(MODEL))
    await drain(database)
    while await database.transact(WORKER, seal_next):
        pass
    await lab.admin("delete from outbox_pending", name_of(database))
    return database


async def _multiply(lab: Lab, name: str, copies: int) -> None:
    """Copies every row of every table that grows, `copies` times, under new ids, in one transaction."""
    async with lab.connect(name) as connection, connection.transaction():
        await connection.execute(
            "set local session_replication_role = replica"
        )  # the rows are consistent as they are
        for table in _TABLES:
            rows = await connection.fetch(
                "select attname::text as name, attidentity <> '' as made from pg_attribute "
                "where attrelid = $1::regclass and attnum > 0 and not attisdropped and attgenerated = ''",
                table,
            )
            columns = [row["name"] for row in rows if not row["made"]]
            chosen = ", ".join(f"{_copied(column)} as {column}" for column in columns)
            await connection.execute(
                f"insert into {table} ({', '.join(columns)}) "  # noqa: S608  our own names
                f"select {chosen} from {table} t cross join generate_series(1, {copies}) copy"
            )
    await lab.admin("vacuum analyze", name)
    await lab.admin("checkpoint")


def _copied(column: str) -> str:
    if column in _IDS:
        # The same id becomes the same new id in every table; its first bits, the time, stay.
        return f"(left(t.{column}::text, 15) || substr(md5(t.{column}::text || copy), 14, 19))::uuid"
    if column in _TEXTS:
        return f"t.{column} || '-' || copy"
    if column in _KEYS:
        return f"sha256(t.{column} || copy::text::bytea)"
    if column == "position":
        return "t.position + copy * 1000000"
    return f"t.{column}"
