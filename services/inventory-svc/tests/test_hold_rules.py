"""The holds' rules by hand, where the answer is plain, and over any way an order's snapshots may come."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventory_svc.hold import rules
from inventory_svc.hold.values import Hold, Reservation, Terms, Want, Windows
from inventory_svc.stock.rules import Shelf, refused

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
ID = UUID(int=1)
PAID, UNPAID = Terms(True, None), Terms(False, NOW + timedelta(minutes=30))


def plain(*values: Any) -> tuple[Any, ...]:
    """Decimals next to the whole numbers they are compared with."""
    return values


def shelf(on_hand: int | str, **more: int) -> Shelf:
    levels: dict[str, Any] = {name: Decimal(value) for name, value in more.items()}
    return Shelf(UUID(int=9), "A", "main", Decimal(on_hand), **levels)


def settled(
    on: Shelf, demanded: int | str, terms: Terms = PAID, line: Hold | None = None, **facts: int
) -> Hold:
    want = Want(None, "A", Decimal(demanded), **{name: Decimal(value) for name, value in facts.items()})
    return rules.settle(line or Hold(ID, 1, "main"), want, {("A", "main"): on}, terms)


@pytest.mark.parametrize(
    ("ordered", "cancelled", "shipped", "expected"),
    [(5, 0, 0, 5), (5, 2, 0, 3), (5, 5, 0, 0), (5, 5, 2, 2), (5, 0, 7, 7), (1, 3, 0, 0)],
)
def test_demand_is_what_is_left_or_has_left(
    ordered: int, cancelled: int, shipped: int, expected: int
) -> None:
    assert rules.demand(Decimal(ordered), Decimal(cancelled), Decimal(shipped)) == expected


@pytest.mark.parametrize(
    ("payment", "flags", "expected"),
    [
        ("unpaid", (), False),
        ("voided", (), False),
        ("unpaid", ("cod",), True),
        ("authorized", (), True),
        ("partially_paid", (), True),
        ("paid", (), True),
        ("refunded", (), True),
        ("some-new-word", (), True),
    ],
)
def test_only_what_is_not_paid_at_all_expires(payment: str, flags: tuple[str, ...], expected: bool) -> None:
    assert rules.firm(payment, flags) is expected


def test_fractions_are_exact() -> None:
    on = shelf("0.3")
    for quantity in ("0.1", "0.1", "0.1"):
        assert settled(on, quantity).committed == Decimal(quantity)
    assert plain(on.allocated, on.available) == (Decimal("0.3"), 0)


def test_safety_stock_and_quarantine_are_not_promised_but_safety_may_have_shipped() -> None:
    on = shelf(10, safety=3, quarantined=2)
    assert settled(on, 9).short == 4
    gone = shelf(10, safety=3, quarantined=2)
    line = settled(gone, 9, shipped=9)
    assert plain(line.issued, line.short, gone.on_hand) == (8, 1, 2)


def test_shipment_comes_out_of_the_own_claim_first_and_never_out_of_others() -> None:
    on = shelf(10)
    mine, other = settled(on, 4), settled(on, 5)
    after = settled(on, 7, line=mine, shipped=7)
    assert plain(after.issued, after.short, on.on_hand, on.allocated) == (5, 2, 5, other.committed)
    (gap,) = rules.discrepancies(mine, after)
    assert plain(gap.kind, gap.quantity) == (rules.SHIPPED_BEYOND_STOCK, 2)


def test_shipment_that_is_taken_back_returns_by_a_movement_and_is_claimed_again() -> None:
    on = shelf(5)
    line = settled(on, 3, line=settled(on, 3, shipped=3), shipped=1)
    assert plain(line.issued, line.committed, on.on_hand, on.allocated) == (1, 2, 4, 2)
    assert [plain(move.kind, move.quantity, move.cause) for move in on.movements] == [
        ("issue", -3, "shipped"),
        ("issue", 2, "shipment-withdrawn"),
    ]


def test_withdrawn_return_takes_only_what_is_there() -> None:
    on = shelf(2)
    line = settled(on, 2, shipped=2, restock_due=2)
    settled(on, 1)
    after = settled(on, 2, line=line, shipped=2)
    assert plain(after.restocked, on.on_hand) == (1, 1)
    (gap,) = rules.discrepancies(line, after)
    assert plain(gap.kind, gap.quantity) == (rules.RESTOCK_NOT_FOLLOWED, -1)


def test_running_claim_is_not_prolonged_by_another_message() -> None:
    on = shelf(5)
    line = settled(on, 2, UNPAID)
    later = Terms(False, NOW + timedelta(hours=5))
    assert settled(on, 3, later, line).expires_at == UNPAID.expires_at


def test_expiry_ends_the_wait_too_and_payment_claims_anew() -> None:
    on = shelf(2)
    line = settled(on, 5, UNPAID)
    assert plain(line.held, line.short) == (2, 3)
    early = rules.expire(line, on, NOW)
    assert early is line
    lapsed = rules.expire(line, on, NOW + timedelta(minutes=30))
    assert plain(lapsed.expired, lapsed.short, on.reserved, lapsed.expires_at) == (5, 0, 0, None)
    assert settled(on, 5, UNPAID, lapsed).expired == 5, "an unpaid order does not come back by itself"
    paid = settled(on, 5, PAID, lapsed)
    assert plain(paid.committed, paid.short, paid.expired) == (2, 3, 0)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {"held": 2}, "held"),
        ({}, {"held": 1, "short": 1}, "short"),
        ({"held": 2}, {"expired": 2}, "expired"),
        ({"committed": 2}, {"committed": 1, "issued": 1}, "issued"),
        ({"committed": 2}, {}, "released"),
        ({"held": 2}, {"committed": 2}, "held"),
        ({"short": 2}, {"committed": 2}, "held"),
        ({"issued": 2}, {"issued": 2, "restocked": 1}, "issued"),
        ({"held": 2}, {"held": 2}, None),
    ],
)
def test_change_is_named_by_its_highest_rank(
    before: dict[str, int], after: dict[str, int], expected: str | None
) -> None:
    def lines(parts: dict[str, int]) -> list[Hold]:
        demanded = sum(value for name, value in parts.items() if name != "restocked")
        numbers: dict[str, Any] = {name: Decimal(value) for name, value in parts.items()}
        return [Hold(ID, 1, "main", sku="A", demanded=Decimal(demanded), **numbers)]

    assert rules.change(lines(before), lines(after)) == expected


def test_hold_window_is_the_request_s_then_the_channel_s_then_the_default() -> None:
    windows = Windows(1_800, {"store": 600})
    heads = {
        60: Reservation(ID, "api", channel="store", hold_seconds=60),
        600: Reservation(ID, "order", channel="store"),
        1_800: Reservation(ID, "order"),
    }
    for seconds, head in heads.items():
        assert windows.terms(head, NOW).expires_at == NOW + timedelta(seconds=seconds)
    assert windows.terms(Reservation(ID, "order", firm=True), NOW) == PAID


def test_command_lines_count_together_against_what_is_free() -> None:
    shelves = {("A", "main"): shelf(10, allocated=4)}
    lines = [("A", "main", Decimal(each)) for each in (-3, -4, -3, -1)]
    assert [each.free for each in refused(shelves, lines)] == [3, 0]


facts = st.fixed_dictionaries(
    {name: st.integers(0, 5) for name in ("ordered", "cancelled", "shipped", "restocked")},
    optional={"platform_sku": st.just("P-1")},
)
states = st.tuples(
    st.lists(facts, min_size=1, max_size=3), st.sampled_from(("unpaid", "paid", "refunded", "voided"))
)


@settings(max_examples=300, deadline=None)
@given(history=st.lists(states, min_size=1, max_size=6), data=st.data())
def test_any_arrival_of_an_order_s_snapshots_ends_in_the_same_holds(
    history: Sequence[Any], data: st.DataObject, snapshot_of: Any
) -> None:
    """With stock enough, only the newest snapshot decides; gaps, repeats and stale ones leave nothing behind."""
    snapshots = [
        (snapshot_of(ID, [{**line, "sku": "A"} for line in lines], payment), version)
        for version, (lines, payment) in enumerate(history, 1)
    ]
    arrivals = [*data.draw(st.lists(st.sampled_from(snapshots), max_size=8)), snapshots[-1]]
    results = []
    for sequence in (arrivals, [snapshots[-1]]):
        on, known = shelf(1_000), 0
        lines: dict[int, Hold] = {}
        for each in sequence:
            for order, version in rules.newer([each], {ID: known}).values():
                known, firm = version, rules.firm(order.payment, order.flags)
                for line, want in rules.targets(order, lines, {}, "main"):
                    after = rules.settle(line, want, {("A", "main"): on}, PAID if firm else UNPAID)
                    lines[line.line_no] = after
        kept = {no: line for no, line in lines.items() if line.demanded or line.restocked}
        results.append((kept, on.levels))
    assert results[0] == results[1]
