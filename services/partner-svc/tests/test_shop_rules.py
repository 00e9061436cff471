"""Bindings without a database, against a model that looks at every single day."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_svc.partner.rules import Refusal
from partner_svc.shop import rules
from partner_svc.shop.rules import Binding

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 12


def day(number: int) -> datetime:
    return START + timedelta(days=number)


def binding(partner: int, start: int, end: int | None = None) -> Binding:
    return Binding(UUID(int=partner), "online", day(start), None if end is None else day(end))


def owners(bindings: tuple[Binding, ...]) -> list[int | None]:
    """Who has the shop on each day; fails when two have it."""
    result: list[int | None] = []
    for number in range(DAYS + 2):
        found = [
            each.partner_id.int
            for each in bindings
            if each.valid_from <= day(number) and (each.valid_to is None or day(number) < each.valid_to)
        ]
        assert len(found) <= 1
        result += found or [None]
    return result


spans = st.tuples(st.integers(0, DAYS - 1), st.none() | st.integers(1, DAYS)).filter(
    lambda span: span[1] is None or span[0] < span[1]
)
steps = st.lists(st.tuples(st.integers(1, 3), spans, st.booleans()), max_size=12)


@given(steps)
def test_a_shop_always_belongs_to_the_last_who_was_allowed(
    wanted: list[tuple[int, tuple[int, int | None], bool]],
) -> None:
    bindings: tuple[Binding, ...] = ()
    for partner, (start, end), overwrite in wanted:
        new = binding(partner, start, end)
        before = owners(bindings)
        answer = rules.bind(bindings, new, overwrite=overwrite)
        span = range(start, DAYS + 2 if end is None else end)
        taken = any(before[number] is not None for number in span)
        if isinstance(answer, Refusal):
            assert answer.code == "binding-overlap"
            assert taken
            assert not overwrite
            continue
        assert overwrite or not taken or new in bindings
        bindings = answer
        assert owners(bindings) == [partner if number in span else each for number, each in enumerate(before)]
        assert list(bindings) == sorted(bindings, key=lambda each: each.valid_from)


@given(steps, st.integers(0, DAYS))
def test_closing_leaves_the_past_and_takes_the_future(
    wanted: list[tuple[int, tuple[int, int | None], bool]], at: int
) -> None:
    bindings: tuple[Binding, ...] = ()
    for partner, (start, end), _ in wanted:
        answer = rules.bind(bindings, binding(partner, start, end), overwrite=True)
        assert not isinstance(answer, Refusal)
        bindings = answer
    before = owners(bindings)
    assert owners(rules.close(bindings, day(at))) == before[:at] + [None] * (len(before) - at)


def test_the_end_of_one_may_be_the_beginning_of_the_next() -> None:
    answer = rules.bind((binding(1, 0, 5),), binding(2, 5), overwrite=False)
    assert answer == (binding(1, 0, 5), binding(2, 5))


def test_the_same_binding_again_is_no_overlap() -> None:
    present = (binding(1, 0),)
    assert rules.bind(present, binding(1, 0), overwrite=False) == present


@pytest.mark.parametrize("end", [3, 2])
def test_a_binding_holds_at_least_one_moment(end: int) -> None:
    answer = rules.bind((), binding(1, 3, end), overwrite=True)
    assert isinstance(answer, Refusal)
    assert answer.code == "empty-validity"


def test_a_shop_has_no_more_bindings_than_an_event_carries() -> None:
    full = tuple(binding(1, number, number + 1) for number in range(rules.BINDINGS_MAX))
    answer = rules.bind(full, binding(2, rules.BINDINGS_MAX), overwrite=False)
    assert isinstance(answer, Refusal)
    assert answer.code == "too-many-bindings"


@pytest.mark.parametrize("text", ["", "Shopify", "a b", "../x", "x" * 41, "1pos"])
def test_platforms_have_plain_names(text: str) -> None:
    with pytest.raises(ValueError):
        rules.platform_name(text)
