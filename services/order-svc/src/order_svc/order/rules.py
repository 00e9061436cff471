"""How what the platforms say becomes one order, whatever arrives first, twice or late.

`absorb` folds one document into a head; which of two documents is newer is a total order, so any permutation
and duplication of the same deliveries ends in the same head. `describe` says what the outside sees of it.
Unknown things (no binding, no SKU, a refund before its order) are flags here, never failures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from channel_events.order import OrderLine, OrderSnapshot, OrderTotals, Transition
from order_svc.ledger.rules import Book, Facts
from order_svc.ledger.values import Wanted
from order_svc.order.values import FULFILMENTS, LIFECYCLES, PAYMENTS, Deletion, OrderDocument, Refund

APPLIED, DUPLICATE, STALE = "applied", "duplicate", "stale"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

NEEDS_REVIEW = frozenset(
    {
        "unbound-shop",
        "unknown-sku",
        "refund-before-order",
        "totals-mismatch",
        "over-refunded",
        "over-returned",
        "revived",
        "delivery-id-reused",
    }
)


@dataclass(frozen=True, slots=True)
class Attribution:
    """What our own reference data says of the order: who sold it, and which SKUs its lines are."""

    partner_id: UUID | None = None
    channel: str | None = None
    skus: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KnownRefund:
    """A refund as best known. `standalone`: told by a message of its own, not only inside an order."""

    refund: Refund
    standalone: bool


@dataclass(frozen=True, slots=True)
class Head:
    """One order as the ledger knows it. `document` is None while only refunds of it are known."""

    order_id: UUID
    platform: str
    shop_id: str
    platform_order_id: str
    revision: int = 0
    stream_version: int = 0
    document: OrderDocument | None = None
    deleted_version: int | None = None
    refunds: Mapping[str, KnownRefund] = field(default_factory=dict)
    attribution: Attribution = field(default_factory=Attribution)
    marks: frozenset[str] = (
        frozenset()
    )  # flags that arrival itself sets and nothing computes: id reused, revived


def rank(document: OrderDocument) -> tuple[int, int, int, int, str]:
    """The total order of documents: version, payment, fulfilment, lifecycle, content."""
    return (
        document.version,
        _place(PAYMENTS, document.payment),
        _place(FULFILMENTS, document.fulfilment),
        _place(LIFECYCLES, document.lifecycle),
        document.content_hash,
    )


def absorb(head: Head, news: OrderDocument | Refund | Deletion) -> tuple[Head, str]:
    """The head after `news`, and whether it was applied, a duplicate or stale.

    A stale document still teaches the refunds that it holds.
    """
    if isinstance(news, Deletion):
        if head.deleted_version is not None and head.deleted_version >= news.version:
            return head, DUPLICATE
        return replace(head, deleted_version=news.version), APPLIED
    if isinstance(news, Refund):
        return _with_refunds(head, (news,), standalone=True)
    taught, refunds_outcome = _with_refunds(head, news.refunds, standalone=False)
    if head.document is not None:
        theirs, ours = rank(news), rank(head.document)
        if theirs == ours:
            return taught, refunds_outcome if taught is not head else DUPLICATE
        if theirs < ours:
            return taught, STALE
    return replace(taught, document=news), APPLIED


def merge(left: Refund, right: Refund) -> Refund:
    """One refund from two accounts of it: commutative, associative, idempotent.

    The fuller and newer account wins; where no account has a time of its own the earliest stamp is kept.
    """
    best = max(
        left, right, key=lambda refund: (refund.detail, refund.version, refund.at_exact, _content(refund))
    )
    if best.at_exact:
        return best
    return replace(best, at=min(left.at, right.at))


def _content(refund: Refund) -> str:
    # The time is left out: for accounts without one of their own it is whichever was seen, not content.
    return repr(
        (
            refund.amount_minor,
            refund.currency,
            refund.lines,
            refund.reason,
            refund.at if refund.at_exact else None,
        )
    )


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
    """What the ledger needs; None while the order itself is unknown."""
    if head.document is None:
        return None
    deleted = head.deleted_version is not None and head.deleted_version > head.document.version
    return Facts(
        head.document,
        effective_refunds(head),
        _EPOCH + timedelta(microseconds=head.deleted_version or 0) if deleted else None,
        head.attribution.partner_id,
        head.attribution.channel,
        head.attribution.skus,
    )


@dataclass(frozen=True, slots=True)
class Account:
    """Everything derived from a head: its entries, its snapshot for the outside, and its flags."""

    entries: tuple[Wanted, ...]
    snapshot: OrderSnapshot


def account(head: Head) -> Account | None:
    """Derives entries and snapshot; None while the order itself is unknown."""
    known = facts(head)
    if known is None or head.document is None:
        return None
    document, book = head.document, Book(known)
    lines = tuple(
        OrderLine(
            line_no=each.number,
            line_kind=each.line.line_kind,
            platform_sku=each.line.platform_sku,
            sku=known.skus.get(each.line.platform_sku or "") if each.line.line_kind == "product" else None,
            ordered=each.line.ordered,
            cancelled=each.cancelled,
            shipped=each.line.shipped,
            returned=each.returned,
            restocked=each.restocked,
            net_minor=each.line.components.net_minor,
        )
        for each in book.outcomes
    )
    entries = tuple(book.entries)
    return Account(
        entries,
        OrderSnapshot(
            order_id=head.order_id,
            platform=head.platform,
            shop_id=head.shop_id,
            platform_order_id=head.platform_order_id,
            channel=head.attribution.channel,
            partner_id=head.attribution.partner_id,
            currency=document.currency,
            tax_included=document.tax_included,
            lifecycle=known.lifecycle,
            payment=document.payment,
            fulfilment=document.fulfilment,
            business_at=document.placed_at,
            paid_at=document.paid_at,
            flags=tuple(sorted(_flags(head, known, lines, entries))),
            totals=_totals(entries),
            lines=lines,
        ),
    )


def _flags(head: Head, known: Facts, lines: Sequence[OrderLine], entries: Sequence[Wanted]) -> set[str]:
    flags = {*known.document.flags, *head.marks}
    if head.attribution.partner_id is None and head.attribution.channel is None:
        flags.add("unbound-shop")
    if any(line.line_kind == "product" and line.sku is None for line in lines):
        flags.add("unknown-sku")
    if sum(refund.amount_minor for refund in known.refunds) > known.document.paid_minor:
        flags.add("over-refunded")
    if any(line.returned > line.shipped for line in lines):
        flags.add("over-returned")
    if head.deleted_version is not None and known.deleted_at is None:
        flags.add("revived")
    return flags


def _totals(entries: Sequence[Wanted]) -> OrderTotals:
    net: dict[str, int] = {}
    sales = 0
    for entry in entries:
        net[entry.kind] = net.get(entry.kind, 0) + entry.components.net_minor
        if entry.kind in ("paid", "refunded"):
            sales += entry.components.net_sales_minor
    return OrderTotals(
        ordered_net_minor=net.get("ordered", 0),
        cancelled_net_minor=net.get("cancelled", 0),
        returned_net_minor=net.get("returned", 0),
        paid_minor=net.get("paid", 0),
        refunded_minor=net.get("refunded", 0),
        net_sales_minor=sales,
    )


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
    closed = ("cancelled", "deleted")
    if before is None and after.lifecycle not in closed:
        return "placed"
    if after.lifecycle in closed and (before is None or before.lifecycle not in closed):
        return "cancelled"
    assert before is not None  # noqa: S101  narrowed by the two cases above
    if after.totals.refunded_minor != before.totals.refunded_minor:
        return "refunded"
    if (before.partner_id, before.channel) != (after.partner_id, after.channel):
        return "attributed"
    if {(line.line_no, line.sku) for line in before.lines} != {
        (line.line_no, line.sku) for line in after.lines
    }:
        return "resolved"
    return "changed"


def _place(words: Sequence[str], word: str) -> int:
    return words.index(word) if word in words else -1
