"""Days are sums of facts whatever the order, the repetition and the grouping; rebates are split to the last unit."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channel_events.order import EntryBody
from insight_svc.fact import rules
from insight_svc.fact.values import MEASURES, DailyKey, Measures

SHANGHAI = ZoneInfo("Asia/Shanghai")
START = datetime(2026, 6, 30, 12, tzinfo=UTC)
KINDS = ("ordered", "cancelled", "returned", "paid", "refunded", "shipped", "fee", "gifted")
AMOUNT = st.integers(-(10**6), 10**6)


@st.composite
def entries(draw: st.DrawFn) -> EntryBody:
    amounts: dict[str, Any] = {
        name: draw(AMOUNT)
        for name in (
            "list_minor",
            "platform_coupon_minor",
            "freight_minor",
            "tax_minor",
            "platform_fee_minor",
        )
    }
    return EntryBody(
        entry_id=draw(st.uuids()),
        order_id=UUID(int=draw(st.integers(1, 3))),
        line_no=draw(st.integers(1, 3)),
        line_kind=draw(st.sampled_from(("product", "freight"))),
        kind=draw(st.sampled_from(KINDS)),
        quantity=draw(st.decimals(-99, 99, places=3)),
        currency=draw(st.sampled_from(("CNY", "JPY"))),
        promo_minor=0,
        merchant_coupon_minor=0,
        net_minor=sum(amounts.values()),
        tax_included=False,
        partner_id=draw(st.sampled_from((None, UUID(int=1), UUID(int=2)))),
        channel=draw(st.sampled_from((None, "online"))),
        sku=draw(st.sampled_from((None, "A", "B"))),
        business_at=START + timedelta(hours=draw(st.integers(0, 48))),
        origin_at=START - timedelta(hours=draw(st.integers(0, 48))),
        recorded_at=START,
        reverses_entry_id=draw(st.sampled_from((None, UUID(int=9)))),
        entry_hash="0" * 64,
        **amounts,
    )


def group_by(facts: Sequence[EntryBody]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The model: one figure at a time, over all facts, knowing nothing of folding."""

    def china(at: datetime) -> date:
        return (at + timedelta(hours=8)).date()

    def scope(entry: EntryBody) -> tuple[Any, ...]:
        return (entry.currency, entry.partner_id, entry.channel, entry.sku)

    answer = {}
    for entry in facts:
        for at in (entry.business_at, entry.origin_at):
            key = (china(at), *scope(entry))
            mine = [x for x in facts if (china(x.business_at), *scope(x)) == key]
            cohort = [
                x
                for x in facts
                if (china(x.origin_at), *scope(x)) == key
                and x.line_kind == "product"
                and x.kind in ("shipped", "returned")
            ]

            def live(rows: Sequence[EntryBody], *kinds: str) -> int:
                rows = [row for row in rows if row.kind in kinds]
                return len(rows) - 2 * sum(1 for row in rows if row.reverses_entry_id)

            def units(rows: Sequence[EntryBody], kind: str) -> Decimal:
                return sum(
                    (x.quantity for x in rows if x.kind == kind and x.line_kind == "product"), Decimal(0)
                )

            def net(kind: str, rows: Sequence[EntryBody] = mine) -> int:
                return sum(x.net_minor for x in rows if x.kind == kind)

            def sales(kind: str, rows: Sequence[EntryBody] = mine) -> int:
                others = ("tax_minor", "freight_minor", "platform_coupon_minor")
                taken = sum(int(getattr(x, name)) for x in rows if x.kind == kind for name in others)
                return net(kind) - taken

            if not mine and not cohort:
                continue
            answer[key] = {
                "entries": len(mine),
                "demand_entries": live(mine, "ordered", "cancelled", "returned"),
                "cash_entries": live(mine, "paid", "refunded"),
                "goods_entries": live(mine, "shipped"),
                "product_entries": live([x for x in mine if x.line_kind == "product"], *KINDS),
                "cohort_entries": live(cohort, *KINDS),
                "rebate_entries": 0,
                "ordered_units": units(mine, "ordered"),
                "cancelled_units": units(mine, "cancelled"),
                "returned_units": units(mine, "returned"),
                "shipped_units": units(mine, "shipped"),
                "cohort_shipped_units": units(cohort, "shipped"),
                "cohort_returned_units": units(cohort, "returned"),
                "ordered_net_sales_minor": sales("ordered"),
                "cancelled_net_sales_minor": sales("cancelled"),
                "returned_net_sales_minor": sales("returned"),
                "paid_net_sales_minor": sales("paid"),
                "refunded_net_sales_minor": sales("refunded"),
                "paid_net_minor": net("paid"),
                "refunded_net_minor": net("refunded"),
                "fee_minor": net("fee"),
                "rebate_minor": 0,
            }
    return answer


def plain(days: dict[DailyKey, Measures]) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {tuple(key): {name: getattr(sums, name) for name in MEASURES} for key, sums in days.items()}


@given(st.lists(entries(), max_size=12), st.randoms(use_true_random=False), st.integers(1, 5))
def test_days_equal_the_group_by_in_any_order_repetition_and_chunking(
    facts: list[EntryBody], chance: Any, size: int
) -> None:
    arriving = [*facts, *facts[::2]]
    chance.shuffle(arriving)
    seen: set[UUID] = set()
    days: dict[DailyKey, Measures] = {}
    for start in range(0, len(arriving), size):
        new = {
            entry.entry_id: entry for entry in arriving[start : start + size] if entry.entry_id not in seen
        }
        seen |= new.keys()
        for key, sums in rules.fold_entries(rules.entry_fact(x, SHANGHAI) for x in new.values()).items():
            before = days.get(key, Measures())
            days[key] = Measures(*(getattr(before, name) + getattr(sums, name) for name in MEASURES))
    distinct = list({entry.entry_id: entry for entry in facts}.values())
    assert plain(days) == group_by(distinct)


@given(st.lists(st.integers(-(10**9), 10**9), max_size=8), st.integers(-(10**9), 10**9))
def test_shares_sum_to_the_delta_and_none_outweighs_its_basis(bases: list[int], delta: int) -> None:
    parts = rules.split(delta, bases)
    if parts is None:
        mixed = any(basis > 0 for basis in bases) and any(basis < 0 for basis in bases)
        assert sum(bases) == 0 or (mixed and abs(delta) > abs(sum(bases)))
        return
    assert sum(parts) == delta
    for part, basis in zip(parts, bases, strict=True):
        # A largest remainder is less than one unit away; the two signs round once more between them.
        assert abs(part * sum(bases) - delta * basis) <= 2 * abs(sum(bases))
        assert basis or not part


@pytest.mark.parametrize(
    ("delta", "bases", "parts"),
    [
        (1_000, [22_500, 30_000], [429, 571]),
        (-167, [-8_750], [-167]),
        (10, [1, 1, 1], [4, 3, 3]),
        (5, [100, -50], [10, -5]),  # 10 %: what was lost gives back
        (0, [100, -50], [0, 0]),
        (500, [20, -19], None),  # a tier jump on amounts that nearly cancel
        (500, [20, 10], [333, 167]),  # a tier jump on amounts of one sign
        (7, [], None),
        (7, [5, -5], None),
    ],
)
def test_split_by_hand(delta: int, bases: list[int], parts: list[int] | None) -> None:
    assert rules.split(delta, bases) == parts


def test_rebate_without_fair_split_stays_with_the_partner(make: Any) -> None:
    partner = UUID(int=1)
    event = make.accrual(UUID(int=2), 4, partner, 500, [("online", "A", 20), ("online", "B", -19)], START)
    [share] = rules.rebate_shares(UUID(int=2), 4, event.data, date(2026, 7, 1))
    assert (share.partner_id, share.channel, share.sku, share.rebate_minor) == (partner, None, None, 500)


def test_slices_of_one_place_are_split_as_one(make: Any) -> None:
    slices = [("online", "A", 10), (None, None, 20), ("online", "A", 10)]
    event = make.accrual(UUID(int=2), 1, UUID(int=1), 8, slices, START)
    shares = rules.rebate_shares(UUID(int=2), 1, event.data, date(2026, 7, 1))
    assert [(x.position, x.channel, x.sku, x.rebate_minor) for x in shares] == [
        (0, None, None, 4),
        (1, "online", "A", 4),
    ]


def test_day_turns_at_midnight_of_the_zone_and_never_fails() -> None:
    assert rules.day_in(SHANGHAI, datetime(2026, 7, 1, 15, 59, 59, tzinfo=UTC)) == date(2026, 7, 1)
    assert rules.day_in(SHANGHAI, datetime(2026, 7, 1, 16, tzinfo=UTC)) == date(2026, 7, 2)
    assert rules.day_in(SHANGHAI, datetime(9999, 12, 31, 23, tzinfo=UTC)) == date(9999, 12, 31)
    assert rules.day_in(ZoneInfo("America/New_York"), datetime(1, 1, 1, tzinfo=UTC)) == date(1, 1, 1)


def test_an_order_is_paid_on_the_day_its_money_is_booked(make: Any) -> None:
    placed, paid = datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 7, 3, tzinfo=UTC)

    def paid_on(paid_minor: int, paid_at: datetime | None) -> date | None:
        order = make.order(UUID(int=1), placed, ["A"], paid_at=paid_at)
        totals = order.totals.model_copy(update={"paid_minor": paid_minor})
        return rules.order_fact(order.model_copy(update={"totals": totals}), 1, SHANGHAI).paid_on

    assert paid_on(100, paid) == date(2026, 7, 3)
    assert paid_on(0, paid) == date(2026, 7, 3)  # free of charge, and settled
    assert paid_on(100, None) == date(2026, 7, 1)
    assert paid_on(0, None) is None
