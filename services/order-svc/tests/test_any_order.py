"""Whatever arrives first, twice, late or in other batches: the same live entries, and arithmetic that holds.

What the entries should add up to is worked out here from the last document and the refunds alone, in fractions,
line by line.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from order_svc.ledger.values import Entry, split
from order_svc.order import rules
from order_svc.order.values import Refund

GOODS = ("product", "gift_card")


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_order_repetition_and_batching_ends_in_the_same_entries(
    histories: Any, data: st.DataObject
) -> None:
    history = data.draw(histories.histories())
    straight, shuffled = histories.told([history]), histories.told(data.draw(histories.deliveries(history)))
    assert shuffled.head == straight.head
    assert shuffled.flags == straight.flags
    assert histories.contents(shuffled.live) == histories.contents(straight.live)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_every_reversal_is_exact_and_single_and_no_live_entry_points_to_a_reversed_one(
    histories: Any, data: st.DataObject
) -> None:
    ledger = histories.told(data.draw(histories.deliveries(data.draw(histories.histories()))))
    by_id = {entry.entry_id: entry for entry in ledger.entries}
    reversals = [entry for entry in ledger.entries if entry.reverses_entry_id]
    assert len({entry.reverses_entry_id for entry in reversals}) == len(reversals)
    for entry in reversals:
        undone = by_id[entry.reverses_entry_id or histories.ORDER]
        assert undone.reverses_entry_id is None
        money, back = entry.wanted.components, undone.wanted.components
        assert [left + right for left, right in zip(money.parts, back.parts, strict=True)] == [0] * 7
        assert entry.wanted.quantity + undone.wanted.quantity == 0
        assert replace(entry.wanted, quantity=undone.wanted.quantity, components=back) == undone.wanted
    live = {entry.entry_id: entry for entry in ledger.live}
    kinds = {"cancelled": "ordered", "returned": "ordered", "refunded": "paid"}
    for entry in live.values():
        place = (entry.wanted.line_no, kinds.get(entry.wanted.kind))
        found = [
            other.entry_id for other in live.values() if (other.wanted.line_no, other.wanted.kind) == place
        ]
        assert [entry.origin_entry_id] == (found or [None])


@given(data=st.data())
@settings(max_examples=250, deadline=None)
def test_live_entries_add_up_as_worked_out_line_by_line(histories: Any, data: st.DataObject) -> None:
    history = data.draw(histories.histories())
    ledger, last = histories.told([history]), histories.greatest(history)
    refunds = rules.effective_refunds(ledger.head)
    sums: dict[tuple[int, str], list[Decimal | int]] = defaultdict(lambda: [Decimal(0), 0])
    for entry in ledger.live:
        cell = sums[entry.wanted.line_no, entry.wanted.kind]
        cell[0] += entry.wanted.quantity
        cell[1] += sum(entry.wanted.components.parts)
    total = {
        kind: sum(cell[1] for (_, other), cell in sums.items() if other == kind)
        for kind in ("ordered", "cancelled", "returned", "paid", "refunded", "fee", "shipped")
    }
    buyers = [line for line in last.lines if line.line_kind != "platform_fee"]
    assert total["ordered"] == sum(line.components.net_minor for line in buyers)
    assert total["paid"] == last.paid_minor
    assert total["refunded"] == -sum(refund.amount_minor for refund in refunds)
    assert total["fee"] == sum(line.components.net_minor for line in last.lines) - total["ordered"]
    assert total["shipped"] == 0

    deleted = ledger.head.deletion is not None and ledger.head.deletion.version > last.version
    closed = deleted or last.lifecycle == "cancelled"
    went = any(line.shipped for line in last.lines if line.line_kind in GOODS)
    cancelled_values: list[int] = []
    for number, line in enumerate(last.lines, start=1):
        quantity = {
            kind: Fraction(sums[number, kind][0]) for kind in ("ordered", "cancelled", "returned", "shipped")
        }
        if line.line_kind == "platform_fee":
            assert set(quantity.values()) == {0}
            continue
        asked = sum(
            (
                Fraction(p.quantity)
                for r in refunds
                for p in r.lines
                if p.line_external_id == line.external_id
            ),
            Fraction(0),
        )
        goods = line.line_kind in GOODS
        unshipped = (
            max(Fraction(0), Fraction(line.ordered - line.shipped))
            if goods
            else Fraction(0 if went else line.ordered)
        )
        edited = min(Fraction(line.removed), unshipped if goods else Fraction(line.ordered))
        gone = max(edited, unshipped) if closed else edited + min(asked, max(Fraction(0), unshipped - edited))
        assert quantity["ordered"] == Fraction(line.ordered)
        assert quantity["cancelled"] == -gone
        assert quantity["returned"] == -(asked - min(asked, max(Fraction(0), unshipped - edited)))
        assert quantity["shipped"] == (Fraction(line.shipped) if goods else 0)
        worth = line.components.net_minor
        share = (
            gone / Fraction(line.ordered)
            if line.ordered
            else Fraction(int(closed and not (line.shipped if goods else went)))
        )
        assert sums[number, "cancelled"][1] == -round(worth * share)
        cancelled_values.append(round(worth * share))
        if line.line_kind == "product":
            assert 0 <= sum(sums[number, kind][1] for kind in ("ordered", "cancelled", "returned")) <= worth
            assert 0 <= sum(sums[number, kind][1] for kind in ("paid", "refunded")) <= worth

    back = sum(refund.amount_minor for refund in refunds)
    paid_back, most = back + total["returned"], sum(max(0, value) for value in cancelled_values)
    least = max(0, sum(cancelled_values))
    assert 0 <= paid_back <= most
    if not any(refund.lines for refund in refunds):
        assert paid_back == min(back, least)
    if closed and not went and _plain(refunds):
        assert min(back, least) <= paid_back <= min(back, most)


def _plain(refunds: Sequence[Refund]) -> bool:
    """Only lines that exist, and nothing kept back."""
    return all(
        part.amount_minor >= 0 and part.line_external_id != "no-such-line"
        for refund in refunds
        for part in refund.lines
    )


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_what_is_paid_back_in_full_leaves_nothing_on_any_line(histories: Any, data: st.DataObject) -> None:
    history = data.draw(histories.histories())
    last = histories.greatest(history)
    bare = Refund("all-of-it", "9001", "CNY", last.paid_minor, histories.PLACED + timedelta(days=30))
    whole = sum(line.components.net_minor for line in last.lines if line.line_kind != "platform_fee")
    ledger = histories.told([[replace(last, refunds=()), bare]])
    left: dict[int, list[int]] = defaultdict(lambda: [0] * 7)
    for entry in ledger.live:
        if entry.wanted.kind in ("paid", "refunded"):
            left[entry.wanted.line_no] = [
                a + b for a, b in zip(left[entry.wanted.line_no], entry.wanted.components.parts, strict=True)
            ]
    for number, line in enumerate(last.lines, start=1):
        if line.components.net_minor and last.paid_minor <= whole:
            assert left[number] == [0] * 7


def breaches(entry: Entry) -> list[str]:
    """The table's CHECK constraints, said once more."""
    row, money = entry.wanted, entry.wanted.components
    found = []
    if money.platform_fee_minor and row.kind != "fee":
        found.append("platform_fees_are_fees")
    if row.kind == "shipped" and any(money.parts):
        found.append("goods_carry_no_money")
    if row.kind in ("paid", "refunded", "fee") and row.quantity:
        found.append("cash_carries_no_goods")
    if row.line_kind == "product" and not entry.reverses_entry_id:
        sign = {"ordered": 1, "shipped": 1, "cancelled": -1, "returned": -1, "refunded": -1}.get(row.kind, 0)
        if sign * row.quantity < 0 or sign * money.net_minor < 0:
            found.append("signs_follow_the_kind")
    return found


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_no_platform_fact_meets_a_constraint(histories: Any, data: st.DataObject) -> None:
    history = data.draw(histories.histories())
    for entry in histories.told([[document] for document in history]).entries:
        assert breaches(entry) == []


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_times_and_origins_are_those_of_the_facts(histories: Any, data: st.DataObject) -> None:
    history = data.draw(histories.histories())
    ledger, last = histories.told([history]), histories.greatest(history)
    times = {refund.at for refund in rules.effective_refunds(ledger.head)}
    paid_at = last.paid_at or last.placed_at
    for row in (entry.wanted for entry in ledger.live):
        assert row.origin_at == (paid_at if row.kind in ("paid", "refunded") else last.placed_at)
        if row.kind in ("returned", "refunded"):
            assert row.business_at in times


def test_rounding_each_part_by_itself_would_be_noticed() -> None:
    """The planted bug that the arithmetic above is there for: parts rounded one by one do not sum to the whole."""
    assert split(10, [1, 1, 1]) == [4, 3, 3]
    assert sum(round(10 * weight / 3) for weight in (1, 1, 1)) != 10
