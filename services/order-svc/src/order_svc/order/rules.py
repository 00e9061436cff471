"""How what the platforms say becomes one order, whatever arrives first, twice or late.

`absorb` folds one document into a head; which of two documents is newer is a total order, so any permutation
and duplication of the same deliveries ends in the same head. `describe` says what the outside sees of it.
Unknown things (no binding, no SKU, a refund before its order) are flags here, never failures.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from msgspec import Struct, field
from msgspec.structs import replace
from pydantic import ValidationError

from channel_events.order import OrderSnapshot, Transition
from order_svc.ledger.rules import Book, Facts, LineOutcome
from order_svc.ledger.values import Wanted
from order_svc.order.values import FULFILMENTS, LIFECYCLES, PAYMENTS, Deletion, OrderDocument, Refund, dump

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
APPLIED, DUPLICATE, STALE = "applied", "duplicate", "stale"

NEEDS_REVIEW = frozenset(
    {
        "currency-mismatch",
        "delivery-id-reused",
        "over-paid",
        "over-refunded",
        "over-returned",
        "refund-before-order",
        "refund-of-unknown-line",
        "removed-after-shipping",
        "revived",
        "totals-mismatch",
        "unbound-shop",
        "unknown-sku",
    }
)


class OutOfBounds(Exception):
    """An order grew beyond what an event may hold: the document that made it so waits in quarantine."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


class Attribution(Struct, frozen=True):
    """What our own reference data says of the order: who sold it, and which SKUs its lines are."""

    partner_id: UUID | None = None
    channel: str | None = None
    skus: Mapping[str, str] = field(default_factory=dict)


def attribute(bindings: Sequence[Mapping[str, Any]], at: datetime) -> Attribution:
    """The binding in force when the order was placed, of a shop's whole list as announced; SKUs apart."""
    for binding in bindings:
        since, until = datetime.fromisoformat(binding["valid_from"]), binding.get("valid_to")
        if since <= at and (until is None or at < datetime.fromisoformat(until)):
            return Attribution(UUID(binding["partner_id"]), binding["channel"])
    return Attribution()


class KnownRefund(Struct, frozen=True):
    """A refund as best known. `standalone`: told by a message of its own, not only inside an order."""

    refund: Refund
    standalone: bool


class Head(Struct, frozen=True):
    """One order as the ledger knows it. `document` is None while only refunds of it are known."""

    order_id: UUID
    platform: str
    shop_id: str
    platform_order_id: str
    revision: int = 0
    stream_version: int = 0
    document: OrderDocument | None = None
    deletion: Deletion | None = None
    refunds: Mapping[str, KnownRefund] = field(default_factory=dict)
    attribution: Attribution = field(default_factory=Attribution)
    marks: frozenset[str] = frozenset()  # flags that arrival itself sets and nothing computes


def rank(document: OrderDocument) -> tuple[int, int, int, int]:
    """What decides between two documents before their content does: version, payment, fulfilment, lifecycle."""
    return (
        document.version,
        _place(PAYMENTS, document.payment),
        _place(FULFILMENTS, document.fulfilment),
        _place(LIFECYCLES, document.lifecycle),
    )


def compare(left: OrderDocument, right: OrderDocument) -> int:
    """Above 0 when `left` is the newer one, below when `right` is, 0 when they say the same: a total order."""
    ours, theirs = rank(left), rank(right)
    if ours == theirs:  # hashing is dear, and seldom needed
        return (left.content_hash > right.content_hash) - (left.content_hash < right.content_hash)
    return 1 if ours > theirs else -1


def absorb(head: Head, news: OrderDocument | Refund | Deletion) -> tuple[Head, str]:
    """The head after `news`, and whether it was applied, a duplicate or stale.

    A stale document still teaches the refunds that it holds.
    """
    if isinstance(news, Deletion):
        latest = news if head.deletion is None else _later(head.deletion, news)
        return (head, DUPLICATE) if latest == head.deletion else (replace(head, deletion=latest), APPLIED)
    if isinstance(news, Refund):
        return _with_refunds(head, (news,), standalone=True)
    taught, outcome = _with_refunds(head, news.refunds, standalone=False)
    newer = 1 if head.document is None else compare(news, head.document)
    if newer > 0:
        return replace(taught, document=news), APPLIED
    return taught, outcome if newer == 0 else STALE


def _later(left: Deletion, right: Deletion) -> Deletion:
    """The deletion of the greater version; of one version the first that we heard of."""
    if left.version == right.version:
        return min(left, right, key=lambda deletion: deletion.at or _EPOCH)
    return max(left, right, key=lambda deletion: deletion.version)


def merge(left: Refund, right: Refund) -> Refund:
    """One refund from two accounts of it: commutative, associative, idempotent.

    The fuller and newer account wins. Its time is the earliest that any account states of its own, and only
    where none does the earliest stamp seen: time and content are judged apart, or three accounts would end
    differently by the order in which they meet.
    """
    best = max(left, right, key=lambda refund: (refund.detail, refund.version, _content(refund)))
    timed = min(left, right, key=lambda refund: (not refund.at_exact, refund.at))
    return replace(best, at=timed.at, at_exact=timed.at_exact)


def _content(refund: Refund) -> str:
    return dump(replace(refund, at=_EPOCH, at_exact=True))


def _with_refunds(head: Head, refunds: Sequence[Refund], *, standalone: bool) -> tuple[Head, str]:
    known = dict(head.refunds)
    for refund in refunds:
        before = known.get(refund.external_id)
        merged = refund if before is None else merge(before.refund, refund)
        known[refund.external_id] = KnownRefund(
            merged, standalone or (before is not None and before.standalone)
        )
    if known == dict(head.refunds):
        return head, DUPLICATE
    return replace(head, refunds=known), APPLIED


def effective_refunds(head: Head) -> tuple[Refund, ...]:
    """The refunds that count. Where the greatest document lists them all, one that it no longer has is gone."""
    if head.document is not None and head.document.refunds_complete:
        listed = {refund.external_id for refund in head.document.refunds}
        return tuple(
            k.refund for k in head.refunds.values() if k.standalone or k.refund.external_id in listed
        )
    return tuple(known.refund for known in head.refunds.values())


def facts(head: Head) -> Facts | None:
    """What the ledger needs; None while the order itself is unknown. A refund in another currency than the
    order's is kept as evidence and flagged, since it cannot be set against any line."""
    if head.document is None:
        return None
    deletion = head.deletion
    deleted = deletion is not None and deletion.version > head.document.version
    return Facts(
        head.document,
        tuple(refund for refund in effective_refunds(head) if refund.currency == head.document.currency),
        (deletion.at or head.document.placed_at) if deletion and deleted else None,
        head.attribution.partner_id,
        head.attribution.channel,
        head.attribution.skus,
    )


class Account(Struct, frozen=True):
    """Everything derived from a head: its entries, its snapshot for the outside, and its flags."""

    entries: tuple[Wanted, ...]
    snapshot: OrderSnapshot


def account(head: Head) -> Account | None:
    """Derives entries and snapshot; None while the order itself is unknown. Raises OutOfBounds."""
    known = facts(head)
    if known is None:
        return None
    document, book = known.document, Book(known)
    outcomes = book.outcomes
    try:
        # Checked at once: to make each line a record of its own first costs twice as much.
        snapshot = OrderSnapshot.model_validate(
            {
                "order_id": head.order_id,
                "platform": head.platform,
                "shop_id": head.shop_id,
                "platform_order_id": head.platform_order_id,
                "channel": known.channel,
                "partner_id": known.partner_id,
                "currency": document.currency,
                "tax_included": document.tax_included,
                "lifecycle": known.lifecycle,
                "payment": document.payment,
                "fulfilment": document.fulfilment,
                "business_at": document.placed_at,
                "paid_at": document.paid_at,
                "flags": tuple(sorted(_flags(head, known, outcomes) | book.flags)),
                "totals": _totals(book.entries),
                "lines": tuple(_line(outcome, known) for outcome in outcomes),
            }
        )
    except ValidationError as error:
        raise out_of_bounds(error) from None
    return Account(tuple(book.entries), snapshot)


def out_of_bounds(error: ValidationError) -> OutOfBounds:
    """What made an order too large for its event, by the first value that did."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = "/".join(str(step) for step in first["loc"])
    return OutOfBounds("out-of-bounds", f"{error.title}/{place}: {first['msg']}")


def _line(outcome: LineOutcome, known: Facts) -> dict[str, Any]:
    line = outcome.line
    return {
        "line_no": outcome.number,
        "line_kind": line.line_kind,
        "platform_sku": line.platform_sku,
        "sku": known.sku(line),
        "ordered": line.ordered,
        "cancelled": outcome.cancelled,
        "shipped": line.shipped,
        "returned": outcome.returned,
        "restocked": outcome.restocked,
        "net_minor": line.components.net_minor,
    }


def _flags(head: Head, known: Facts, outcomes: Sequence[LineOutcome]) -> set[str]:
    flags = {*known.document.flags, *head.marks}
    if known.partner_id is None and known.channel is None:
        flags.add("unbound-shop")
    goods = [outcome for outcome in outcomes if outcome.line.line_kind == "product"]
    if any(known.sku(each.line) is None for each in goods):
        flags.add("unknown-sku")
    if any(each.returned > each.line.shipped for each in goods):
        flags.add("over-returned")
    if sum(refund.amount_minor for refund in known.refunds) > known.document.paid_minor:
        flags.add("over-refunded")
    if len(known.refunds) < len(effective_refunds(head)):
        flags.add("currency-mismatch")
    if head.deletion is not None and known.deleted_at is None:
        flags.add("revived")
    return flags


def _totals(entries: Sequence[Wanted]) -> dict[str, int]:
    net: dict[str, int] = {}
    sales = 0
    for entry in entries:
        net[entry.kind] = net.get(entry.kind, 0) + entry.components.net_minor
        if entry.kind in ("paid", "refunded"):
            sales += entry.components.net_sales_minor
    return {
        "ordered_net_minor": net.get("ordered", 0),
        "cancelled_net_minor": net.get("cancelled", 0),
        "returned_net_minor": net.get("returned", 0),
        "paid_minor": net.get("paid", 0),
        "refunded_minor": net.get("refunded", 0),
        "net_sales_minor": sales,
    }


def transitions(before: OrderSnapshot | None, after: OrderSnapshot, at: datetime) -> tuple[Transition, ...]:
    """The steps between two snapshots, one per axis that moved."""
    steps: list[Transition] = []
    for axis, read in _AXES.items():
        old, new = (None if before is None else read(before)), read(after)
        if old != new and not (old is None and new in ("none", "")):
            steps.append(Transition(axis=axis, from_=old, to=new, at=at))
    return tuple(steps)


def _refund_state(snapshot: OrderSnapshot) -> str:
    refunded = -snapshot.totals.refunded_minor
    if refunded == 0 and snapshot.totals.returned_net_minor == 0:
        return "none"
    return "full" if refunded >= snapshot.totals.paid_minor > 0 else "partial"


def _reference_state(snapshot: OrderSnapshot) -> str:
    bound = "unbound" if "unbound-shop" in snapshot.flags else "attributed"
    return bound if bound == "unbound" or "unknown-sku" in snapshot.flags else "resolved"


_AXES = {
    "lifecycle": lambda s: s.lifecycle,
    "payment": lambda s: s.payment,
    "fulfilment": lambda s: s.fulfilment,
    "refund": _refund_state,
    "reference": _reference_state,
}


def event_name(before: OrderSnapshot | None, after: OrderSnapshot) -> str:
    """The highest-ranking thing that happened: cancelled > refunded > placed > attributed > resolved > changed."""
    if _closed(after) and not _closed(before):
        return "cancelled"
    if after.totals.refunded_minor != (before.totals.refunded_minor if before else 0):
        return "refunded"
    if before is None:
        return "placed"
    if (before.partner_id, before.channel) != (after.partner_id, after.channel):
        return "attributed"
    was = {line.platform_sku: line.sku for line in before.lines}
    if any(line.sku != was.get(line.platform_sku, line.sku) for line in after.lines):
        return "resolved"
    return "changed"


def _closed(snapshot: OrderSnapshot | None) -> bool:
    return snapshot is not None and snapshot.lifecycle in ("cancelled", "deleted")


def _place(words: Sequence[str], word: str) -> int:
    return words.index(word) if word in words else -1
