"""Which contract decides at an instant."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from incentive_svc.reference.rules import segments, spans
from incentive_svc.reference.values import Contract

PARTNER = UUID(int=9)


def day(n: int) -> datetime:
    return datetime(2026, 1, n, tzinfo=UTC)


def contract(
    number: int, version: int, start: int, end: int | None, *codes: str, zone: str = "UTC"
) -> Contract:
    ends_at = day(end) if end else None
    return Contract(UUID(int=number), version, PARTNER, day(start), ends_at, zone, frozenset(codes or ("P",)))


def decided(contracts: list[Contract], code: str = "P") -> list[tuple[int, int | None, int, int]]:
    return [
        (
            s.starts_at.day,
            s.ends_at.day if s.ends_at else None,
            s.contract.contract_id.int,
            s.contract.version,
        )
        for s in segments(contracts, code)
    ]


def test_an_amendment_takes_over_from_its_first_day() -> None:
    assert decided([contract(1, 1, 1, None), contract(1, 2, 10, None)]) == [(1, 10, 1, 1), (10, None, 1, 2)]


def test_an_early_end_is_not_undone_by_the_version_it_cut() -> None:
    assert decided([contract(1, 1, 1, None), contract(1, 2, 10, 20)]) == [(1, 10, 1, 1), (10, 20, 1, 2)]


def test_a_version_that_no_longer_names_the_plan_ends_it() -> None:
    assert decided([contract(1, 1, 1, None), contract(1, 2, 10, None, "Q")]) == [(1, 10, 1, 1)]


def test_a_version_from_the_same_day_replaces_the_whole() -> None:
    assert decided([contract(1, 1, 5, None), contract(1, 2, 5, 20)]) == [(5, 20, 1, 2)]


def test_two_contracts_that_name_a_plan_pay_once() -> None:
    both = [contract(2, 1, 1, 20), contract(1, 1, 10, 15)]
    assert decided(both) == [(1, 10, 2, 1), (10, 15, 1, 1), (15, 20, 2, 1)]


def test_no_contract_decides_nothing() -> None:
    assert decided([]) == []
    assert decided([contract(1, 1, 1, None, "Q")]) == []


@st.composite
def contract_sets(draw: st.DrawFn) -> list[Contract]:
    keys = draw(st.sets(st.tuples(st.integers(1, 3), st.integers(1, 3)), max_size=6))
    found = []
    for number, version in sorted(keys):
        start = draw(st.integers(1, 25))
        end = draw(st.none() | st.integers(start + 1, 28))
        found.append(contract(number, version, start, end, draw(st.sampled_from(["P", "Q"]))))
    return found


def by_definition(contracts: list[Contract], at: datetime) -> Contract | None:
    """The rule said otherwise: per contract the greatest version that has begun, then the smallest contract."""
    deciding: dict[UUID, Contract] = {}
    for each in sorted(contracts, key=lambda c: c.version):
        if each.valid_from <= at:
            deciding[each.contract_id] = each
    live: list[Any] = [c for c in deciding.values() if c.valid_to is None or at < c.valid_to]
    return min((c for c in live if "P" in c.plan_codes), key=lambda c: c.contract_id, default=None)


@given(contracts=contract_sets(), shuffle=st.randoms(use_true_random=False))
def test_segments_say_what_the_definition_says(contracts: list[Contract], shuffle: Any) -> None:
    shuffle.shuffle(contracts)
    found = segments(contracts, "P")
    for n in range(1, 31):
        holding = [s.contract for s in found if s.holds(day(n))]
        expected = by_definition(contracts, day(n))
        assert holding == ([expected] if expected else [])
    assert all(span.ends_at is None or span.starts_at < span.ends_at for span in spans(contracts))
