"""What becomes of a delivery: which document it carries, and the reasons it may wait in quarantine.

Pure. A delivery is stored before anybody reads it; reading happens in the drain, and nothing that a body says
can make it fail there: it ends in the ledger, ignored or quarantined, with a reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from channel_kit.problems import Conflict, ContentTooLarge, NotFound, Problem
from order_svc.order.values import Deletion, News, OrderDocument, Refund, Triple
from order_svc.platforms import PLATFORMS
from order_svc.platforms.contract import Documents, Ignored, Unreadable

NEW, APPLIED, IGNORED, QUARANTINED = "new", "applied", "ignored", "quarantined"
BODY_BYTES_MAX = 2 * 1024 * 1024


class SignatureRefused(Problem):
    status = 401
    code = "signature-refused"
    title = "The signature does not match this body and the secrets of this connection; nothing was stored"


class DeliveryTooLarge(ContentTooLarge):
    code = "delivery-too-large"
    title = "A delivery may have 2 MiB"


class UnknownDelivery(NotFound):
    code = "unknown-delivery"
    title = "There is no delivery with this id"


class NotQuarantined(Conflict):
    code = "not-quarantined"
    title = "Only a quarantined delivery can be reprocessed; this one has been settled"


class Delivery(NamedTuple):
    """One raw message as stored."""

    delivery_id: UUID
    platform: str
    shop_id: str
    topic: str
    body: bytes
    received_at: datetime
    id_reused: bool


@dataclass(frozen=True, slots=True)
class Read:
    """What reading a delivery gave: news for orders, or the status and reason it settles with."""

    news: tuple[News, ...] = ()
    status: str = APPLIED
    reason: str | None = None
    detail: str | None = None


def read(delivery: Delivery) -> Read:
    """Reads a delivery through its platform's adapter; never raises for what the body says."""
    adapter = PLATFORMS.get(delivery.platform)
    if adapter is None:
        return Read(status=QUARANTINED, reason="unknown-platform", detail=delivery.platform)
    try:
        said = adapter.normalise(delivery.topic, delivery.body, delivery.received_at)
    except Unreadable as error:
        return Read(status=QUARANTINED, reason=error.code, detail=error.detail[:1_000])
    if isinstance(said, Ignored):
        return Read(status=IGNORED, reason=said.reason)
    news = tuple(
        News(
            delivery.delivery_id,
            Triple(delivery.platform, delivery.shop_id, document.platform_order_id),
            document,
            delivery.id_reused,
        )
        for document in _documents(said)
    )
    return Read(news) if news else Read(status=IGNORED, reason="nothing-to-record")


def _documents(said: Documents) -> Sequence[OrderDocument | Refund | Deletion]:
    return (*said.orders, *said.refunds, *said.deletions)
