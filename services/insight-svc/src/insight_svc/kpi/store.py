"""Sums over the facts: every statement that answers a question about a period.

Reads only. Figures by day, channel, partner and SKU come from `daily_fact`; orders are counted in `order_fact`,
since an order with three SKUs is one order. What a partner may see, row level security decides.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

from channel_kit.database import Read
from insight_svc.fact.store import measures
from insight_svc.fact.values import MEASURES
from insight_svc.kpi.values import Coverage, GroupBy, GroupKey, Scope, Sums

# Compared as bytes, so that pages continue in the order they began in, whatever the database's locale.
_KEYS: Final[dict[GroupBy | None, str]] = {
    None: "''",
    GroupBy.DAY: "to_char(day, 'YYYY-MM-DD')",
    GroupBy.CHANNEL: "coalesce(channel, '')",
    GroupBy.PARTNER: "coalesce(partner_id::text, '')",
    GroupBy.SKU: "coalesce(sku, '')",
}


def _asked(scope: Scope) -> tuple[date, date, UUID | None, str | None, str | None, str | None]:
    return (scope.from_on, scope.to_on, scope.partner_id, scope.channel, scope.sku, scope.currency)


async def sums(
    tx: Read,
    scope: Scope,
    *,
    after: GroupKey | None = None,
    only: Sequence[GroupKey] | None = None,
    limit: int,
) -> dict[GroupKey, Sums]:
    """The sums of each group, in the order of their keys: those after `after`, of those in `only`."""
    rows = await tx.rows(
        _sums(scope.group_by),
        *_asked(scope),
        *(after or (None, None)),
        None if only is None else [group.currency for group in only],
        None if only is None else [group.key for group in only],
        limit,
    )
    return {GroupKey(row.currency, row.key): Sums(measures(tuple(row)[3:]), row.orders) for row in rows}


def _sums(group_by: GroupBy | None) -> str:
    # An order is in the group of every SKU that it contains; NULL stands for those not mapped yet.
    parts = "left join lateral unnest(skus) as part (sku) on true" if group_by is GroupBy.SKU else ""
    return f"""
        with summed as (
          select currency collate "C" as currency, {_KEYS[group_by]} collate "C" as key,
            {", ".join(f"sum({name}) as {name}" for name in MEASURES)}
          from daily_fact
          where day between $1 and $2
            and ($3::uuid is null or partner_id = $3)
            and ($4::text is null or channel = $4)
            and ($5::text is null or sku = $5)
            and ($6::text is null or currency = $6)
          group by 1, 2
        ), paid as (
          select currency collate "C" as currency, {_KEYS[group_by]} collate "C" as key, count(*) as orders
          from (select *, paid_on as day from order_fact) as paid_order {parts}
          where paid_on between $1 and $2
            and ($3::uuid is null or partner_id = $3)
            and ($4::text is null or channel = $4)
            and ($5::text is null or {"sku = $5" if parts else "$5 = any(skus)"})
            and ($6::text is null or currency = $6)
          group by 1, 2
        )
        select currency, key, coalesce(orders, 0) as orders,
          {", ".join(f"coalesce({name}, 0)" for name in MEASURES)}
        from summed full join paid using (currency, key)
        where ($7::text is null or (currency, key) > ($7, $8::text))
          and ($9::text[] is null or (currency, key) in (select * from unnest($9::text[], $10::text[])))
        order by currency, key
        limit $11
    """  # noqa: S608  our own names


async def coverage(tx: Read, scope: Scope) -> dict[GroupKey, Coverage]:
    """How complete the period is, per currency, and per day when grouped by day.

    Of the entries that are in the scope or may be, because what would say so is unknown; so it is the same for
    every channel, partner or SKU of one answer.
    """
    key = _KEYS[scope.group_by if scope.group_by is GroupBy.DAY else None]
    rows = await tx.rows(
        f"""
        with maybe as (
          select currency, {key} as key, demand_entries + cash_entries + goods_entries as entries,
            product_entries, partner_id is not null and channel is not null as attributed,
            sku is not null as mapped
          from daily_fact
          where day between $1 and $2
            and ($3::uuid is null or partner_id is null or partner_id = $3)
            and ($4::text is null or channel is null or channel = $4)
            and ($5::text is null or sku is null or sku = $5)
            and ($6::text is null or currency = $6)
        )
        select currency, key,
          coalesce(sum(entries), 0), coalesce(sum(entries) filter (where attributed), 0),
          coalesce(sum(product_entries), 0), coalesce(sum(product_entries) filter (where mapped), 0)
        from maybe group by 1, 2
        """,  # noqa: S608  our own names
        *_asked(scope),
    )
    return {GroupKey(row.currency, row.key): Coverage(*_integers(tuple(row)[2:])) for row in rows}


def _integers(values: Sequence[Any]) -> list[int]:
    return [int(value) for value in values]
