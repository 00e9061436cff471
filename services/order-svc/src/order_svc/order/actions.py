"""Taking documents into orders and their ledger: lock → decide → save → announce, a batch at a time.

Two doors lead here: `apply` for what platforms said, `derive_again` for orders that changed reference data
touches. Both end in `_settle`, where entries are posted and the events written.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from channel_events.order import ENTRIES_MAX, EntryBody, OrderBody, OrderSnapshot
from channel_kit import clock, outbox, reference
from channel_kit.database import Write
from channel_kit.ids import uuid7
from channel_kit.outbox import Announcement
from order_svc.ledger import store as ledger_store
from order_svc.ledger.rules import Posting, post
from order_svc.ledger.values import Entry
from order_svc.order import rules, store
from order_svc.order.rules import Attribution, Head
from order_svc.order.store import Evidence, Saved
from order_svc.order.values import News, OrderDocument
from order_svc.reference import store as reference_store
from order_svc.reference.store import Shop, ShopSku


async def apply(tx: Write, news: Sequence[News]) -> dict[UUID, tuple[UUID, str]]:
    """Folds documents into their orders; per delivery the order and what its last document did."""
    await reference.shared(tx)
    triples = {each.triple for each in news}
    await store.open_heads(tx, triples)
    ids = await store.find(tx, triples)
    heads = await store.lock(tx, ids.values())
    before = await _attributed(tx, heads)
    after, causes = dict(before), dict[UUID, UUID]()
    outcomes: dict[UUID, tuple[UUID, str]] = {}
    evidence: list[Evidence] = []
    at = clock.now()
    for each in news:
        order_id = ids[each.triple]
        head, outcome = rules.absorb(after[order_id], each.document)
        if each.reused_id:
            head = replace(head, marks=head.marks | {"delivery-id-reused"})
        if isinstance(each.document, OrderDocument) and outcome != rules.DUPLICATE:
            evidence.append(Evidence(order_id, each.delivery_id, outcome, each.document, at))
        if head is not after[order_id]:
            causes[order_id] = each.delivery_id
        after[order_id] = head
        outcomes[each.delivery_id] = (order_id, outcome)
    # A document brings its own lines, and with them SKUs that nobody asked for before.
    after = await _attributed(tx, after)
    await store.add_revisions(tx, evidence)
    await _settle(tx, before, after, causes, at)
    return outcomes


async def derive_again(tx: Write, order_ids: Iterable[UUID]) -> int:
    """Derives orders anew from what they know and today's reference data; returns how many there were."""
    await reference.shared(tx)
    heads = await store.lock(tx, order_ids)
    posted = await ledger_store.live(tx, list(heads))
    after = await _attributed(tx, heads)
    before = {
        key: replace(head, attribution=_standing(posted.get(key, ()), head)) for key, head in heads.items()
    }
    await _settle(tx, before, after, {}, clock.now())
    return len(heads)


def _standing(live: Sequence[Entry], head: Head) -> Attribution:
    """The attribution that the live entries were posted under."""
    if not live or head.document is None:
        return Attribution()
    skus = {
        line.platform_sku: entry.wanted.sku
        for entry in live
        if entry.wanted.sku and 0 < entry.wanted.line_no <= len(head.document.lines)
        for line in (head.document.lines[entry.wanted.line_no - 1],)
        if line.platform_sku
    }
    return Attribution(live[0].wanted.partner_id, live[0].wanted.channel, skus)


async def _attributed(tx: Write, heads: Mapping[UUID, Head]) -> dict[UUID, Head]:
    """The heads with partner, channel and SKUs by this service's own copies."""
    known = [head for head in heads.values() if head.document is not None]
    shops = sorted({Shop(head.platform, head.shop_id) for head in known})
    asked = {
        ShopSku(head.platform, head.shop_id, line.platform_sku)
        for head in known
        if head.document
        for line in head.document.lines
        if line.line_kind == "product" and line.platform_sku
    }
    bindings = await reference_store.bindings(tx, shops) if shops else {}
    skus = await reference_store.skus(tx, sorted(asked)) if asked else {}
    attributed = dict(heads)
    for head in known:
        assert head.document is not None  # noqa: S101  `known` holds such heads only
        own = {
            line.platform_sku: skus[key]
            for line in head.document.lines
            if line.platform_sku and (key := ShopSku(head.platform, head.shop_id, line.platform_sku)) in skus
        }
        bound = bindings.get(Shop(head.platform, head.shop_id), ())
        attributed[head.order_id] = replace(
            head, attribution=_attribution(bound, head.document.placed_at, own)
        )
    return attributed


def _attribution(bindings: Sequence[Mapping[str, Any]], at: datetime, skus: Mapping[str, str]) -> Attribution:
    """The binding in force when the order was placed."""
    for binding in bindings:
        since, until = datetime.fromisoformat(binding["valid_from"]), binding.get("valid_to")
        if since <= at and (until is None or at < datetime.fromisoformat(until)):
            partner = binding.get("partner_id")
            return Attribution(UUID(partner) if partner else None, binding.get("channel"), skus)
    return Attribution(skus=skus)


async def _settle(
    tx: Write,
    before: Mapping[UUID, Head],
    after: Mapping[UUID, Head],
    causes: Mapping[UUID, UUID],
    at: datetime,
) -> None:
    """Posts, saves and announces what differs between two states of the same heads."""
    touched = [key for key in sorted(after) if key in causes or after[key] != before[key]]
    live = await ledger_store.live(tx, [key for key in touched if before[key].document is not None])
    saved: list[Saved] = []
    refunds: dict[tuple[UUID, str], rules.KnownRefund] = {}
    entries: list[Entry] = []
    announcements: list[Announcement] = []
    for key in touched:
        old, head = before[key], after[key]
        account, was = rules.account(head), rules.account(old)
        posting = Posting((), ())
        if account is not None:
            posting = post(
                key, live.get(key, ()), account.entries, cause=causes.get(key), at=at, identify=uuid7
            )
            events = _events(
                head, was.snapshot if was else None, account.snapshot, posting, causes.get(key), at
            )
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
    """One event, or several with consecutive versions when there are many entries; none when nothing shows."""
    if before == after and not posting.entries:
        return []
    name = f"channel.order.{rules.event_name(before, after)}.v1"
    bodies = [_body(entry) for entry in posting.entries]
    parts = [bodies[start : start + ENTRIES_MAX] for start in range(0, len(bodies), ENTRIES_MAX)] or [[]]
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


def _body(entry: Entry) -> EntryBody:
    facts, money = entry.wanted, entry.wanted.components
    return EntryBody(
        entry_id=entry.entry_id,
        order_id=entry.order_id,
        line_no=facts.line_no,
        line_kind=facts.line_kind,
        kind=facts.kind,
        quantity=facts.quantity,
        currency=facts.currency,
        list_minor=money.list_minor,
        promo_minor=money.promo_minor,
        platform_coupon_minor=money.platform_coupon_minor,
        merchant_coupon_minor=money.merchant_coupon_minor,
        freight_minor=money.freight_minor,
        tax_minor=money.tax_minor,
        platform_fee_minor=money.platform_fee_minor,
        net_minor=money.net_minor,
        tax_included=facts.tax_included,
        partner_id=facts.partner_id,
        channel=facts.channel,
        sku=facts.sku,
        business_at=facts.business_at,
        origin_at=facts.origin_at,
        recorded_at=entry.recorded_at,
        cause_delivery_id=entry.cause_delivery_id,
        reverses_entry_id=entry.reverses_entry_id,
        origin_entry_id=entry.origin_entry_id,
        entry_hash=entry.entry_hash,
    )
