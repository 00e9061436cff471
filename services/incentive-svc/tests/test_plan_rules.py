"""Sound drafts, period boundaries, and what activating a version does to its neighbours."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from incentive_svc.plan.rules import (
    Activation,
    Refusal,
    activation,
    content_hash,
    faults,
    off_boundary,
    tier_faults,
)
from incentive_svc.plan.values import Tier


@pytest.mark.parametrize(
    ("rows", "pointer"),
    [
        ([], "/tiers"),
        ([(1, 0)], "/tiers/0/lower_minor"),
        ([(0, 0), (0, 1)], "/tiers/1/lower_minor"),
        ([(0, 0), (5, 1), (4, 2)], "/tiers/2/lower_minor"),
        ([(0, -1)], "/tiers/0/rate_ppm"),
        ([(0, 1_000_001)], "/tiers/0/rate_ppm"),
        ([(0, 0), (10**15 + 1, 1)], "/tiers/1/lower_minor"),
    ],
)
def test_a_bad_table_of_tiers_is_named(rows: list[tuple[int, int]], pointer: str) -> None:
    assert [fault.pointer for fault in tier_faults([Tier(*row) for row in rows])] == [pointer]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"calendar": "week"}, "/calendar"),
        ({"shape": "growth"}, "/shape"),
        ({"currency": "XYZ"}, "/currency"),
        ({"basis": "gross"}, "/basis"),
        ({"recognition": "shipped"}, "/recognition"),
        ({"rounding": "up"}, "/rounding"),
        ({"valid_to": date(2026, 1, 1)}, "/valid_to"),
        ({"valid_from": date(1, 1, 1)}, "/valid_from"),
        ({"channels": frozenset[str]()}, "/channels"),
        ({"skus": frozenset(str(n) for n in range(2_001))}, "/skus"),
    ],
)
def test_a_bad_term_is_named(build: Any, change: dict[str, Any], pointer: str) -> None:
    assert [fault.pointer for fault in faults(build.make_terms(**change))] == [pointer]


def test_sound_terms_have_no_faults(build: Any) -> None:
    assert faults(build.make_terms()) == []
    assert off_boundary(build.make_terms()) == []


def test_versions_begin_and_end_where_a_period_does(build: Any) -> None:
    found = off_boundary(
        build.make_terms(calendar="quarter", valid_from=date(2026, 2, 1), valid_to=date(2026, 7, 1))
    )
    assert [(fault.pointer, "2026-01-01 or 2026-04-01" in fault.reason) for fault in found] == [
        ("/valid_from", True)
    ]


class TestActivation:
    def test_an_open_version_ends_where_the_next_begins(self, build: Any) -> None:
        first = build.make_terms()
        second = build.make_terms(version=2, valid_from=date(2026, 4, 1))
        assert activation([first], second) == Activation(((1, date(2026, 4, 1)),), ())

    def test_a_version_from_the_same_day_replaces(self, build: Any) -> None:
        assert activation([build.make_terms()], build.make_terms(version=2)) == Activation((), (1,))

    def test_a_version_wholly_inside_is_replaced(self, build: Any) -> None:
        inside = build.make_terms(valid_from=date(2026, 3, 1), valid_to=date(2026, 5, 1))
        assert activation([inside], build.make_terms(version=2)) == Activation((), (1,))

    def test_versions_apart_leave_each_other_alone(self, build: Any) -> None:
        first = build.make_terms(valid_to=date(2026, 4, 1))
        second = build.make_terms(version=2, valid_from=date(2026, 4, 1))
        assert activation([first], second) == Activation((), ())

    def test_a_dated_version_is_cut_by_one_that_runs_longer(self, build: Any) -> None:
        first = build.make_terms(valid_to=date(2026, 6, 1))
        second = build.make_terms(version=2, valid_from=date(2026, 4, 1))
        assert activation([first], second) == Activation(((1, date(2026, 4, 1)),), ())

    def test_a_correction_reaches_into_a_version_that_was_cut(self, build: Any) -> None:
        first = build.make_terms(valid_to=date(2026, 3, 1))
        second = build.make_terms(version=2, valid_from=date(2026, 3, 1))
        third = build.make_terms(version=3, valid_from=date(2026, 2, 1))
        assert activation([first, second], third) == Activation(((1, date(2026, 2, 1)),), (2,))

    def test_no_days_are_left_without_terms(self, build: Any) -> None:
        first = build.make_terms(valid_to=date(2026, 6, 1))
        refusal = activation([first], build.make_terms(version=2, valid_to=date(2026, 5, 1)))
        assert isinstance(refusal, Refusal)
        assert refusal.code == "plan-versions-overlap"

    def test_a_dated_version_inside_an_open_one_would_leave_days_without_terms(self, build: Any) -> None:
        dated = build.make_terms(version=2, valid_from=date(2026, 4, 1), valid_to=date(2026, 7, 1))
        refusal = activation([build.make_terms()], dated)
        assert isinstance(refusal, Refusal)
        assert refusal.code == "plan-versions-overlap"

    def test_an_open_version_is_not_replaced_by_a_short_one(self, build: Any) -> None:
        refusal = activation([build.make_terms()], build.make_terms(version=2, valid_to=date(2026, 3, 1)))
        assert isinstance(refusal, Refusal)
        assert refusal.code == "plan-versions-overlap"

    @pytest.mark.parametrize("change", [{"calendar": "year"}, {"currency": "USD"}])
    def test_calendar_and_currency_stay(self, build: Any, change: dict[str, Any]) -> None:
        refusal = activation(
            [build.make_terms()], build.make_terms(version=2, valid_from=date(2027, 1, 1), **change)
        )
        assert isinstance(refusal, Refusal)
        assert refusal.code == "plan-terms-fixed"


def test_the_hash_covers_the_terms_but_not_an_end_that_may_be_cut(build: Any) -> None:
    terms = build.make_terms(channels=frozenset({"a", "b"}))
    same = replace(terms, channels=frozenset({"b", "a"}), valid_to=date(2026, 4, 1))
    assert content_hash(terms) == content_hash(same)
    for change in (
        {"tiers": (Tier(0, 1),)},
        {"recognition": "ordered"},
        {"channels": None},
        {"rounding": "down"},
    ):
        assert content_hash(replace(terms, **change)) != content_hash(terms)
