"""What becomes of a delivery: which document it carries, and the reasons it may wait in quarantine.

Pure. A delivery is stored before anybody reads it; reading happens in the drain, and nothing that a body says
can make it fail there: it ends in the ledger, ignored or quarantined, with a reason.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from msgspec.structs import replace

from channel_kit.problems import Conflict, ContentTooLarge, NotFound, Problem
from order_svc.order.values import (
    AMOUNT_MAX,
    ID_MAX,
    LINES_MAX,
    QUANTITY_LIMIT,
    Deletion,
    Line,
    News,
    OrderDocument,
    Refund,
    Triple,
)
from order_svc.platforms import PLATFORMS
from order_svc.platforms.contract import Ignored, Unreadable

NEW, APPLIED, IGNORED, QUARANTINED = "new", "applied", "ignored", "quarantined"
BODY_BYTES_MAX = 2 * 1024 * 1024
DETAIL_MAX = 1_000
ADAPTER_FAILED = "adapter-failed"


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
        return quarantined("unknown-platform", delivery.platform)
    try:
        said = adapter.normalise(delivery.topic, delivery.body, delivery.received_at)
    except Unreadable as error:
        return quarantined(error.code, error.detail)
    except OSError:
        raise  # the machine's fault, no file descriptors say: the delivery is read again
    except Exception as error:  # a fault of the adapter: the next deliveries must not wait behind this one
        return quarantined(ADAPTER_FAILED, f"{type(error).__name__}: {error}")
    if isinstance(said, Ignored):
        return Read(status=IGNORED, reason=said.reason)
    deletions = (replace(each, at=each.at or delivery.received_at) for each in said.deletions)
    documents: tuple[OrderDocument | Refund | Deletion, ...] = (*said.orders, *said.refunds, *deletions)
    if fault := next((fault for document in documents if (fault := unfit(document))), None):
        return quarantined(*fault)
    news = tuple(
        News(
            delivery.delivery_id,
            Triple(delivery.platform, delivery.shop_id, document.platform_order_id),
            document,
            delivery.id_reused,
        )
        for document in documents
    )
    return Read(news) if news else Read(status=IGNORED, reason="nothing-to-record")


def quarantined(reason: str, detail: str) -> Read:
    """What waits in quarantine, and why, in words that a database can hold."""
    plain = detail.replace("\x00", "�").encode("utf-8", "replace").decode()
    return Read(status=QUARANTINED, reason=reason, detail=plain[:DETAIL_MAX])


def unfit(document: OrderDocument | Refund | Deletion) -> tuple[str, str] | None:
    """Why the ledger cannot hold a document, as (code, detail); None when it can.

    Adapters keep to this already; it stands here so that a fault of one quarantines its delivery under a name
    of its own and never breaks a batch.
    """
    if not 0 < len(document.platform_order_id) <= ID_MAX:
        return "id-out-of-bounds", f"an order id has 1 to {ID_MAX} characters"
    if isinstance(document, Deletion):
        return None
    if isinstance(document, Refund):
        return _unfit_refund(document)
    if len(document.lines) > LINES_MAX:
        return "order-too-large", f"an order has at most {LINES_MAX} lines"
    for number, line in enumerate(document.lines, start=1):
        if reason := _unfit_line(line):
            return reason[0], f"line {number}: {reason[1]}"
    if len({line.external_id for line in document.lines}) < len(document.lines):
        return "line-id-repeated", "two lines have the same id"
    parts = sum(abs(part) for line in document.lines for part in line.components.parts)
    if not 0 <= document.paid_minor <= AMOUNT_MAX or parts > AMOUNT_MAX:
        return "amount-out-of-bounds", f"the amounts of an order add up to at most {AMOUNT_MAX} minor units"
    return next((reason for refund in document.refunds if (reason := _unfit_refund(refund))), None)


def _unfit_line(line: Line) -> tuple[str, str] | None:
    if not 0 < len(line.external_id) <= ID_MAX or not 0 < len(line.platform_sku or "-") <= ID_MAX:
        return "id-out-of-bounds", f"an id or SKU has 1 to {ID_MAX} characters"
    if not (_is_quantity(line.ordered) and _is_quantity(line.removed) and _is_quantity(line.shipped)):
        return (
            "quantity-out-of-bounds",
            "a quantity has at most 14 digits and 6 decimals, and is not negative",
        )
    if line.line_kind == "product" and line.components.net_minor < 0:
        return "negative-line", "goods cost nothing or more; a credit is a line of another kind"
    if line.line_kind != "platform_fee" and line.components.platform_fee_minor:
        return "fee-on-a-line", "a platform's fee is a line of its own"
    return None


def _unfit_refund(refund: Refund) -> tuple[str, str] | None:
    if not 0 < len(refund.external_id) <= ID_MAX:
        return "id-out-of-bounds", f"a refund id has 1 to {ID_MAX} characters"
    if len(refund.lines) > LINES_MAX:
        return "order-too-large", f"a refund has at most {LINES_MAX} lines"
    for part in refund.lines:
        if not _is_quantity(part.quantity) or not _is_quantity(part.restocked):
            return (
                "quantity-out-of-bounds",
                "a quantity has at most 14 digits and 6 decimals, and is not negative",
            )
        if part.line_external_id is not None and part.amount_minor < 0:
            return "negative-refund", "what is given back for a line is not negative"
    amounts = [part.amount_minor for part in refund.lines]
    named = [part.tax_minor or 0 for part in refund.lines], [part.freight_minor or 0 for part in refund.lines]
    most = max(sum(map(abs, column)) for column in ([refund.amount_minor], amounts, *named))
    if refund.amount_minor < 0 or most > AMOUNT_MAX:
        return "amount-out-of-bounds", f"a refund is from 0 to {AMOUNT_MAX} minor units"
    if refund.lines and sum(amounts) != refund.amount_minor:
        return "refund-does-not-add-up", "the lines of a refund add up to its amount"
    return None


def _is_quantity(quantity: Decimal) -> bool:
    return 0 <= quantity < QUANTITY_LIMIT and quantity == round(quantity, 6)
