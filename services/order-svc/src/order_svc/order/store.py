"""The orders' tables: heads, lines, documents kept as evidence, refunds. Many orders at a time."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from channel_events.order import OrderSnapshot
from channel_kit.database import Read, Row, Write
from channel_kit.ids import uuid7
from order_svc.ledger.rules import REMAINDER_LINE
from order_svc.ledger.values import Wanted, sums
from order_svc.order.rules import Attribution, Head, KnownRefund
from order_svc.order.values import ZERO, Deletion, OrderDocument, Triple, dump, load_order, load_refund


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
    return {Triple(row.platform, row.shop_id, row.platform_order_id): row.order_id for row in rows}


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
    heads = {row.order_id: _head(row) for row in rows}
    refunds: dict[UUID, dict[str, KnownRefund]] = {}
    # A placeholder of this moment has none.
    if known := [head.order_id for head in heads.values() if head.revision]:
        sql = "select order_id, external_id, standalone, document::text as document from refund where order_id = any($1::uuid[])"
        for row in await tx.rows(sql, known):
            found = KnownRefund(load_refund(row.document), row.standalone)
            refunds.setdefault(row.order_id, {})[row.external_id] = found
    return {key: replace(head, refunds=refunds.get(key, {})) for key, head in heads.items()}


def _head(row: Row) -> Head:
    deleted = row.deleted_version is not None
    return Head(
        row.order_id,
        row.platform,
        row.shop_id,
        row.platform_order_id,
        row.revision,
        row.stream_version,
        load_order(row.document) if row.document else None,
        Deletion(row.platform_order_id, row.deleted_version, row.deleted_at) if deleted else None,
        attribution=Attribution(row.partner_id, row.channel),
        marks=frozenset(row.marks),
    )


class Saved(NamedTuple):
    """A head with what was derived of it; `snapshot` None while only refunds are known."""

    head: Head
    snapshot: OrderSnapshot | None
    entries: Sequence[Wanted]


async def save_heads(tx: Write, saved: Sequence[Saved]) -> None:
    """Writes heads back; the caller has moved revision and stream version."""
    ordered = sorted(saved, key=lambda each: each.head.order_id)
    heads = [each.head for each in ordered]
    snapshots = [each.snapshot for each in ordered]
    await tx.execute(
        """
        update order_head h set revision = t.revision, stream_version = t.stream_version, document = t.document::json,
          deleted_version = t.deleted_version, deleted_at = t.deleted_at, number = t.number, lifecycle = t.lifecycle,
          payment = t.payment, fulfilment = t.fulfilment, currency = t.currency, partner_id = t.partner_id, channel = t.channel,
          business_at = t.business_at, paid_at = t.paid_at, flags = string_to_array(t.flags, ' '),
          marks = string_to_array(t.marks, ' '), ordered_net_minor = t.ordered, paid_minor = t.paid,
          refunded_minor = t.refunded, net_sales_minor = t.sales, updated_at = clock_timestamp()
        from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[],
          $9::text[], $10::text[], $11::uuid[], $12::text[], $13::timestamptz[], $14::timestamptz[], $15::text[],
          $16::text[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::timestamptz[])
          t(order_id, revision, stream_version, document, deleted_version, number, lifecycle, payment, fulfilment,
            currency, partner_id, channel, business_at, paid_at, flags, marks, ordered, paid, refunded, sales, deleted_at)
        where h.order_id = t.order_id
        """,
        [head.order_id for head in heads],
        [head.revision for head in heads],
        [head.stream_version for head in heads],
        [dump(head.document) if head.document else None for head in heads],
        [head.deletion.version if head.deletion else None for head in heads],
        [head.document.number if head.document else None for head in heads],
        [each.lifecycle if each else None for each in snapshots],
        [each.payment if each else None for each in snapshots],
        [each.fulfilment if each else None for each in snapshots],
        [each.currency if each else None for each in snapshots],
        [head.attribution.partner_id for head in heads],
        [head.attribution.channel for head in heads],
        [each.business_at if each else None for each in snapshots],
        [each.paid_at if each else None for each in snapshots],
        [
            " ".join(each.flags) if each else _waiting(head)
            for head, each in zip(heads, snapshots, strict=True)
        ],
        [" ".join(sorted(head.marks)) for head in heads],
        [each.totals.ordered_net_minor if each else 0 for each in snapshots],
        [each.totals.paid_minor if each else 0 for each in snapshots],
        [each.totals.refunded_minor if each else 0 for each in snapshots],
        [each.totals.net_sales_minor if each else 0 for each in snapshots],
        [head.deletion.at if head.deletion else None for head in heads],
    )


def _waiting(head: Head) -> str:
    return "refund-before-order" if head.refunds else "deleted-before-order"


class _LineRow(NamedTuple):
    """A row of `order_line`, in the order of its columns."""

    order_id: UUID
    line_no: int
    external_id: str
    line_kind: str
    platform_sku: str | None
    sku: str | None
    title: str | None
    ordered: Decimal
    cancelled: Decimal
    shipped: Decimal
    returned: Decimal
    restocked: Decimal
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
    if not known:
        return
    await tx.execute(
        """
        delete from order_line l
        where l.order_id = any($1::uuid[]) and not exists (
          select from unnest($2::uuid[], $3::int[]) t(order_id, line_no)
          where t.order_id = l.order_id and t.line_no = l.line_no)
        """,
        [each.head.order_id for each in known],
        [row.order_id for row in rows],
        [row.line_no for row in rows],
    )
    if not rows:
        return
    await tx.execute(
        """
        insert into order_line (order_id, line_no, external_id, line_kind, platform_sku, sku, title, ordered, cancelled,
          shipped, returned, restocked, net_minor, kinds, partner_id)
        select order_id, line_no, external_id, line_kind, platform_sku, sku, title, ordered, cancelled, shipped, returned,
          restocked, net_minor, kinds::json, partner_id
        from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::numeric[],
          $9::numeric[], $10::numeric[], $11::numeric[], $12::numeric[], $13::bigint[], $14::text[], $15::uuid[])
          t(order_id, line_no, external_id, line_kind, platform_sku, sku, title, ordered, cancelled, shipped, returned,
            restocked, net_minor, kinds, partner_id)
        on conflict (order_id, line_no) do update set external_id = excluded.external_id, line_kind = excluded.line_kind,
          platform_sku = excluded.platform_sku, sku = excluded.sku, title = excluded.title, ordered = excluded.ordered,
          cancelled = excluded.cancelled, shipped = excluded.shipped, returned = excluded.returned,
          restocked = excluded.restocked, net_minor = excluded.net_minor, kinds = excluded.kinds,
          partner_id = excluded.partner_id
        """,
        *(list(column) for column in zip(*rows, strict=True)),
    )


def _line_rows(saved: Saved) -> list[_LineRow]:
    head = saved.head
    kinds = {no: json.dumps(line) for no, line in sums(saved.entries).items()}
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
            line.ordered,
            line.cancelled,
            line.shipped,
            line.returned,
            line.restocked,
            line.net_minor,
            kinds.get(line.line_no, "{}"),
            head.attribution.partner_id,
        )
        for line, source in zip(saved.snapshot.lines, head.document.lines, strict=True)
    ]
    if REMAINDER_LINE in kinds:
        words: tuple[str, str, None, None, None] = ("remainder", "adjustment", None, None, None)
        none = (ZERO, ZERO, ZERO, ZERO, ZERO)
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
            [dump(each.document) for each in evidence],
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
