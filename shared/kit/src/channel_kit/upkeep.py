"""The loops every worker has beside its own: the relay, pruning, and the gauges that alerts read.

A service's `worker.py` names its feeds and jobs and calls `standard_loops`. Pruning the outbox needs the owner's
rights, since no service role may delete what was announced: where the owner's URL is not given (a worker on
Kubernetes) the migration Job of each release prunes instead, through `prune_outbox`.
"""

from collections.abc import Sequence

import structlog

from channel_kit import idempotency, outbox, telemetry
from channel_kit.database import OWNER, WORKER, Database
from channel_kit.jobs import Job
from channel_kit.relay import Relay
from channel_kit.service import Loop, Runtime

log = structlog.get_logger(__name__)

ROWS_MAX = 5_000
GAUGE_SECONDS = 5.0
PRUNE_SECONDS = 600.0


def standard_loops(runtime: Runtime, feeds: Sequence[Loop] = (), jobs: Sequence[Loop] = ()) -> list[Loop]:
    """Everything a worker runs: the relay, its feeds and jobs, and the upkeep of the kit's tables."""
    relay = Relay(
        runtime.database, runtime.settings.kafka, idle_seconds_max=runtime.settings.poll_seconds_max
    )
    return [relay, *feeds, *jobs, *upkeep(runtime)]


def upkeep(runtime: Runtime) -> list[Loop]:
    """The jobs that keep the kit's own tables small and their gauges fresh."""
    database = runtime.database

    async def gauge() -> int:
        await refresh_gauges(database)
        return 0

    async def forget() -> int:
        async with database.write(WORKER) as tx:
            return await idempotency.purge(tx, ROWS_MAX)

    loops: list[Loop] = [
        Job("outbox-gauges", gauge, idle_seconds=GAUGE_SECONDS),
        Job("idempotency-purge", forget, idle_seconds=PRUNE_SECONDS),
    ]
    if runtime.settings.owner_database_url is None:
        log.info("the outbox is not pruned by this process: it has no owner's rights")
    else:
        loops.append(
            Job(
                "outbox-prune",
                lambda: _prune_batch(database, runtime.settings.outbox_keep_days),
                idle_seconds=PRUNE_SECONDS,
            )
        )
    return loops


async def refresh_gauges(database: Database) -> None:
    """Reads how much waits in the outbox, and for how long, for Prometheus."""
    async with database.read(WORKER) as tx:
        waiting = await outbox.waiting(tx)
    telemetry.outbox_pending.set(waiting.rows)
    telemetry.outbox_oldest_seconds.set(waiting.oldest_seconds)


async def prune_outbox(database: Database, keep_days: int) -> int:
    """Deletes, as the owner and in batches, every published row older than `keep_days`; returns how many."""
    pruned = 0
    while done := await _prune_batch(database, keep_days):
        pruned += done
    return pruned


async def _prune_batch(database: Database, keep_days: int) -> int:
    async with database.write(OWNER) as tx:
        return await outbox.prune(tx, keep_days, ROWS_MAX)
