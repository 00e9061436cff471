"""The audit's equations, read from the databases alone, in SQL that no service shares.

Each equation takes the connections of all services and yields findings: a figure that was compared, or a breach
with examples. A rebate is computed here by its own few lines, so that a fault of the service's arithmetic shows.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import asyncpg

Databases = Mapping[str, "asyncpg.Connection[asyncpg.Record]"]
EXAMPLES = 5
CONSUMERS = {
    "channel.partner": ("order.partner", "inventory.partner", "incentive.partner", "insight.partner"),
    "channel.order": ("inventory.order", "incentive.order", "insight.order"),
    "channel.inventory": ("order.inventory", "insight.inventory"),
    "channel.incentive": ("insight.incentive",),
}
PRODUCERS = {
    "channel.partner": "partner",
    "channel.order": "order",
    "channel.inventory": "inventory",
    "channel.incentive": "incentive",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One comparison: what was looked at, the figures, and the things that break it."""

    equation: str
    name: str
    figures: Mapping[str, Any]
    breaches: int = 0
    examples: tuple[str, ...] = field(default=())

    @property
    def holds(self) -> bool:
        return self.breaches == 0


Equation = Callable[[Databases], AsyncIterator[Finding]]


async def _breaking(
    db: "asyncpg.Connection[asyncpg.Record]", equation: str, name: str, sql: str, counted: str
) -> Finding:
    """A finding of a query whose rows are the breaches; `counted` says how many things were looked at."""
    rows = await db.fetch(f"select * from ({sql}) breach limit {EXAMPLES}")  # noqa: S608  constant queries of this module
    breaches = await db.fetchval(f"select count(*) from ({sql}) breach") if rows else 0  # noqa: S608
    return Finding(
        equation,
        name,
        {"checked": await db.fetchval(counted)},
        breaches,
        tuple(str(dict(row)) for row in rows),
    )


async def ledger(dbs: Databases) -> AsyncIterator[Finding]:
    """1. Entries add up to their lines; reversals are exact and single; net is the sum of its components."""
    db = dbs["order"]
    entries = "select count(*) from ledger_entry"
    yield await _breaking(
        db,
        "1 ledger",
        "entries per (order, line, kind) = the line's quantity and net",
        """
        with summed as (
          select order_id, line_no, kind, sum(quantity) as quantity, sum(net_minor) as net from ledger_entry
          group by order_id, line_no, kind),
        stated as (
          select l.order_id, l.line_no, k.key as kind, (k.value ->> 0)::numeric as quantity, (k.value ->> 1)::numeric as net
          from order_line l cross join json_each(l.kinds) k)
        select coalesce(s.order_id, t.order_id) as order_id, coalesce(s.line_no, t.line_no) as line_no,
          coalesce(s.kind, t.kind) as kind, s.net as ledger, t.net as line
        from summed s full join stated t using (order_id, line_no, kind)
        where coalesce(s.quantity, 0) <> coalesce(t.quantity, 0) or coalesce(s.net, 0) <> coalesce(t.net, 0)
        """,
        entries,
    )
    yield await _breaking(
        db,
        "1 ledger",
        "a reversal is the exact opposite of one entry",
        """
        select r.entry_id from ledger_entry r left join ledger_entry e on e.entry_id = r.reverses_entry_id
        where r.reverses_entry_id is not null and (e.entry_id is null or e.reverses_entry_id is not null
          or (r.order_id, r.line_no, r.line_kind, r.kind, r.currency, r.business_at, r.origin_at, r.tax_included)
             is distinct from (e.order_id, e.line_no, e.line_kind, e.kind, e.currency, e.business_at, e.origin_at, e.tax_included)
          or r.partner_id is distinct from e.partner_id or r.channel is distinct from e.channel or r.sku is distinct from e.sku
          or r.quantity + e.quantity <> 0 or r.list_minor + e.list_minor <> 0 or r.promo_minor + e.promo_minor <> 0
          or r.platform_coupon_minor + e.platform_coupon_minor <> 0 or r.merchant_coupon_minor + e.merchant_coupon_minor <> 0
          or r.freight_minor + e.freight_minor <> 0 or r.tax_minor + e.tax_minor <> 0
          or r.platform_fee_minor + e.platform_fee_minor <> 0)
        """,
        "select count(*) from ledger_entry where reverses_entry_id is not null",
    )
    yield await _breaking(
        db,
        "1 ledger",
        "no live entry points to a reversed one",
        """
        select e.entry_id from ledger_entry e
        where e.origin_entry_id is not null and e.reverses_entry_id is null
          and not exists (select from ledger_entry r where r.reverses_entry_id = e.entry_id)
          and exists (select from ledger_entry r where r.reverses_entry_id = e.origin_entry_id)
        """,
        "select count(*) from ledger_entry where origin_entry_id is not null",
    )
    yield await _breaking(
        db,
        "1 ledger",
        "net = the sum of its components",
        """
        select entry_id from ledger_entry where net_minor <> list_minor + promo_minor + platform_coupon_minor
          + merchant_coupon_minor + freight_minor + tax_minor + platform_fee_minor
        """,
        entries,
    )
    yield await _breaking(
        db,
        "1 ledger",
        "every settled delivery has its order; nothing waits",
        """
        select delivery_id, status from delivery where status = 'new' or (status = 'applied' and order_id is null)
        """,
        "select count(*) from delivery",
    )


async def stock_of_orders(dbs: Databases) -> AsyncIterator[Finding]:
    """2. What an order demands of a mapped line is held, committed, issued, short or expired, at equal version."""
    lines = {
        (row["order_id"], row["line_no"]): row
        for row in await dbs["order"].fetch(
            """
            select l.order_id, l.line_no, l.sku, greatest(l.ordered - l.cancelled, l.shipped) as demanded,
              l.cancelled <= greatest(0, l.ordered - l.shipped) as cancelled_fits, h.stream_version as version
            from order_line l join order_head h using (order_id)
            where l.line_kind = 'product' and l.sku is not null
            """
        )
    }
    holds = {
        (row["order_id"], row["line_no"]): row
        for row in await dbs["inventory"].fetch(
            """
            select h.order_id, h.line_no, r.order_version as version, min(h.sku) as sku,
              sum(h.held + h.committed + h.issued + h.short + h.expired) as covered
            from hold h join reservation r using (order_id) where r.source = 'order' and h.sku is not null
            group by h.order_id, h.line_no, r.order_version
            """
        )
    }
    wrong = []
    for key, line in lines.items():
        hold = holds.get(key)
        covered = hold["covered"] if hold else 0
        if (
            covered != line["demanded"]
            or not line["cancelled_fits"]
            or (hold is not None and (hold["version"], hold["sku"]) != (line["version"], line["sku"]))
        ):
            wrong.append(f"order {key[0]} line {key[1]}: demanded {line['demanded']}, covered {covered}")
    for key, hold in holds.items():
        if key not in lines and hold["covered"]:
            wrong.append(f"order {key[0]} line {key[1]}: {hold['covered']} kept for a line that is not there")
    yield Finding(
        "2 order and stock",
        "demand of each mapped line = held + committed + issued + short + expired",
        {"lines": len(lines), "holds": len(holds)},
        len(wrong),
        tuple(wrong[:EXAMPLES]),
    )


async def stock(dbs: Databases) -> AsyncIterator[Finding]:
    """3. On hand = Σ movements, reserved = Σ held, allocated = Σ committed, and nothing is below zero."""
    yield await _breaking(
        dbs["inventory"],
        "3 stock",
        "on hand, reserved and allocated = their sums, none promised twice",
        """
        select s.sku, s.location, s.on_hand, m.quantity as moved, s.reserved, h.held, s.allocated, h.committed
        from stock s
        left join (select stock_id, sum(quantity) as quantity from movement group by stock_id) m using (stock_id)
        left join (select sku, location, sum(held) as held, sum(committed) as committed from hold
                   where sku is not null group by sku, location) h using (sku, location)
        where s.on_hand <> coalesce(m.quantity, 0) or s.reserved <> coalesce(h.held, 0)
          or s.allocated <> coalesce(h.committed, 0) or s.on_hand < 0 or s.reserved + s.allocated > s.on_hand
        """,
        "select count(*) from stock",
    )
    yield await _breaking(
        dbs["inventory"],
        "3 stock",
        "no stock was ever below zero, movement by movement",
        """
        select * from (select sku, location, sum(quantity) over (partition by stock_id order by recorded_at, movement_id) as level
                       from movement) running where level < 0
        """,
        "select count(*) from movement",
    )


async def rebates(dbs: Databases) -> AsyncIterator[Finding]:
    """4. The basis is the attributed ledger; each cell is the sum of what it matches, and accrued = round(R(basis))."""
    yield _same(
        "4 rebates",
        "basis entries = attributed ledger entries",
        await _set(
            dbs["order"], "select entry_id, entry_hash from ledger_entry where partner_id is not null"
        ),
        await _set(dbs["incentive"], "select entry_id, entry_hash from basis_entry"),
    )
    db = dbs["incentive"]
    found = await db.fetch(
        """
        select c.cell_id, c.basis_minor, c.accrued_minor, pv.shape, pv.rounding, pv.tiers::text as tiers,
          (select coalesce(sum(delta_minor), 0) from accrual a where a.cell_id = c.cell_id) as deltas,
          (select coalesce(sum(case pv.basis when 'net_sales'
              then e.net_minor - e.tax_minor - e.freight_minor - e.platform_coupon_minor else e.net_minor end), 0)
           from basis_entry e
           where e.partner_id = c.partner_id and e.currency = c.currency
             and e.kind = any(case pv.recognition when 'paid' then array['paid', 'refunded']
                              else array['ordered', 'cancelled', 'returned'] end)
             and (pv.channels is null or e.channel = any(pv.channels)) and (pv.skus is null or e.sku = any(pv.skus))
             and exists (select from contract k where k.partner_id = c.partner_id and p.code = any(k.plan_codes)
               and k.valid_from <= e.origin_at and (k.valid_to is null or e.origin_at < k.valid_to)
               and (e.origin_at at time zone k.time_zone)::date >= c.period_start
               and (e.origin_at at time zone k.time_zone)::date < c.period_end)) as matched
        from cell c join plan p using (plan_id)
        join plan_version pv on pv.plan_id = c.plan_id and pv.version = c.plan_version
        """
    )
    rows = [dict(row) for row in found]
    wrong = [
        f"cell {row['cell_id']}: basis {row['basis_minor']} (matched {row['matched']}), accrued {row['accrued_minor']} "
        f"(Σ delta {row['deltas']}, computed {_rebate(row)})"
        for row in rows
        if not (
            row["basis_minor"] == row["matched"] and row["accrued_minor"] == row["deltas"] == _rebate(row)
        )
    ]
    yield Finding(
        "4 rebates",
        "cell = Σ matched entries; accrued = round(R(basis)) = Σ delta",
        {"cells": len(rows), "accrued_minor": sum(row["accrued_minor"] for row in rows)},
        len(wrong),
        tuple(wrong[:EXAMPLES]),
    )


def _rebate(row: Mapping[str, Any]) -> int:
    """R of a cell, from the definition: marginal or all-units tiers with lower bounds, one rounding."""
    basis = int(row["basis_minor"])
    if basis <= 0:
        return 0
    tiers = [
        (tier["lower_minor"], Fraction(tier["rate_ppm"], 1_000_000)) for tier in json.loads(row["tiers"])
    ]
    if row["shape"] == "all_units":
        exact = basis * [rate for lower, rate in tiers if lower <= basis][-1]
    else:
        uppers = [*(lower for lower, _ in tiers[1:]), basis]
        exact = sum(
            (
                rate * max(0, min(basis, upper) - lower)
                for (lower, rate), upper in zip(tiers, uppers, strict=True)
            ),
            Fraction(0),
        )
    whole, rest = divmod(exact, 1)
    if row["rounding"] == "down":
        return int(whole)
    if row["rounding"] == "half_up":
        return int(whole) + int(rest >= Fraction(1, 2))
    return round(exact)


async def figures(dbs: Databases) -> AsyncIterator[Finding]:
    """5. Insight has every ledger entry, and its days are their group-by."""
    yield _same(
        "5 figures",
        "entry facts = ledger entries",
        await _set(dbs["order"], "select entry_id, entry_hash from ledger_entry"),
        await _set(dbs["insight"], "select entry_id, entry_hash from entry_fact"),
    )
    yield await _breaking(
        dbs["insight"],
        "5 figures",
        "days = the group-by of their facts",
        """
        with e as (
          select business_on as day, currency, partner_id, channel, sku,
            sum(quantity) filter (where kind = 'ordered' and line_kind = 'product') as ordered_units,
            sum(quantity) filter (where kind = 'shipped' and line_kind = 'product') as shipped_units,
            sum(net_minor - tax_minor - freight_minor - platform_coupon_minor) filter (where kind = 'paid') as paid,
            sum(net_minor - tax_minor - freight_minor - platform_coupon_minor) filter (where kind = 'refunded') as refunded
          from entry_fact group by 1, 2, 3, 4, 5),
        r as (select day, currency, partner_id, channel, sku, sum(rebate_minor) as rebate from rebate_fact group by 1, 2, 3, 4, 5)
        select d.day, d.currency, d.partner_id, d.channel, d.sku from daily_fact d
        left join e on (e.day, e.currency) = (d.day, d.currency) and e.partner_id is not distinct from d.partner_id
          and e.channel is not distinct from d.channel and e.sku is not distinct from d.sku
        left join r on (r.day, r.currency) = (d.day, d.currency) and r.partner_id is not distinct from d.partner_id
          and r.channel is not distinct from d.channel and r.sku is not distinct from d.sku
        where d.ordered_units <> coalesce(e.ordered_units, 0) or d.shipped_units <> coalesce(e.shipped_units, 0)
          or d.paid_net_sales_minor <> coalesce(e.paid, 0) or d.refunded_net_sales_minor <> coalesce(e.refunded, 0)
          or d.rebate_minor <> coalesce(r.rebate, 0)
        """,
        "select count(*) from daily_fact",
    )
    yield _same(
        "5 figures",
        "rebate cost of the days = accrued in the cells",
        {"accrued": await dbs["incentive"].fetchval("select coalesce(sum(accrued_minor), 0) from cell")},
        {"accrued": await dbs["insight"].fetchval("select coalesce(sum(rebate_minor), 0) from daily_fact")},
    )


async def flow(dbs: Databases) -> AsyncIterator[Finding]:
    """6. Nothing pending, nothing parked, and every consumer stands at the producer's versions."""
    for name, db in dbs.items():
        pending = await db.fetchval("select count(*) from outbox_pending")
        parked = await db.fetchval("select count(*) from parked")
        yield Finding(
            "6 flow",
            f"{name}: nothing pending, parked or to be derived again",
            {
                "pending": pending,
                "parked": parked,
                "rederive": (due := await db.fetchval("select count(*) from rederive")),
            },
            pending + parked + due,
        )
    for topic, producer in PRODUCERS.items():
        made = await _versions(
            dbs[producer],
            "select aggregate_id, aggregate_type, max(aggregate_version) as version from outbox where topic = $1 group by 1, 2",
            topic,
        )
        for consumer in CONSUMERS[topic]:
            seen = await _versions(
                dbs[consumer.split(".")[0]],
                "select aggregate_id, aggregate_type, last_version as version from watermark where consumer = $1",
                consumer,
            )
            yield _same("6 flow", f"{consumer} has seen all of {topic}", made, seen)


async def _versions(db: "asyncpg.Connection[asyncpg.Record]", sql: str, *args: Any) -> dict[str, Any]:
    row = await db.fetchrow(
        f"select count(*) as n, coalesce(bit_xor(hashtextextended(aggregate_id || aggregate_type || version, 0)), 0) as mark "  # noqa: S608
        f"from ({sql}) t",
        *args,
    )
    return {"aggregates": row["n"], "mark": row["mark"]} if row else {}


async def _set(db: "asyncpg.Connection[asyncpg.Record]", sql: str) -> dict[str, Any]:
    """Size and fingerprint of a set of entries: equal only when ids and contents are equal."""
    row = await db.fetchrow(
        f"select count(*) as n, coalesce(bit_xor(hashtextextended(entry_id || entry_hash, 0)), 0) as mark from ({sql}) t"  # noqa: S608
    )
    return {"entries": row["n"], "mark": row["mark"]} if row else {}


def _same(equation: str, name: str, left: Mapping[str, Any], right: Mapping[str, Any]) -> Finding:
    shown = {
        key: left[key] if left[key] == right[key] else f"{left[key]} ≠ {right[key]}"
        for key in left
        if key != "mark"
    }
    breaches = 0 if left == right else 1
    return Finding(
        equation, name, shown, breaches, () if not breaches else (f"{dict(left)} ≠ {dict(right)}",)
    )


EQUATIONS: tuple[Equation, ...] = (ledger, stock_of_orders, stock, rebates, figures, flow)
