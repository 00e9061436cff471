"""The holds' rules against a model that knows single units, and the same machine against planted faults."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from channel_events.order import OrderSnapshot
from inventory_svc.hold import rules
from inventory_svc.hold.values import Hold, Terms
from inventory_svc.stock.rules import Shelf, StockKey

ZERO = Decimal(0)
START = datetime(2026, 3, 1, 8, tzinfo=UTC)
WINDOW = timedelta(minutes=30)
SKUS = ("A", "B")
ORDERS = tuple(UUID(int=n) for n in range(1, 5))


@dataclass
class Floor:
    """All shelves and holds, moved by the rules under test as the actions do it."""

    shelves: dict[StockKey, Shelf] = field(default_factory=dict)
    holds: dict[UUID, dict[int, Hold]] = field(default_factory=dict)
    versions: dict[UUID, int] = field(default_factory=dict)
    firm: dict[UUID, bool] = field(default_factory=dict)
    marks: set[StockKey] = field(default_factory=set)
    gaps: dict[tuple[UUID, int, str, str], Decimal] = field(default_factory=dict)
    now: datetime = START

    def shelf(self, sku: str) -> Shelf:
        return self.shelves.setdefault((sku, "main"), Shelf(UUID(int=100 + SKUS.index(sku)), sku, "main"))

    def receive(self, sku: str, quantity: int) -> None:
        self.shelf(sku).move("receipt", Decimal(quantity), "receipt")
        self.mark()

    def apply(self, version: int, snapshot: OrderSnapshot, skus: dict[tuple[str, str, str], str]) -> None:
        known = self.versions.get(snapshot.order_id, 0)
        if not rules.newer([(snapshot, version)], {snapshot.order_id: known}):
            return
        self.versions[snapshot.order_id] = version
        self.firm[snapshot.order_id] = rules.firm(snapshot.payment, snapshot.flags)
        targets = rules.targets(snapshot, self.holds.get(snapshot.order_id, {}), skus, "main")
        terms = self.terms(snapshot.order_id)
        self.settle([target for target in targets if not target.settled(terms)], terms)

    def terms(self, order_id: UUID) -> Terms:
        return Terms(self.firm[order_id], None if self.firm[order_id] else self.now + WINDOW)

    def settle(self, targets: list[Any], terms: Terms) -> None:
        for sku in SKUS:
            self.shelf(sku)
        for line, want in targets:
            self.put(line, rules.settle(line, want, self.shelves, terms))
        self.mark()

    def put(self, before: Hold, after: Hold) -> None:
        self.holds.setdefault(after.order_id, {})[after.line_no] = after
        for gap in rules.discrepancies(before, after):
            self.gaps[gap.order_id, gap.line_no, gap.sku, gap.kind] = gap.quantity

    def expire(self) -> None:
        for lines in self.holds.values():
            for line in list(lines.values()):
                shelf = self.shelf(line.sku) if line.sku else None
                self.put(line, rules.expire(line, shelf, self.now))
        self.mark()

    def refill(self, sku: str) -> None:
        self.marks.discard((sku, "main"))
        for order_id in self.holds:
            for line in list(self.holds[order_id].values()):
                if line.sku == sku and line.short:
                    self.put(line, rules.settle(line, line.want, self.shelves, self.terms(order_id)))
        self.mark(but=sku)

    def mark(self, but: str | None = None) -> None:
        for key, shelf in self.shelves.items():
            if shelf.freed and key[0] != but:
                self.marks.add(key)
            shelf.freed = False


@dataclass
class Units:
    """The model: every unit in the house is one item of a list, owned by nobody or by a line."""

    free: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SKUS, 0))
    held: dict[str, list[tuple[UUID, int]]] = field(default_factory=lambda: {sku: [] for sku in SKUS})
    committed: dict[str, list[tuple[UUID, int]]] = field(default_factory=lambda: {sku: [] for sku in SKUS})
    gone: dict[str, list[tuple[UUID, int]]] = field(default_factory=lambda: {sku: [] for sku in SKUS})
    back: dict[str, list[tuple[UUID, int]]] = field(default_factory=lambda: {sku: [] for sku in SKUS})
    lapsed: list[tuple[UUID, int]] = field(default_factory=list)
    facts: dict[tuple[UUID, int], tuple[str | None, int, int, int]] = field(default_factory=dict)
    paid: dict[UUID, bool] = field(default_factory=dict)
    ends: dict[tuple[UUID, int], datetime] = field(default_factory=dict)

    def on_hand(self, sku: str) -> int:
        return self.free[sku] + len(self.held[sku]) + len(self.committed[sku])

    def face(self, who: tuple[UUID, int], sku: str | None, demanded: int, shipped: int, due: int) -> None:
        old = self.facts.get(who, (None, 0, 0, 0))[0]
        if old is not None and old != sku:
            for pile in (self.held, self.committed, self.gone):
                while who in pile[old]:
                    pile[old].remove(who)
                    self.free[old] += 1
            while who in self.back[old]:
                self.back[old].remove(who)
                self.free[old] -= self.free[old] > 0
            self.lapsed = [each for each in self.lapsed if each != who]
            self.ends.pop(who, None)
        self.facts[who] = (sku, demanded, shipped, due)

    def serve(self, who: tuple[UUID, int], now: datetime) -> None:
        sku, demanded, shipped, due = self.facts[who]
        if sku is None:
            return
        while self.back[sku].count(who) < due:
            self.back[sku].append(who)
            self.free[sku] += 1
        while self.back[sku].count(who) > due and self.free[sku]:
            self.back[sku].remove(who)
            self.free[sku] -= 1
        while self.gone[sku].count(who) > shipped:
            self.gone[sku].remove(who)
            self.free[sku] += 1
        while self.gone[sku].count(who) < shipped:
            if who in self.committed[sku]:
                self.committed[sku].remove(who)
            elif who in self.held[sku]:
                self.held[sku].remove(who)
            elif self.free[sku]:
                self.free[sku] -= 1
            else:
                break
            self.gone[sku].append(who)
        open_units = demanded - shipped
        own, other = (self.committed, self.held) if self.paid[who[0]] else (self.held, self.committed)
        while who in other[sku]:
            other[sku].remove(who)
            own[sku].append(who)
        while own[sku].count(who) > open_units:
            own[sku].remove(who)
            self.free[sku] += 1
        while who in self.lapsed and (
            self.paid[who[0]] or own[sku].count(who) + self.lapsed.count(who) > open_units
        ):
            self.lapsed.remove(who)
        while own[sku].count(who) + self.lapsed.count(who) < open_units and self.free[sku]:
            self.free[sku] -= 1
            own[sku].append(who)
        claims = not self.paid[who[0]] and open_units > self.lapsed.count(who)
        self.ends = {key: end for key, end in self.ends.items() if key != who} | (
            {who: self.ends.get(who, now + WINDOW)} if claims else {}
        )

    def lapse(self, now: datetime) -> None:
        for who, end in list(self.ends.items()):
            if end > now:
                continue
            sku, demanded, shipped, _ = self.facts[who]
            assert sku is not None
            while who in self.held[sku]:
                self.held[sku].remove(who)
                self.free[sku] += 1
            self.lapsed = [each for each in self.lapsed if each != who] + [who] * (demanded - shipped)
            del self.ends[who]


line_facts = st.fixed_dictionaries(
    {
        "sku": st.sampled_from(("A", "A", "B", None)),
        "ordered": st.integers(0, 5),
        "cancelled": st.integers(0, 5),
        "shipped": st.integers(0, 5),
        "restocked": st.integers(0, 3),
    }
)


class Holds(RuleBasedStateMachine):
    """Snapshots, receipts, expiries and refills in any order; what is stale or doubled changes nothing."""

    build: Callable[..., OrderSnapshot]

    @initialize()
    def begin(self) -> None:
        self.floor, self.units = Floor(), Units()
        self.sent: list[tuple[int, OrderSnapshot]] = []
        self.received = dict.fromkeys(SKUS, 0)
        for sku in SKUS:
            self.floor.shelf(sku)

    @rule(
        order_id=st.sampled_from(ORDERS),
        lines=st.lists(line_facts, min_size=1, max_size=3),
        payment=st.sampled_from(("unpaid", "unpaid", "paid", "authorized", "refunded", "voided")),
    )
    def snapshot(self, order_id: UUID, lines: list[dict[str, Any]], payment: str) -> None:
        version = self.floor.versions.get(order_id, 0) + 1
        snapshot = self.build(order_id, lines, payment)
        before = dict(self.floor.holds.get(order_id, {}))
        self.floor.apply(version, snapshot, {})
        self.sent.append((version, snapshot))

        was_paid = self.units.paid.get(order_id)
        self.units.paid[order_id] = payment not in ("unpaid", "voided")
        facts = {
            line.line_no: (
                line.sku,
                int(max(line.ordered - line.cancelled, line.shipped)),
                int(line.shipped),
                int(line.restocked),
            )
            for line in snapshot.lines
        }
        for no in sorted({*facts, *before}):
            fact = facts.get(no) or (before[no].sku, 0, 0, 0)
            same = self.units.facts.get((order_id, no)) == fact
            if same and was_paid == self.units.paid[order_id]:
                continue  # nothing new about this line: a short one waits for its refill
            if same and fact[0] is not None and self.skips(order_id, no):
                continue
            self.units.face((order_id, no), *fact)
            self.units.serve((order_id, no), self.floor.now)

    def skips(self, order_id: UUID, no: int) -> bool:
        """A payment that turns no claim over does not serve a short line before its turn."""
        who = (order_id, no)
        sku = self.units.facts[who][0]
        assert sku is not None
        if self.units.paid[order_id]:
            return (
                who not in self.units.held[sku]
                and who not in self.units.lapsed
                and who not in self.units.ends
            )
        _, demanded, shipped, _ = self.units.facts[who]
        return who not in self.units.committed[sku] and (
            who in self.units.ends or self.units.lapsed.count(who) == demanded - shipped
        )

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def stale_or_doubled(self, data: st.DataObject) -> None:
        version, snapshot = data.draw(st.sampled_from(self.sent))
        self.floor.apply(version, snapshot, {})

    @rule(sku=st.sampled_from(SKUS), quantity=st.integers(1, 6))
    def receipt(self, sku: str, quantity: int) -> None:
        self.floor.receive(sku, quantity)
        self.units.free[sku] += quantity
        self.received[sku] += quantity

    @rule(minutes=st.integers(0, 45))
    def time_passes(self, minutes: int) -> None:
        self.floor.now += timedelta(minutes=minutes)
        self.floor.expire()
        self.units.lapse(self.floor.now)

    @precondition(lambda self: self.floor.marks)
    @rule(data=st.data())
    def refill(self, data: st.DataObject) -> None:
        sku, _ = data.draw(st.sampled_from(sorted(self.floor.marks)))
        for order_id, lines in self.floor.holds.items():
            for no, line in lines.items():
                if line.sku == sku and line.short:
                    self.units.serve((order_id, no), self.floor.now)
        self.floor.refill(sku)

    @invariant()
    def agrees_with_the_units(self) -> None:
        for sku in SKUS:
            shelf = self.floor.shelf(sku)
            assert shelf.on_hand == self.units.on_hand(sku)
            assert shelf.reserved == len(self.units.held[sku])
            assert shelf.allocated == len(self.units.committed[sku])
        for order_id, lines in self.floor.holds.items():
            for no, line in lines.items():
                who = (order_id, no)
                if line.sku is None:
                    assert (line.short, line.held + line.committed) == (line.demanded, ZERO)
                    continue
                assert line.held == self.units.held[line.sku].count(who)
                assert line.committed == self.units.committed[line.sku].count(who)
                assert line.issued == self.units.gone[line.sku].count(who)
                assert line.restocked == self.units.back[line.sku].count(who)
                assert line.expired == self.units.lapsed.count(who)
                assert line.expires_at == self.units.ends.get(who)

    @invariant()
    def adds_up(self) -> None:
        lines = [line for lines in self.floor.holds.values() for line in lines.values()]
        for line in lines:
            parts = (line.held, line.committed, line.issued, line.short, line.expired)
            assert line.demanded == sum(parts, ZERO)
            assert min(*parts, line.waiting, line.restocked) >= 0
            assert not (line.held and line.committed)
            assert not (line.sku and line.committed and not self.floor.firm[line.order_id])
        for key, shelf in self.floor.shelves.items():
            mine = [line for line in lines if (line.sku, line.location) == key]
            assert shelf.reserved == sum((line.held for line in mine), ZERO)
            assert shelf.allocated == sum((line.committed for line in mine), ZERO)
            assert shelf.on_hand == sum((move.quantity for move in shelf.movements), ZERO)
            assert shelf.reserved + shelf.allocated <= shelf.on_hand

    @invariant()
    def nobody_waits_beside_free_stock(self) -> None:
        for lines in self.floor.holds.values():
            for line in lines.values():
                if line.sku and line.short and self.floor.shelf(line.sku).available:
                    assert (line.sku, line.location) in self.floor.marks

    @invariant()
    def gaps_are_written_down(self) -> None:
        for lines in self.floor.holds.values():
            for line in lines.values():
                if line.sku:
                    key = (line.order_id, line.line_no, line.sku)
                    written = self.floor.gaps.get((*key, rules.SHIPPED_BEYOND_STOCK), ZERO)
                    assert written == line.shipped - line.issued
                    written = self.floor.gaps.get((*key, rules.RESTOCK_NOT_FOLLOWED), ZERO)
                    assert written == line.restock_due - line.restocked


def test_holds_agree_with_the_units(snapshot_of: Any) -> None:
    Holds.build = staticmethod(snapshot_of)
    run_state_machine_as_test(
        Holds, settings=settings(max_examples=150, stateful_step_count=30, deadline=None)
    )


ONLY_FIND = settings(
    max_examples=400,
    stateful_step_count=30,
    phases=[Phase.generate],
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def _every_version(snapshots: Any, known: Any) -> Any:
    return {order.order_id: (order, version) for order, version in snapshots}


_EXPIRE = rules.expire
PLANTED: dict[str, tuple[Any, str, Any]] = {
    "promises what others were promised": (Shelf, "available", property(lambda shelf: shelf.on_hand)),
    "ships what others were promised": (Shelf, "unclaimed", property(lambda shelf: shelf.on_hand)),
    "applies stale snapshots": (rules, "newer", _every_version),
    "leaves out of demand what shipped": (rules, "demand", lambda o, c, s: max(o - c, ZERO)),
    "keeps stock of claims that ran out": (
        rules,
        "expire",
        lambda line, shelf, now: _EXPIRE(line, None, now),
    ),
    "lets paid orders expire": (rules, "firm", lambda payment, flags: False),
    "takes no return in": (rules, "_restocked", lambda line, shelf: line),
    "never serves those who wait": (Shelf, "release", lambda shelf, held, committed: None),
    "writes no discrepancies": (rules, "discrepancies", lambda before, after: ()),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_machine_catches_a_rule_that(fault: str, monkeypatch: pytest.MonkeyPatch, snapshot_of: Any) -> None:
    Holds.build = staticmethod(snapshot_of)
    where, name, planted = PLANTED[fault]
    monkeypatch.setattr(where, name, planted)
    with pytest.raises(Exception):  # noqa: B017  whatever fails has caught it
        run_state_machine_as_test(Holds, settings=ONLY_FIND)
