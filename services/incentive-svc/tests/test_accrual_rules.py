"""Cells: golden vectors as steps, judging one by one against judging whole spans, and a model written otherwise."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from incentive_svc.accrual.rules import Book, Reason, advance, count, difference, fold, place, windows
from incentive_svc.accrual.values import Cause, Cell, CellKey, Product, Window
from incentive_svc.basis.values import Amounts, Entry
from incentive_svc.plan.values import Plan, Terms, Tier
from incentive_svc.reference.values import Contract

PARTNER, PLAN = UUID(int=9), UUID(int=1)
CAUSE = Cause(UUID(int=70), UUID(int=71))


def entry(number: int, net: int, **given: Any) -> Entry:
    fields: dict[str, Any] = {
        "entry_id": UUID(int=number),
        "order_id": UUID(int=1000 + number),
        "line_no": 1,
        "line_kind": "product",
        "kind": "paid",
        "quantity": Decimal(1),
        "currency": "CNY",
        "amounts": Amounts(net),
        "partner_id": PARTNER,
        "channel": "online",
        "sku": "A",
        "business_at": datetime(2026, 5, 3, tzinfo=UTC),
        "origin_at": datetime(2026, 5, 3, tzinfo=UTC),
    }
    return Entry(**(fields | given))


def contract(zone: str = "Asia/Shanghai", *codes: str) -> Contract:
    return Contract(
        UUID(int=5), 1, PARTNER, datetime(2020, 1, 1, tzinfo=UTC), None, zone, frozenset(codes or ("P1",))
    )


def new_cell(terms: Terms) -> Cell:
    key = CellKey(terms.plan_id, PARTNER, date(2026, 5, 1), terms.currency)
    return Cell(UUID(int=3), key, date(2026, 6, 1), terms.version)


def walk(terms: Terms, *changes: int) -> tuple[Cell, list[int]]:
    """The cell after these changes of its basis, and what each step added."""
    cell, deltas = new_cell(terms), []
    for change in changes:
        moved = advance(cell, terms, {("online", "A"): change})
        assert moved is not None
        cell, step = moved
        deltas.append(step.delta_minor)
    assert sum(deltas) == cell.accrued_minor
    return cell, deltas


class TestAdvance:
    def test_v3_steps(self, build: Any) -> None:
        terms = build.make_terms(tiers=build.tiers((0, 0), (500_000, 20_000), (2_500_000, 40_000)))
        assert walk(terms, 300_000, 400_000, 2_000_000)[1] == [0, 14_000, 94_000]

    def test_v4_a_return_claws_back_the_tier_drop(self, build: Any) -> None:
        assert walk(build.make_terms(), 2_100_000, -200_000)[1] == [105_000, -48_000]

    def test_v5_marginal(self, build: Any) -> None:
        assert walk(build.make_terms(shape="marginal"), 2_100_000, -200_000)[1] == [35_000, -8_000]

    def test_v8_two_lines_add_up_once(self, build: Any) -> None:
        terms = build.make_terms(tiers=build.tiers((0, 100_000)))
        cell, deltas = walk(terms, 100, 200)
        assert (cell.accrued_minor, deltas) == (30, [10, 20])
        moved = advance(new_cell(terms), terms, {("online", "A"): 100, ("online", "B"): 200})
        assert moved is not None
        assert moved[1].delta_minor == 30

    def test_v11_invoice_and_credit_note(self, build: Any) -> None:
        terms = build.make_terms(tiers=build.tiers((0, 40_000)))
        assert walk(terms, 100_000, -20_000)[0].accrued_minor == 3_200

    def test_more_refunds_than_sales_owe_nothing_and_remember_the_debt(self, build: Any) -> None:
        terms = build.make_terms(tiers=build.tiers((0, 40_000)))
        cell, deltas = walk(terms, 100_000, -150_000, 60_000)
        assert deltas == [4_000, -4_000, 400]
        assert cell.basis_minor == 10_000

    def test_nothing_changed_is_no_step(self, build: Any) -> None:
        terms = build.make_terms()
        assert advance(new_cell(terms), terms, {}) is None
        assert advance(new_cell(terms), terms, {("online", "A"): 0}) is None
        cell = walk(terms, 1_000)[0]
        assert advance(cell, terms, {}) is None

    def test_changes_that_cancel_out_are_told_per_product(self, build: Any) -> None:
        moved = advance(new_cell(build.make_terms()), build.make_terms(), {("a", "A"): 5, (None, None): -5})
        assert moved is not None
        assert moved[1].slices == (((None, None), -5), (("a", "A"), 5))
        assert moved[1].delta_minor == 0

    def test_another_version_is_a_step_of_its_own(self, build: Any) -> None:
        cell = walk(build.make_terms(), 2_000_000)[0]
        moved = advance(cell, build.make_terms(version=2, tiers=build.tiers((0, 10_000))), {})
        assert moved is not None
        assert (moved[0].plan_version, moved[1].delta_minor) == (2, 20_000 - 100_000)

    def test_a_cell_without_terms_may_keep_nothing(self, build: Any) -> None:
        cell = walk(build.make_terms(), 2_000_000)[0]
        moved = advance(cell, None, {("online", "A"): -2_000_000})
        assert moved is not None
        assert (moved[0].basis_minor, moved[0].accrued_minor) == (0, 0)
        with pytest.raises(ValueError, match="no terms"):
            advance(cell, None, {("online", "A"): -1})


class TestPlace:
    def test_each_reason(self, build: Any) -> None:
        active = [build.make_terms()]
        in_may = datetime(2026, 5, 3, tzinfo=UTC)
        book = Book([contract()], [Plan(PLAN, "P1", "P", tuple(active))])
        spans = book.segments(PARTNER, "P1")
        found = place(spans, active, in_may)
        assert not isinstance(found, Reason)
        assert found.period.start_on == date(2026, 5, 1)
        assert place((), active, in_may) is Reason.PLAN_NOT_IN_CONTRACT
        assert place(spans, [], in_may) is Reason.PLAN_NOT_IN_FORCE
        assert place(spans, active, datetime(2025, 5, 3, tzinfo=UTC)) is Reason.PLAN_NOT_IN_FORCE
        assert place(spans, active, datetime.max.replace(tzinfo=UTC)) is Reason.DATE_OUT_OF_RANGE
        lost = Book([contract("Mars/Olympus")], [])
        assert place(lost.segments(PARTNER, "P1"), active, in_may) is Reason.UNKNOWN_TIME_ZONE


@pytest.mark.parametrize(
    ("change", "kind", "currency", "expected"),
    [
        ({}, "paid", "CNY", 700),
        ({"basis": "net"}, "paid", "CNY", 1_000),
        ({}, "ordered", "CNY", Reason.OTHER_AXIS),
        ({}, "shipped", "CNY", Reason.OTHER_AXIS),
        ({"recognition": "ordered"}, "returned", "CNY", 700),
        ({"recognition": "ordered"}, "refunded", "CNY", Reason.OTHER_AXIS),
        ({}, "paid", "USD", Reason.OTHER_CURRENCY),
        ({"channels": frozenset({"store"})}, "paid", "CNY", Reason.CHANNEL_NOT_IN_PLAN),
        ({"skus": frozenset({"B"})}, "paid", "CNY", Reason.SKU_NOT_IN_PLAN),
        ({"channels": frozenset({"online"}), "skus": frozenset({"A"})}, "paid", "CNY", 700),
    ],
)
def test_what_counts(
    build: Any, change: dict[str, Any], kind: str, currency: str, expected: int | Reason
) -> None:
    amounts = Amounts(1_000, 130, 200, -30)
    assert count(build.make_terms(**change), kind, currency, ("online", "A"), amounts) == expected


def test_an_entry_may_count_under_several_plans(build: Any) -> None:
    plans = [
        Plan(UUID(int=n), f"P{n}", "P", (build.make_terms(plan_id=UUID(int=n), code=f"P{n}"),))
        for n in (1, 2)
    ]
    book = Book([contract("UTC", "P1", "P2", "P3")], plans)
    folds = fold([(entry(1, 100), CAUSE)], book)
    assert {key.plan_id.int: dict(found.slices) for key, found in folds.items()} == {
        1: {("online", "A"): 100},
        2: {("online", "A"): 100},
    }


# -- judging one by one and judging spans ------------------------------------------------------------------------------

instants = st.integers(0, 300 * 24 * 60).map(
    lambda minutes: datetime(2025, 11, 1, tzinfo=UTC) + timedelta(0, 0, 0, 0, minutes)
)


@st.composite
def contract_lists(draw: st.DrawFn) -> list[Contract]:
    keys = draw(st.sets(st.tuples(st.integers(1, 2), st.integers(1, 2)), min_size=1, max_size=3))
    found = []
    for number, version in sorted(keys):
        start = draw(instants)
        days = draw(st.none() | st.integers(1, 200))
        end = start + timedelta(days) if days else None
        name = draw(st.sampled_from(["Asia/Shanghai", "America/New_York", "Nowhere/Land"]))
        found.append(Contract(UUID(int=number), version, PARTNER, start, end, name, frozenset({"P1"})))
    return found


@given(
    contracts=contract_lists(),
    moments=st.lists(instants, min_size=1, max_size=8),
    calendar=st.sampled_from(["month", "quarter"]),
    cut=st.sampled_from([None, date(2026, 4, 1)]),
)
def test_spans_hold_exactly_the_instants_that_are_placed(
    build: Any, contracts: list[Contract], moments: list[datetime], calendar: str, cut: date | None
) -> None:
    active = [build.make_terms(calendar=calendar, valid_to=cut)]
    if cut:
        active.append(build.make_terms(calendar=calendar, version=2, valid_from=cut))
    spans = Book(contracts, []).segments(PARTNER, "P1")
    found = windows(PARTNER, spans, active, [moment.date().replace(day=1) for moment in moments])
    for moment in moments:
        holding = [w.place for w in found if w.starts_at <= moment < w.ends_at]
        judged = place(spans, active, moment)
        assert holding == ([] if isinstance(judged, Reason) else [judged])


# -- any way of feeding the same entries -------------------------------------------------------------------------------


def modelled(terms: Terms, basis: int) -> int:
    """The rebate, said otherwise: in decimals, band by band."""
    bands = [(t.lower_minor, Decimal(t.rate_ppm) / 10**6) for t in terms.tiers]
    owed = Decimal(0)
    if terms.shape == "all_units":
        owed = Decimal(max(basis, 0)) * next(
            (rate for lower, rate in reversed(bands) if lower <= basis), Decimal(0)
        )
    else:
        for (lower, rate), upper in zip(bands, [lower for lower, _ in bands[1:]] + [10**18], strict=True):
            owed += rate * max(0, min(basis, upper) - lower)
    return int(owed.quantize(Decimal(1), ROUND_HALF_EVEN))


TERMS = [
    Terms(PLAN, "P1", 1, date(2026, 1, 1), None, "month", "CNY", shape, (Tier(0, 12_345), Tier(500, 70_001)))
    for shape in ("marginal", "all_units")
]

posts = st.lists(
    st.tuples(st.integers(-900, 2_000), st.integers(1, 12), st.sampled_from(["A", "B", None])),
    min_size=1,
    max_size=6,
)


class Cells(RuleBasedStateMachine):
    """Posts, reversals and restatings in any order and any chunks, against sums made from nothing each time."""

    def __init__(self) -> None:
        super().__init__()
        self.books = [Book([contract("UTC")], [Plan(PLAN, "P1", "P", (terms,))]) for terms in TERMS]
        self.cells: list[dict[CellKey, Cell]] = [{} for _ in TERMS]
        self.held: list[dict[CellKey, dict[Product, int]]] = [defaultdict(dict) for _ in TERMS]
        self.entries: list[Entry] = []
        self.reversed: set[UUID] = set()

    @rule(rows=posts)
    def post(self, rows: Sequence[tuple[int, int, str | None]]) -> None:
        self._feed(
            entry(len(self.entries) + n, net, sku=sku, origin_at=datetime(2026, month, 28, 23, tzinfo=UTC))
            for n, (net, month, sku) in enumerate(rows, 1)
        )

    @rule(pick=st.integers(0, 10**6))
    def reverse(self, pick: int) -> None:
        standing = [
            e for e in self.entries if e.reverses_entry_id is None and e.entry_id not in self.reversed
        ]
        if standing:
            target = standing[pick % len(standing)]
            self.reversed.add(target.entry_id)
            number = UUID(int=len(self.entries) + 1)
            amounts = Amounts(-target.amounts.net_minor)
            self._feed([replace(target, entry_id=number, amounts=amounts, reverses_entry_id=target.entry_id)])

    @rule()
    def restate(self) -> None:
        for at, (book, terms) in enumerate(zip(self.books, TERMS, strict=True)):
            months = {e.origin_at.date().replace(day=1) for e in self.entries}
            spans = windows(PARTNER, book.segments(PARTNER, "P1"), [terms], months)
            for window in spans:
                inside = self._inside(window)
                if window.key in self.cells[at] or any(inside.values()):
                    self._step(at, window.key, terms, difference(inside, self.held[at][window.key]))

    @invariant()
    def every_cell_is_what_its_entries_make(self) -> None:
        sums: dict[date, int] = defaultdict(int)
        for each in self.entries:
            sums[each.origin_at.date().replace(day=1)] += each.amounts.net_minor
        for at, terms in enumerate(TERMS):
            got = {key.period_start: (c.basis_minor, c.accrued_minor) for key, c in self.cells[at].items()}
            want = {month: (basis, modelled(terms, basis)) for month, basis in sums.items()}
            assert {m: v for m, v in got.items() if v != (0, 0)} == {
                m: v for m, v in want.items() if v != (0, 0)
            }

    def _feed(self, entries: Iterable[Entry]) -> None:
        new = list(entries)
        self.entries += new
        for at, (book, terms) in enumerate(zip(self.books, TERMS, strict=True)):
            for key, found in fold([(each, CAUSE) for each in new], book).items():
                self._step(at, key, terms, found.slices)

    def _step(self, at: int, key: CellKey, terms: Terms, slices: Any) -> None:
        cell = self.cells[at].setdefault(key, replace(new_cell(terms), key=key))
        moved = advance(cell, terms, slices)
        if moved is not None:
            self.cells[at][key], step = moved
            assert step.basis_after - step.basis_before == sum(amount for _, amount in step.slices)
            for product, amount in step.slices:
                self.held[at][key][product] = self.held[at][key].get(product, 0) + amount

    def _inside(self, window: Window) -> dict[Product, int]:
        sums: dict[Product, int] = defaultdict(int)
        for each in self.entries:
            if window.starts_at <= each.origin_at < window.ends_at:
                sums[(each.channel, each.sku)] += each.amounts.net_minor
        return sums


TestCells = Cells.TestCase
TestCells.settings = settings(max_examples=60, stateful_step_count=15, deadline=None)


class AddsRunningTotals(Cells):
    """The planted fault: every further step of a cell pays the whole basis again."""

    def _step(self, at: int, key: CellKey, terms: Terms, slices: Any) -> None:
        before = self.cells[at].get(key)
        super()._step(at, key, terms, slices)
        if before is not None and before.basis_minor > 0:
            cell = self.cells[at][key]
            self.cells[at][key] = replace(cell, accrued_minor=cell.accrued_minor + before.accrued_minor)


def test_the_machine_catches_a_planted_running_total() -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            AddsRunningTotals,
            settings=settings(max_examples=200, deadline=None, database=None, phases=[Phase.generate]),
        )
