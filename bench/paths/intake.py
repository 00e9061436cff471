"""Intake: a signed webhook is durable when it is answered. The product's own `api` process, nothing drained.

Sides of one run: the product; the plain way (`twins.orm`); PostgreSQL alone with the same two rows, by six round
trips, by one statement and by one statement for a hundred; and PostgreSQL alone with a whole order in six
statements, which is the reference of the goals. Ends with kill -9 of server and process under load: what was
acknowledged must be there.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.bodies import Target, template
from bench.lab import Lab, Options, name_of
from bench.load import Job, Load, fire
from bench.measure import Figure, Incorrect, Sample, Side, Tell, interleave
from bench.twins import raw
from channel_kit.database import STAFF, Database
from channel_kit.testing.processes import Child, running
from channel_kit.vault import Vault
from order_svc.connection.actions import connect
from order_svc.service import SERVICE

SHOP: Final = "shop.example"
TARGET: Final = Target("/webhooks/shopify/shop", "the secret of the shop")
CLIENTS: Final = 32
_PER_SECOND_MAX: Final = 16_000
_PLAIN_PER_SECOND_MAX: Final = 2_500
_PGBENCH: Final = {
    "pgbench, whole order, 6 statements": raw.SIX_STATEMENTS,
    "pgbench, same rows, 6 round trips": raw.SIX_ROUND_TRIPS,
    "pgbench, same rows, 1 statement": raw.ONE_STATEMENT,
    "pgbench, same rows, 100 a statement, 8 clients": raw.BATCH_100,
}
SIX: Final = "pgbench, whole order, 6 statements"


def templates() -> list[bytes]:
    """Paid orders of three lines, as they arrive now."""
    skus = [f"SKU-{number:04}" for number in range(60)]
    return [template(skus[at : at + 3], datetime.now(UTC)) for at in range(0, 60, 3)]


async def connected(database: Database) -> None:
    """One connected Shopify shop, by the product's own action."""
    vault = Vault(database.settings.secret_key)
    async with database.write(STAFF) as tx:
        await connect(tx, vault, "shopify", SHOP, "shop", TARGET.secret)


@asynccontextmanager
async def api(database: Database) -> AsyncIterator[Child]:
    """The product's own process, as it is run anywhere: `python -m order_svc api`."""
    async with running(("-m", "order_svc", "api"), database.settings) as child:
        await child.ready()
        yield child


@asynccontextmanager
async def plain(database: Database, url: str) -> AsyncIterator[Child]:
    """The twin, on a database of its own."""
    words = {
        "TWIN_DATABASE_URL": url,
        "TWIN_SECRET": TARGET.secret,
        "TWIN_SHOP": SHOP,
        "PYTHONPATH": os.getcwd(),
    }
    async with running(("-m", "bench.twins.orm"), database.settings, **words) as child:
        await child.ready()
        yield child


class Sender:
    """Sends numbers that were never sent before to one process."""

    def __init__(self, lab: Lab, child: Child, per_second_max: int) -> None:
        self._lab, self._child, self._most = lab, child, per_second_max
        self._first, self._templates = 0, templates()
        self.accepted = 0

    def job(self, clients: int, seconds: float, numbers: Path | None = None) -> Job:
        """A closed loop of `clients`, with more requests than can be sent in that time."""
        count = int(self._most * seconds) + 1_000
        first, self._first = self._first, self._first + count
        targets = [TARGET]
        return Job(
            self._child.port, targets, self._templates, first, count, clients, seconds, numbers=numbers
        )

    def side(self, clients: int, seconds: float) -> Side:
        """Measures once; raises when anything but 200 was answered."""

        async def measure() -> Sample:
            outcome, sample = await fire(
                self.job(clients, seconds), {"service": [self._child.process.pid], **self._lab.pids}
            )
            if outcome.refused or outcome.broken:
                raise Incorrect(
                    f"deliveries were not accepted: {outcome.refused}, {outcome.broken} connections broke"
                )
            self.accepted += outcome.acknowledged
            return sample

        return measure


async def measure(lab: Lab, options: Options, tell: Tell) -> list[Figure]:
    async with AsyncExitStack() as stack:
        ours, twin, bare = [await lab.database(SERVICE) for _ in range(3)]
        for database in (ours, twin, bare):
            await connected(database)
        whole = await lab.scratch(raw.ORDER_SCHEMA)
        twin_url = lab.url(name_of(twin)).replace("postgresql://", "postgresql+asyncpg://")
        product = Sender(lab, await stack.enter_async_context(api(ours)), _PER_SECOND_MAX)
        orm = Sender(lab, await stack.enter_async_context(plain(twin, twin_url)), _PLAIN_PER_SECOND_MAX)

        def bench(name: str, clients: int, seconds: float) -> Side:
            where = whole if name == SIX else name_of(bare)
            return lambda: lab.pgbench(_PGBENCH[name], clients, seconds, where)

        seconds = options.seconds
        many = {
            "qudao": product.side(CLIENTS, seconds),
            SIX: bench(SIX, CLIENTS, seconds),
            "FastAPI + ORM": orm.side(CLIENTS, seconds),
            **{name: bench(name, _clients(name), max(1, seconds / 2)) for name in _PGBENCH if name != SIX},
        }
        found = await interleave(many, options.rounds, tell)
        one = "pgbench, same rows, 1 statement"
        single = {"qudao, 1 client": product.side(1, seconds / 2), one: bench(one, 1, seconds / 2)}
        alone = await interleave(single, options.rounds, tell)
        for database, sender in ((ours, product), (twin, orm)):
            stored = await lab.value("select count(*) from delivery", name_of(database))
            if stored != sender.accepted:
                raise Incorrect(f"{sender.accepted} deliveries were accepted and {stored} are stored")
        figures = _figures(found, alone["qudao, 1 client"], alone[one])
    return [*figures, await killed(lab, options, tell)]


def _clients(name: str) -> int:
    # A hundred rows a statement keep the server busy with few clients; more of them only queue.
    return 8 if _PGBENCH[name] is raw.BATCH_100 else CLIENTS


def _figures(found: dict[str, Sample], ours_alone: Sample, one_alone: Sample) -> list[Figure]:
    ours, six, orm = found["qudao"], found[SIX], found["FastAPI + ORM"]
    figures = [
        Figure.compare("intake, 32 clients", ours.rate, "/s", "FastAPI + ORM", orm.rate, ">= 20", sample=ours),
        Figure.compare("intake, 32 clients", ours.rate, "/s", SIX, six.rate, ">= 1.5"),
        Figure.compare("intake, 32 clients, p99", ours.p99_ms or 0, "ms", f"{SIX}, p99", six.p99_ms or 0, "<= 0.6"),
        Figure.compare(
            "intake, 1 client, p50",
            ours_alone.p50_ms or 0,
            "ms",
            "pgbench, same rows, 1 statement, p50",
            one_alone.p50_ms or 0,
            "<= 3",
            sample=ours_alone,
        ),
        Figure.compare(
            "intake, CPU of the service", 1 / (ours.cpu or {})["service"], "/CPU s", "FastAPI + ORM",
            1 / (orm.cpu or {})["service"],
        ),
    ]  # fmt: skip
    for name in list(_PGBENCH)[1:]:
        rate = found[name].rate * (100 if _PGBENCH[name] is raw.BATCH_100 else 1)
        figures.append(Figure.compare("intake, 32 clients", ours.rate, "/s", name, rate))
    return figures


async def killed(lab: Lab, options: Options, tell: Tell) -> Figure:
    """kill -9 of PostgreSQL, then of the process that answers, both under load; counts what was acknowledged and is
    not there."""
    database, numbers = await lab.database(SERVICE), lab.folder / "acknowledged"
    await connected(database)
    seconds, acknowledged = max(2.0, options.seconds), list[int]()
    async with running(("-m", "order_svc", "api"), database.settings) as child:
        await child.ready()
        sender = Sender(lab, child, _PER_SECOND_MAX)
        async with Load(sender.job(CLIENTS, seconds, numbers)) as load:
            running_load = asyncio.create_task(load.run())
            await asyncio.sleep(seconds / 3)
            lab.kill_postgres()
            lab.restart_postgres()
            await running_load
        acknowledged += _read(numbers)
        after_server = len(acknowledged)
        await child.ready()
        async with Load(sender.job(CLIENTS, seconds, numbers)) as load:
            running_load = asyncio.create_task(load.run())
            await asyncio.sleep(seconds / 3)
            child.send(signal.SIGKILL)
            await running_load
        acknowledged += _read(numbers)
    lost = await _missing(lab, database, acknowledged)
    tell(f"kill -9: {len(acknowledged):,} acknowledged, {lost} lost")
    if lost:
        raise Incorrect(f"{lost} of {len(acknowledged)} acknowledged deliveries are lost")
    if not 0 < after_server < len(acknowledged):
        raise Incorrect("nothing was acknowledged around a kill, so it shows nothing")
    note = f"{after_server:,} acknowledged around a kill of PostgreSQL, {len(acknowledged) - after_server:,} of the process"
    return Figure.absolute("intake, kill -9, acknowledged and lost", lost, "", "== 0", note=note)


async def _missing(lab: Lab, database: Database, acknowledged: Sequence[int]) -> int:
    """Numbers that are not stored."""
    async with lab.connect(name_of(database)) as connection:
        stored = {row[0] for row in await connection.fetch("select message_id from delivery")}
    return sum(f"{number:032}" not in stored for number in acknowledged)


def _read(numbers: Path) -> list[int]:
    return [int(line) for line in numbers.read_text().split()]
