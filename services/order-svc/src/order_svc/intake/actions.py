"""The two transactions of intake: record what was verified (T1), and drain it into orders (T2)."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import structlog

from channel_kit.database import STAFF, WORKER, Database, Write, is_away
from channel_kit.failpoints import failpoint
from order_svc.intake import rules, store
from order_svc.intake.rules import APPLIED, QUARANTINED, Delivery
from order_svc.intake.store import Incoming, Settled
from order_svc.order import actions as orders
from order_svc.order.values import News

log = structlog.get_logger(__name__)

CLAIM_MAX = 200


async def record(database: Database, incoming: Sequence[Incoming]) -> list[bool]:
    """T1: everything that waits, in one transaction; per message whether it was new. Raises nothing but faults
    of the database: whoever called may answer success only after this returned."""
    async with database.write(STAFF) as tx:
        fresh = await store.record(tx, incoming)
        failpoint("intake.before_commit")
    failpoint("intake.after_commit")
    return [message.delivery_id in fresh for message in incoming]


async def drain(database: Database) -> int:
    """T2: claims a batch, reads it, applies it, settles it; returns how many deliveries that were."""

    async def run(tx: Write) -> int:
        deliveries = await store.claim(tx, CLAIM_MAX)
        if not deliveries:
            return 0
        settled: list[Settled] = []
        news: list[News] = []
        for delivery in deliveries:
            read = rules.read(delivery)
            news += read.news
            if not read.news:
                settled.append(Settled(delivery.delivery_id, read.status, None, read.reason, read.detail))
        failpoint("drain.after_claim")
        settled += await _apply(tx, news)
        failpoint("drain.before_settle")
        await store.settle(tx, settled)
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
        if is_away(error):
            raise
        deliveries = list(dict.fromkeys(each.delivery_id for each in news))
        if len(deliveries) == 1:
            log.exception(
                "drain: a delivery cannot be applied and is quarantined", delivery_id=str(deliveries[0])
            )
            detail = f"{type(error).__name__}: {error}"[:1_000].replace("\x00", "�")
            return [Settled(deliveries[0], QUARANTINED, None, "apply-failed", detail)]
        first = set(deliveries[: len(deliveries) // 2])
        left = await _apply(tx, [each for each in news if each.delivery_id in first])
        return left + await _apply(tx, [each for each in news if each.delivery_id not in first])
    return [
        Settled(key, APPLIED, outcome, order_id=order_id) for key, (order_id, outcome) in outcomes.items()
    ]


def _latest(deliveries: Sequence[Delivery]) -> dict[tuple[str, str], datetime]:
    return {
        (each.platform, each.shop_id): each.received_at
        for each in sorted(deliveries, key=lambda d: d.received_at)
    }


async def reprocess(tx: Write, delivery_ids: Sequence[UUID]) -> list[UUID]:
    """Puts quarantined deliveries before the drain again; returns those that were."""
    return await store.requeue(tx, delivery_ids)
