"""Taking documents into orders and their ledger: lock → decide → save → announce, a batch at a time.

Two doors lead here: `apply` for what platforms said, `derive_marked` for orders that changed reference data
touches. Both end in `_settle`, where entries are posted and the events written.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import structlog
from msgspec.structs import replace
from pydantic import ValidationError

from channel_events.catalog import EVENT_BYTES_MAX
from channel_events.order import ENTRIES_MAX, EntryBody, OrderBody, OrderSnapshot
from channel_kit import clock, outbox, reference
from channel_kit.database import Write, is_away, is_timeout
from channel_kit.ids import uuid7
from channel_kit.outbox import Announcement
from order_svc.ledger import store as ledger_store
from order_svc.ledger.rules import Posting, post
from order_svc.ledger.values import Entry
from order_svc.order import rules, store
from order_svc.order.rules import Head, OutOfBounds
from order_svc.order.store import Evidence, Saved
from order_svc.order.values import News, OrderDocument
from order_svc.reference import store as reference_store
from order_svc.reference.actions import ORDER
from order_svc.reference.store import Shop, ShopSku

log = structlog.get_logger(__name__)

REUSED = "delivery-id-reused"
ENVELOPE_BYTES_MAX = 8 * 1024
LINES_LIGHT = 100  # so few lines fit beside the most entries whatever they say


async def apply(tx: Write, news: Sequence[News]) -> dict[UUID, tuple[UUID, str]]:
    """Folds documents into their orders; per delivery the order and what its last document did.

    Raises OutOfBounds when an order would grow beyond what its event may hold.
    """
    await reference.shared(tx)
    triples = {each.triple for each in news}
    await store.open_heads(tx, triples)
    ids = await store.find(tx, triples)
    heads = await store.lock(tx, ids.values())
    after, causes = dict(heads), dict[UUID, UUID]()
    outcomes: dict[UUID, tuple[UUID, str]] = {}
    evidence: list[Evidence] = []
    at = clock.now()
    for each in news:
        order_id = ids[each.triple]
        head, outcome = rules.absorb(after[order_id], each.document)
        if each.reused_id and REUSED not in head.marks:
            head = replace(head, marks=head.marks | {REUSED})
        if isinstance(each.document, OrderDocument) and outcome != rules.DUPLICATE:
            evidence.append(Evidence(order_id, each.delivery_id, outcome, each.document, at))
        if head is not after[order_id]:
            causes[order_id] = each.delivery_id
        after[order_id] = head
        outcomes[each.delivery_id] = (order_id, outcome)
    await store.add_revisions(tx, evidence)
    await _settle(tx, heads, {key: after[key] for key in causes}, causes, at)
    return outcomes


async def derive_marked(tx: Write, limit: int) -> int:
    """Derives orders anew that changed reference data touches, up to `limit`; returns how many there were."""
    # Before the marks: whoever writes marks holds this lock already, and would wait for ours in a circle.
    await reference.shared(tx)
    marked = await reference.take(tx, ORDER, limit)
    await _derive(tx, marked)
    return len(marked)


async def _derive(tx: Write, order_ids: Sequence[UUID]) -> None:
    """Derives these orders anew; one that cannot be stays as it was, is logged, and holds nobody up."""
    if not order_ids:
        return
    try:
        async with tx.savepoint():
            heads = await store.lock(tx, order_ids)
            await _settle(tx, heads, heads, {}, clock.now())
    except Exception as error:
        if is_away(error) and not (is_timeout(error) and len(order_ids) > 1):
            raise
        if len(order_ids) == 1:
            log.error(
                "rederive: an order cannot be derived", order_id=str(order_ids[0]), error=repr(error)[:500]
            )
            return
        for half in (order_ids[: len(order_ids) // 2], order_ids[len(order_ids) // 2 :]):
            await _derive(tx, half)


def _mapped(live: Sequence[Entry], head: Head) -> dict[str, str]:
    """The SKU that each platform SKU of the order stands for in its live entries."""
    lines = head.document.lines if head.document else ()
    return {
        platform_sku: entry.wanted.sku
        for entry in live
        if entry.wanted.sku and (platform_sku := lines[entry.wanted.line_no - 1].platform_sku)
    }


async def _attributed(
    tx: Write, heads: Mapping[UUID, Head], mapped: Mapping[UUID, Mapping[str, str]]
) -> dict[UUID, Head]:
    """The heads with partner, channel and SKUs by this service's own copies; what is mapped stays so."""
    known = {key: head.document for key, head in heads.items() if head.document is not None}
    shops = {key: Shop(heads[key].platform, heads[key].shop_id) for key in known}
    asked = {
        ShopSku(*shops[key], line.platform_sku)
        for key, document in known.items()
        for line in document.lines
        if line.line_kind == "product" and line.platform_sku and line.platform_sku not in mapped[key]
    }
    bindings = await reference_store.bindings(tx, sorted(set(shops.values()))) if shops else {}
    found = await reference_store.skus(tx, sorted(asked)) if asked else {}
    attributed = dict(heads)
    for key, document in known.items():
        skus = dict(mapped[key])
        for line in document.lines:
            if line.platform_sku and (sku := found.get(ShopSku(*shops[key], line.platform_sku))):
                skus.setdefault(line.platform_sku, sku)
        bound = rules.attribute(bindings.get(shops[key], ()), document.placed_at)
        attributed[key] = replace(heads[key], attribution=replace(bound, skus=skus))
    return attributed


async def _settle(
    tx: Write,
    heads: Mapping[UUID, Head],
    touched: Mapping[UUID, Head],
    causes: Mapping[UUID, UUID],
    at: datetime,
) -> None:
    """Posts, saves and announces what differs between `heads`, as locked, and `touched`, under today's
    reference data."""
    live = await ledger_store.live(tx, [key for key in sorted(touched) if heads[key].document is not None])
    mapped = {key: _mapped(live.get(key, ()), heads[key]) for key in touched}
    after = await _attributed(tx, touched, mapped)
    saved: list[Saved] = []
    refunds: dict[tuple[UUID, str], rules.KnownRefund] = {}
    entries: list[Entry] = []
    announcements: list[Announcement] = []
    for key in sorted(after):
        old = replace(heads[key], attribution=replace(heads[key].attribution, skus=mapped[key]))
        head = after[key]
        if head == old:
            continue
        account, was = rules.account(head), rules.account(old)
        posting = Posting((), ())
        if account is not None:
            should, cause = account.entries, causes.get(key)
            posting = post(key, live.get(key, ()), should, cause=cause, at=at, identify=uuid7)
            events = _events(head, was.snapshot if was else None, account.snapshot, posting, cause, at)
            head = replace(head, stream_version=head.stream_version + len(events))
            announcements += events
        for external_id, refund in head.refunds.items():
            if old.refunds.get(external_id) != refund:
                refunds[key, external_id] = refund
        entries += posting.entries
        saved.append(
            Saved(
                replace(head, revision=head.revision + 1),
                account.snapshot if account else None,
                account.entries if account else (),
            )
        )
    if not saved:
        return
    await store.save_heads(tx, saved)
    await store.save_lines(tx, saved)
    await store.save_refunds(tx, refunds)
    await ledger_store.append(tx, entries)
    await outbox.announce(tx, announcements)


def _events(
    head: Head,
    before: OrderSnapshot | None,
    after: OrderSnapshot,
    posting: Posting,
    cause: UUID | None,
    at: datetime,
) -> list[Announcement]:
    """One event, or several with consecutive versions when there are many entries; none when nothing shows.

    Raises OutOfBounds for an order that does not fit into an event.
    """
    if before == after and not posting.entries:
        return []
    name = f"channel.order.{rules.event_name(before, after)}.v1"
    bodies = [_body(entry) for entry in posting.entries]
    parts = _parts(after, bodies)
    steps = rules.transitions(before, after, at)
    return [
        Announcement(
            name,
            head.order_id,
            head.stream_version + n,
            OrderBody(order=after, transitions=steps if n == 1 else (), entries=tuple(part)),
            correlation_id=cause or head.order_id,
        )
        for n, part in enumerate(parts, start=1)
    ]


def _parts(snapshot: OrderSnapshot, bodies: Sequence[EntryBody]) -> list[list[EntryBody]]:
    """The entries of each event: as many as there may be, and as fit beside the snapshot."""
    room = EVENT_BYTES_MAX
    if len(snapshot.lines) > LINES_LIGHT:
        room -= ENVELOPE_BYTES_MAX + len(snapshot.model_dump_json().encode())
    parts: list[list[EntryBody]] = [[]]
    left = room
    for body in bodies:
        size = 0 if room == EVENT_BYTES_MAX else len(body.model_dump_json().encode()) + 1
        if len(parts[-1]) == ENTRIES_MAX or size > left:
            parts.append([])
            left = room
        parts[-1].append(body)
        left -= size
    if left < 0:
        raise OutOfBounds("order-too-large", f"it does not fit into an event of {EVENT_BYTES_MAX} bytes")
    return parts


def _body(entry: Entry) -> EntryBody:
    facts, money = entry.wanted, entry.wanted.components
    try:
        return EntryBody.model_validate(
            {
                "entry_id": entry.entry_id,
                "order_id": entry.order_id,
                "line_no": facts.line_no,
                "line_kind": facts.line_kind,
                "kind": facts.kind,
                "quantity": facts.quantity,
                "currency": facts.currency,
                "list_minor": money.list_minor,
                "promo_minor": money.promo_minor,
                "platform_coupon_minor": money.platform_coupon_minor,
                "merchant_coupon_minor": money.merchant_coupon_minor,
                "freight_minor": money.freight_minor,
                "tax_minor": money.tax_minor,
                "platform_fee_minor": money.platform_fee_minor,
                "net_minor": money.net_minor,
                "tax_included": facts.tax_included,
                "partner_id": facts.partner_id,
                "channel": facts.channel,
                "sku": facts.sku,
                "business_at": facts.business_at,
                "origin_at": facts.origin_at,
                "recorded_at": entry.recorded_at,
                "cause_delivery_id": entry.cause_delivery_id,
                "reverses_entry_id": entry.reverses_entry_id,
                "origin_entry_id": entry.origin_entry_id,
                "entry_hash": entry.entry_hash,
            }
        )
    except ValidationError as error:
        raise rules.out_of_bounds(error) from None
