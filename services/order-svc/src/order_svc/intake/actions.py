"""The two transactions of intake: record what was verified (T1), and drain it into orders (T2)."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import structlog
from prometheus_client import Gauge

from channel_kit.database import WORKER, Database, Write, is_away, is_timeout
from channel_kit.failpoints import failpoint
from order_svc.intake import rules, store
from order_svc.intake.rules import ADAPTER_FAILED, APPLIED, Delivery
from order_svc.intake.store import Incoming, Settled
from order_svc.order import actions as orders
from order_svc.order.rules import OutOfBounds
from order_svc.order.values import News

log = structlog.get_logger(__name__)
waiting = Gauge(
    "qudao_deliveries_waiting",
    "Deliveries that wait, by status: new for the drain, quarantined for people.",
    ["status"],
)
oldest_seconds = Gauge(
    "qudao_deliveries_oldest_seconds", "Age of the oldest delivery that the drain has not settled."
)

CLAIM_MAX = 200
CLAIM_BYTES_MAX = 16 * 1024 * 1024


async def record(database: Database, incoming: Sequence[Incoming]) -> list[bool]:
    """T1: everything that waits, in one statement that commits itself; per message whether it was new. Raises
    nothing but faults of the database: whoever called may answer success only after this returned."""
    failpoint("intake.before_commit")
    async with database.staff_alone() as tx:
        fresh = await store.record(tx, incoming)
    failpoint("intake.after_commit")
    return [message.delivery_id in fresh for message in incoming]


async def drain(database: Database) -> int:
    """T2: claims a batch, reads it, applies it, settles it; returns how many deliveries that were."""

    async def run(tx: Write) -> int:
        deliveries = await store.claim(tx, CLAIM_MAX, CLAIM_BYTES_MAX)
        if not deliveries:
            return 0
        settled: list[Settled] = []
        news: list[News] = []
        for delivery in deliveries:
            read = rules.read(delivery)
            news += read.news
            if not read.news:
                settled.append(Settled(delivery.delivery_id, read.status, None, read.reason, read.detail))
            if read.reason == ADAPTER_FAILED:
                log.error(
                    "drain: an adapter failed", delivery_id=str(delivery.delivery_id), detail=read.detail
                )
        failpoint("drain.after_claim")
        settled += await _apply(tx, news)
        failpoint("drain.before_settle")
        await store.settle(tx, settled)
        if reused := [each.delivery_id for each in deliveries if each.id_reused]:
            await store.mark_reused(tx, reused)
        await store.seen(tx, _latest(deliveries))
        failpoint("drain.before_commit")
        return len(deliveries)

    done = await database.transact(WORKER, run)
    failpoint("drain.after_commit")
    return done


async def _apply(tx: Write, news: Sequence[News]) -> list[Settled]:
    """Applies documents; a batch that fails is halved by delivery until the faulty one stands alone."""
    if not news:
        return []
    try:
        async with tx.savepoint():
            outcomes = await orders.apply(tx, news)
    except Exception as error:
        deliveries = list(dict.fromkeys(each.delivery_id for each in news))
        # Only time helps a database that is away; a batch that takes too long may be too large.
        if is_away(error) and not (is_timeout(error) and len(deliveries) > 1):
            raise
        if len(deliveries) == 1:
            return [_refused(deliveries[0], error)]
        first = set(deliveries[: len(deliveries) // 2])
        left = await _apply(tx, [each for each in news if each.delivery_id in first])
        return left + await _apply(tx, [each for each in news if each.delivery_id not in first])
    return [
        Settled(key, APPLIED, outcome, order_id=order_id) for key, (order_id, outcome) in outcomes.items()
    ]


def _refused(delivery_id: UUID, error: Exception) -> Settled:
    """A delivery that cannot be applied. Only the first line of an error is kept: the rest quotes the document."""
    if isinstance(error, OutOfBounds):
        read = rules.quarantined(error.code, str(error))
    else:
        log.error(
            "drain: a delivery cannot be applied and is quarantined",
            delivery_id=str(delivery_id),
            exc_info=error,
        )
        read = rules.quarantined("apply-failed", f"{type(error).__name__}: {error}".partition("\n")[0])
    return Settled(delivery_id, read.status, None, read.reason, read.detail)


def _latest(deliveries: Sequence[Delivery]) -> dict[tuple[str, str], datetime]:
    return {
        (each.platform, each.shop_id): each.received_at
        for each in sorted(deliveries, key=lambda d: d.received_at)
    }


async def reprocess(tx: Write, delivery_ids: Sequence[UUID]) -> list[UUID]:
    """Puts quarantined deliveries before the drain again; returns those that were."""
    return await store.requeue(tx, delivery_ids)


async def refresh_gauges(database: Database) -> None:
    """Reads how much waits, and for how long, for Prometheus."""
    async with database.read(WORKER) as tx:
        counts = await store.counts(tx)
        seconds = await store.backlog_seconds(tx)
    for status, count in counts.items():
        waiting.labels(status).set(count)
    oldest_seconds.set(seconds)
