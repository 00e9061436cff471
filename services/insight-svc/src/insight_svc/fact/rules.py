"""How announcements become facts and facts become sums per day.

Pure. A fold is a sum, so the order, the grouping and the repetition of events cannot change it once every
fact is taken once; the store sees to that. Called by `fact.actions`; `kpi.rules` reads the sums.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime, tzinfo
from functools import lru_cache
from uuid import UUID

from channel_events.incentive import AccrualBody
from channel_events.order import EntryBody, OrderSnapshot
from channel_kit.money import apportion, share
from insight_svc.fact.values import (
    PRODUCT,
    ZERO,
    CellFact,
    DailyKey,
    EntryFact,
    Measures,
    OrderFact,
    RebateShare,
)


@lru_cache(maxsize=4_096)  # the entries of one order share their instants
def day_in(zone: tzinfo, at: datetime) -> date:
    """The calendar day of an aware instant in `zone`; its UTC day at the two ends of the calendar."""
    try:
        return at.astimezone(zone).date()
    except OverflowError:
        return at.date()


def entry_fact(entry: EntryBody, zone: tzinfo) -> EntryFact:
    """The entry with its business and origin day."""
    return EntryFact(entry, day_in(zone, entry.business_at), day_in(zone, entry.origin_at))


def order_fact(order: OrderSnapshot, version: int, zone: tzinfo) -> OrderFact:
    """The order of one event; `version` is the event's aggregate version."""
    skus = {line.sku for line in order.lines if line.line_kind == PRODUCT}
    # Money without a stated time counts from the placing, as the ledger books it.
    paid_at = order.paid_at or (order.business_at if order.totals.paid_minor else None)
    return OrderFact(
        order_id=order.order_id,
        version=version,
        platform=order.platform,
        shop_id=order.shop_id,
        platform_order_id=order.platform_order_id,
        partner_id=order.partner_id,
        channel=order.channel,
        currency=order.currency,
        placed_on=day_in(zone, order.business_at),
        paid_on=None if paid_at is None else day_in(zone, paid_at),
        lifecycle=order.lifecycle,
        payment=order.payment,
        fulfilment=order.fulfilment,
        paid_minor=order.totals.paid_minor,
        refunded_minor=order.totals.refunded_minor,
        net_sales_minor=order.totals.net_sales_minor,
        flags=order.flags,
        skus=tuple(sorted(skus, key=lambda sku: (sku is None, sku or ""))),
    )


def fold_entries(facts: Iterable[EntryFact]) -> dict[DailyKey, Measures]:
    """The sums per day of these entries, each taken once."""
    days: defaultdict[DailyKey, Measures] = defaultdict(Measures)
    for entry, business_on, origin_on in facts:
        scope = (entry.currency, entry.partner_id, entry.channel, entry.sku)
        _add(days[DailyKey(business_on, *scope)], entry)
        if entry.line_kind == PRODUCT and entry.kind in ("shipped", "returned"):
            _add_to_cohort(days[DailyKey(origin_on, *scope)], entry)
    return dict(days)


def _live(entry: EntryBody) -> int:
    return 1 if entry.reverses_entry_id is None else -1


def _add(sums: Measures, entry: EntryBody) -> None:
    """An entry of a kind we do not know counts as an entry and in no figure."""
    live = _live(entry)
    product = entry.line_kind == PRODUCT
    units = entry.quantity if product else ZERO
    sums.entries += 1
    sums.product_entries += live if product else 0
    match entry.kind:
        case "ordered":
            sums.demand_entries += live
            sums.ordered_units += units
            sums.ordered_net_sales_minor += entry.net_sales_minor
        case "cancelled":
            sums.demand_entries += live
            sums.cancelled_units += units
            sums.cancelled_net_sales_minor += entry.net_sales_minor
        case "returned":
            sums.demand_entries += live
            sums.returned_units += units
            sums.returned_net_sales_minor += entry.net_sales_minor
        case "paid":
            sums.cash_entries += live
            sums.paid_net_minor += entry.net_minor
            sums.paid_net_sales_minor += entry.net_sales_minor
        case "refunded":
            sums.cash_entries += live
            sums.refunded_net_minor += entry.net_minor
            sums.refunded_net_sales_minor += entry.net_sales_minor
        case "shipped":
            sums.goods_entries += live
            sums.shipped_units += units
        case "fee":
            sums.fee_minor += entry.net_minor


def _add_to_cohort(sums: Measures, entry: EntryBody) -> None:
    sums.cohort_entries += _live(entry)
    if entry.kind == "shipped":
        sums.cohort_shipped_units += entry.quantity
    else:
        sums.cohort_returned_units += entry.quantity


def cell_fact(cell_id: UUID, version: int, accrual: AccrualBody) -> CellFact:
    """The cell of one accrual; `version` is the event's aggregate version."""
    return CellFact(
        cell_id=cell_id,
        version=version,
        plan_id=accrual.plan_id,
        plan_version=accrual.plan_version,
        partner_id=accrual.partner_id,
        period_start_on=accrual.period.start_on,
        period_end_on=accrual.period.end_on,
        currency=accrual.currency,
        basis_minor=accrual.basis_minor,
        accrued_minor=accrual.rebate_minor,
    )


def rebate_shares(cell_id: UUID, version: int, accrual: AccrualBody, day: date) -> list[RebateShare]:
    """The accrual's delta split over its slices; shares of 0 are left out.

    What cannot be split fairly stays on one share without channel and SKU: see `split`.
    """
    bases: defaultdict[tuple[str | None, str | None], int] = defaultdict(int)
    for piece in accrual.slices:
        bases[piece.channel, piece.sku] += piece.basis_delta_minor
    places = sorted(bases, key=lambda place: (place[0] or "", place[1] or ""))
    parts = split(accrual.delta_minor, [bases[place] for place in places])
    if parts is None:
        places, parts = [(None, None)], [accrual.delta_minor]
    return [
        RebateShare(
            cell_id, version, position, day, accrual.currency, accrual.partner_id, channel, sku, rebate_minor
        )
        for position, ((channel, sku), rebate_minor) in enumerate(zip(places, parts, strict=True))
        if rebate_minor
    ]


def split(delta: int, bases: Sequence[int]) -> list[int] | None:
    """`delta` in proportion to signed `bases`, by largest remainder; None when there is no fair proportion.

    There is none when the bases sum to 0, and when they have both signs and the delta is larger than their
    sum: a tier change would be spread over amounts that nearly cancel, and a slice would be given more rebate
    than its own basis moved.
    """
    whole = sum(bases)
    if whole == 0:
        return None
    gains = [max(basis, 0) for basis in bases]
    losses = [max(-basis, 0) for basis in bases]
    if not any(gains) or not any(losses):
        return apportion(delta, [abs(basis) for basis in bases])
    if abs(delta) > abs(whole):
        return None
    of_gains = share(delta, sum(gains), whole)
    parts = zip(apportion(of_gains, gains), apportion(delta - of_gains, losses), strict=True)
    return [gain + loss for gain, loss in parts]


def fold_rebates(shares: Iterable[RebateShare]) -> dict[DailyKey, Measures]:
    """The sums per day of these shares, each taken once."""
    days: defaultdict[DailyKey, Measures] = defaultdict(Measures)
    for part in shares:
        sums = days[DailyKey(part.day, part.currency, part.partner_id, part.channel, part.sku)]
        sums.rebate_entries += 1
        sums.rebate_minor += part.rebate_minor
    return dict(days)
