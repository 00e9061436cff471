"""The orders' tables: heads, lines, documents kept as evidence, refunds. Many orders at a time."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec.structs import replace

from channel_events.order import OrderSnapshot
from channel_kit.database import Read, Row, Write
from channel_kit.ids import uuid7
from order_svc.ledger.rules import REMAINDER_LINE
from order_svc.ledger.values import Wanted, sums
from order_svc.order.rules import Attribution, Head, KnownRefund
from order_svc.order.values import Deletion, OrderDocument, Triple, dump, load_order, load_refund


async def open_heads(tx: Write, triples: Iterable[Triple]) -> None:
    """Makes a placeholder for every order never heard of, sorted, so that rivals meet on the same row."""
    wanted = sorted(set(triples))
    await tx.execute(
        """
        insert into order_head (order_id, platform, shop_id, platform_order_id)
        select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[])
        on conflict do nothing
        """,
        [uuid7() for _ in wanted],
        [triple.platform for triple in wanted],
        [triple.shop_id for triple in wanted],
        [triple.platform_order_id for triple in wanted],
    )


async def find(tx: Read, triples: Iterable[Triple]) -> dict[Triple, UUID]:
    wanted = sorted(set(triples))
    rows = await tx.rows(
        """
        select h.order_id, h.platform, h.shop_id, h.platform_order_id from order_head h
        join unnest($1::text[], $2::text[], $3::text[]) t(platform, shop_id, platform_order_id)
          using (platform_order_id, shop_id, platform)
        """,
        [triple.platform for triple in wanted],
        [triple.shop_id for triple in wanted],
        [triple.platform_order_id for triple in wanted],
    )
    return {Triple(*triple): order_id for order_id, *triple in rows}


async def lock(tx: Write, order_ids: Iterable[UUID]) -> dict[UUID, Head]:
    """Locks heads in the order of their ids and reads them with their refunds, and with the partner and channel
    that they stand under; the SKUs of their lines stand in the ledger."""
    ids = sorted(order_ids)
    rows = await tx.rows(
        """
        select order_id, platform, shop_id, platform_order_id, revision, stream_version, document::text as document,
               deleted_version, deleted_at, partner_id, channel, marks
        from order_head where order_id = any($1::uuid[]) order by order_id for update
        """,
        ids,
    )
    heads = {head.order_id: head for head in map(_head, rows)}
    refunds: dict[UUID, dict[str, KnownRefund]] = {}
    # A placeholder of this moment has none.
    if known := [head.order_id for head in heads.values() if head.revision]:
        sql = "select order_id, external_id, standalone, document::text as document from refund where order_id = any($1::uuid[])"
        for row in await tx.rows(sql, known):
            known_refund = KnownRefund(load_refund(row.document), row.standalone)
            refunds.setdefault(row.order_id, {})[row.external_id] = known_refund
    return heads | {key: replace(heads[key], refunds=found) for key, found in refunds.items()}


def _head(row: Row) -> Head:
    order_id, platform, shop_id, platform_order_id, revision, stream_version, document, *more = row
    deleted_version, deleted_at, partner_id, channel, marks = more
    return Head(
        order_id,
        platform,
        shop_id,
        platform_order_id,
        revision,
        stream_version,
        load_order(document) if document else None,
        None if deleted_version is None else Deletion(platform_order_id, deleted_version, deleted_at),
        attribution=Attribution(partner_id, channel),
        marks=frozenset(marks),
    )


class Saved(NamedTuple):
    """A head with what was derived of it; `snapshot` None while only refunds are known."""

    head: Head
    snapshot: OrderSnapshot | None
    entries: Sequence[Wanted]


async def save_heads(tx: Write, saved: Sequence[Saved]) -> None:
    """Writes heads back; the caller has moved revision and stream version."""
    await tx.execute(
        """
        update order_head h set revision = t.revision, stream_version = t.stream_version, document = t.document,
          deleted_version = t.deleted_version, deleted_at = t.deleted_at, marks = t.marks, number = t.number,
          lifecycle = t.lifecycle, payment = t.payment, fulfilment = t.fulfilment, currency = t.currency,
          partner_id = t.partner_id, channel = t.channel, business_at = t.business_at, paid_at = t.paid_at, flags = t.flags,
          ordered_net_minor = t.ordered_net_minor, paid_minor = t.paid_minor, refunded_minor = t.refunded_minor,
          net_sales_minor = t.net_sales_minor, updated_at = clock_timestamp()
        from unnest($1::order_head_row[]) t where h.order_id = t.order_id
        """,
        [_head_row(each) for each in sorted(saved, key=lambda each: each.head.order_id)],
    )


def _head_row(saved: Saved) -> tuple[Any, ...]:
    """A head as the database's `order_head_row`."""
    head, snapshot = saved.head, saved.snapshot
    document, deletion, bound = head.document, head.deletion, head.attribution
    known = (
        head.order_id,
        head.revision,
        head.stream_version,
        document.text if document else None,
        deletion.version if deletion else None,
        deletion.at if deletion else None,
        sorted(head.marks),
        document.number if document else None,
    )
    if snapshot is None:
        flag = "refund-before-order" if head.refunds else "deleted-before-order"
        nothing = (None, None, None, None, bound.partner_id, bound.channel, None, None)
        return (*known, *nothing, [flag], 0, 0, 0, 0)
    totals = snapshot.totals
    return (
        *known,
        snapshot.lifecycle,
        snapshot.payment,
        snapshot.fulfilment,
        snapshot.currency,
        bound.partner_id,
        bound.channel,
        snapshot.business_at,
        snapshot.paid_at,
        list(snapshot.flags),
        totals.ordered_net_minor,
        totals.paid_minor,
        totals.refunded_minor,
        totals.net_sales_minor,
    )


class _LineRow(NamedTuple):
    """The database's `order_line_row`."""

    order_id: UUID
    line_no: int
    external_id: str
    line_kind: str
    platform_sku: str | None
    sku: str | None
    title: str | None
    ordered: str
    cancelled: str
    shipped: str
    returned: str
    restocked: str
    net_minor: int
    kinds: str
    partner_id: UUID | None


async def save_lines(tx: Write, saved: Sequence[Saved]) -> None:
    """Replaces the lines of these orders; each with quantity and net per ledger kind.

    Amounts that belong to no line of the document have a line of their own, number 0, while there are any:
    so the ledger's sums are on some line, always.
    """
    known = sorted((each for each in saved if each.snapshot), key=lambda each: each.head.order_id)
    rows = [row for each in known for row in _line_rows(each)]
    if before := {each.head.order_id for each in known if each.head.revision > 1}:  # others have no lines yet
        kept = [row for row in rows if row.order_id in before]
        await tx.execute(
            """
            delete from order_line l
            where l.order_id = any($1::uuid[]) and not exists (
              select from unnest($2::uuid[], $3::int[]) t(order_id, line_no)
              where t.order_id = l.order_id and t.line_no = l.line_no)
            """,
            sorted(before),
            [row.order_id for row in kept],
            [row.line_no for row in kept],
        )
    if not rows:
        return
    await tx.execute(
        """
        insert into order_line (order_id, line_no, external_id, line_kind, platform_sku, sku, title, ordered, cancelled,
          shipped, returned, restocked, net_minor, kinds, partner_id)
        select order_id, line_no, external_id, line_kind, platform_sku, sku, title, ordered::numeric, cancelled::numeric,
          shipped::numeric, returned::numeric, restocked::numeric, net_minor, kinds, partner_id
        from unnest($1::order_line_row[])
        on conflict (order_id, line_no) do update set external_id = excluded.external_id, line_kind = excluded.line_kind,
          platform_sku = excluded.platform_sku, sku = excluded.sku, title = excluded.title, ordered = excluded.ordered,
          cancelled = excluded.cancelled, shipped = excluded.shipped, returned = excluded.returned,
          restocked = excluded.restocked, net_minor = excluded.net_minor, kinds = excluded.kinds,
          partner_id = excluded.partner_id
        """,
        rows,
    )


def _line_rows(saved: Saved) -> list[_LineRow]:
    head = saved.head
    kinds = {no: msgspec.json.encode(line).decode() for no, line in sums(saved.entries).items()}
    assert saved.snapshot is not None  # noqa: S101  the caller kept such only
    assert head.document is not None  # noqa: S101  there is no snapshot without one
    rows = [
        _LineRow(
            head.order_id,
            line.line_no,
            source.external_id,
            line.line_kind,
            line.platform_sku,
            line.sku,
            source.title,
            str(line.ordered),
            str(line.cancelled),
            str(line.shipped),
            str(line.returned),
            str(line.restocked),
            line.net_minor,
            kinds.get(line.line_no, "{}"),
            head.attribution.partner_id,
        )
        for line, source in zip(saved.snapshot.lines, head.document.lines, strict=True)
    ]
    if REMAINDER_LINE in kinds:
        words: tuple[str, str, None, None, None] = ("remainder", "adjustment", None, None, None)
        none = ("0", "0", "0", "0", "0")
        partner = head.attribution.partner_id
        rows.append(_LineRow(head.order_id, REMAINDER_LINE, *words, *none, 0, kinds[REMAINDER_LINE], partner))
    return rows


class Evidence(NamedTuple):
    """One document that was received for an order, and what it did."""

    order_id: UUID
    delivery_id: UUID
    outcome: str
    document: OrderDocument
    recorded_at: datetime


async def add_revisions(tx: Write, evidence: Sequence[Evidence]) -> None:
    if evidence:
        await tx.execute(
            """
            insert into order_revision (revision_id, order_id, delivery_id, outcome, version, content_hash, document, recorded_at)
            select revision_id, order_id, delivery_id, outcome, version, content_hash, document::json, recorded_at
            from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::timestamptz[])
              t(revision_id, order_id, delivery_id, outcome, version, content_hash, document, recorded_at)
            """,
            [uuid7() for _ in evidence],
            [each.order_id for each in evidence],
            [each.delivery_id for each in evidence],
            [each.outcome for each in evidence],
            [each.document.version for each in evidence],
            [each.document.content_hash for each in evidence],
            [each.document.text for each in evidence],
            [each.recorded_at for each in evidence],
        )


async def save_refunds(tx: Write, changed: Mapping[tuple[UUID, str], KnownRefund]) -> None:
    keys = sorted(changed)
    if keys:
        await tx.execute(
            """
            insert into refund (order_id, external_id, standalone, document)
            select order_id, external_id, standalone, document::json
            from unnest($1::uuid[], $2::text[], $3::bool[], $4::text[]) t(order_id, external_id, standalone, document)
            on conflict (order_id, external_id) do update set standalone = excluded.standalone, document = excluded.document
            """,
            [order_id for order_id, _ in keys],
            [external_id for _, external_id in keys],
            [changed[key].standalone for key in keys],
            [dump(changed[key].refund) for key in keys],
        )


async def set_stock_status(tx: Write, changes: Sequence[tuple[UUID, int, str]]) -> None:
    """(order, reservation version, state): the back-edge from inventory; an older version changes nothing."""
    await tx.execute(
        """
        with locked as (
          select order_id from order_head where order_id = any($1::uuid[]) order by order_id for update)
        update order_head h set stock_status = t.state, stock_version = t.version, revision = h.revision + 1,
          updated_at = clock_timestamp()
        from locked join (select distinct on (order_id) order_id, version, state
              from unnest($1::uuid[], $2::bigint[], $3::text[]) t(order_id, version, state)
              order by order_id, version desc) t using (order_id)
        where h.order_id = locked.order_id and h.stock_version < t.version
        """,
        [order_id for order_id, _, _ in changes],
        [version for _, version, _ in changes],
        [state for _, _, state in changes],
    )


_VIEW = """h.order_id, h.platform, h.shop_id, h.platform_order_id, h.number, h.revision, h.stream_version, h.lifecycle,
  h.payment, h.fulfilment, h.currency, h.partner_id, h.channel, h.business_at, h.paid_at, h.flags, h.stock_status,
  h.ordered_net_minor, h.paid_minor, h.refunded_minor, h.net_sales_minor, h.created_at, h.updated_at"""


class Search(NamedTuple):
    """What to look for; None = anything. `platform_order_id` also finds the number that people read."""

    platform_order_id: str | None = None
    platform: str | None = None
    shop_id: str | None = None
    partner_id: UUID | None = None
    channel: str | None = None
    flag: str | None = None
    lifecycle: str | None = None
    payment: str | None = None


async def page(tx: Read, search: Search, before: UUID | None, limit: int) -> Sequence[Row]:
    """Orders, latest known first."""
    return await tx.rows(
        f"""
        select {_VIEW} from order_head h
        where ($1::text is null or h.platform_order_id = $1 or h.number = $1)
          and ($2::text is null or h.platform = $2) and ($3::text is null or h.shop_id = $3)
          and ($4::uuid is null or h.partner_id = $4) and ($5::text is null or h.channel = $5)
          and ($6::text is null or (h.flags <> '{{}}' and h.flags @> array[$6::text]))
          and ($7::text is null or h.lifecycle = $7) and ($8::text is null or h.payment = $8)
          and ($9::uuid is null or h.order_id < $9)
        order by h.order_id desc limit $10
        """,  # noqa: S608  a constant list of columns
        *search,
        before,
        limit,
    )


async def one(tx: Read, order_id: UUID) -> Row | None:
    return await tx.row(f"select {_VIEW} from order_head h where h.order_id = $1", order_id)  # noqa: S608


async def lines(tx: Read, order_id: UUID) -> Sequence[Row]:
    return await tx.rows(
        """
        select line_no, external_id, line_kind, platform_sku, sku, title, ordered, cancelled, shipped, returned, restocked,
          net_minor
        from order_line where order_id = $1 order by line_no
        """,
        order_id,
    )


async def documents(tx: Read, order_id: UUID) -> Sequence[Row]:
    """Every document received for the order, as evidence, oldest first."""
    return await tx.rows(
        """
        select revision_id, delivery_id, outcome, version, content_hash, document::text as document, recorded_at
        from order_revision where order_id = $1 order by revision_id
        """,
        order_id,
    )


async def exceptions(tx: Read, codes: Sequence[str]) -> Sequence[Row]:
    """Orders that need somebody, grouped by cause, with the money that is waiting."""
    return await tx.rows(
        """
        select code, h.platform, h.shop_id, coalesce(l.platform_sku, '') as subject, h.currency,
          count(distinct h.order_id)::int as orders,
          sum(coalesce(l.net_minor, h.ordered_net_minor))::bigint as net_minor, min(h.created_at) as since,
          (array_agg(distinct h.order_id))[1:5] as examples
        from order_head h cross join unnest(h.flags) code
        left join order_line l on code = 'unknown-sku' and l.order_id = h.order_id and l.sku is null and l.line_kind = 'product'
        where h.flags <> '{}' and h.flags && $1::text[] and code = any($1::text[])
        group by code, h.platform, h.shop_id, subject, h.currency order by code, net_minor desc limit 500
        """,
        list(codes),
    )


async def quarantine(tx: Read) -> Sequence[Row]:
    """Deliveries that no order has because they could not be read, grouped by reason."""
    return await tx.rows(
        """
        select reason, platform, shop_id, count(*)::int as deliveries, min(received_at) as since from delivery
        where status = 'quarantined' group by reason, platform, shop_id order by deliveries desc limit 500
        """
    )
