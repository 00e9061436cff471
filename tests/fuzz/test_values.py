"""Events, amounts and cursors from strangers: nothing but the declared refusal ever comes out of their readers."""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from channel_events import catalog
from channel_events.catalog import CATALOG, UndecodableEvent
from channel_kit.money import (
    EXPONENTS,
    MINOR_UNITS_MAX,
    BadNumber,
    UnknownCurrency,
    apportion,
    from_minor,
    parse_decimal,
    share,
    to_minor,
)
from channel_kit.pagination import BadCursor, decode_cursor, encode_cursor
from order_svc.platforms.bill import minor
from order_svc.platforms.contract import Unreadable
from order_svc.platforms.reading import number_of, quantity_of

from .budget import tries
from .mutations import ODD, mutated, written

EVENTS = Path(__file__).parents[2] / "shared" / "events" / "examples"
EXAMPLES = [json.loads(path.read_text("utf-8")) for path in sorted(EVENTS.glob("*/*.json"))]
PLAIN = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,6})?", re.A)
TYPES = (str, int, UUID, date, datetime, Decimal)
seen: Counter[str] = Counter()

anything = st.text(st.characters(exclude_categories=()), max_size=60)
digits = st.from_regex(r"[+-]?[0-9]{0,45}(\.[0-9]{0,45})?([eE][+-]?[0-9]{1,5})?", fullmatch=True)
plain = st.decimals(-(10**11), 10**11, places=3).map(str)
odd = st.sampled_from([each for each in ODD if isinstance(each, str | int | None)])
sound = st.decimals(-(10**14), 10**14, places=6)
currencies = st.sampled_from(sorted(EXPONENTS))
hints = st.none() | st.sampled_from(sorted(CATALOG)) | anything
chances = st.randoms(use_true_random=False)
kinds = st.lists(st.sampled_from(TYPES), max_size=5)
moments = st.datetimes(timezones=st.just(UTC))
key_parts = (
    st.text(max_size=30) | st.integers(-(2**63) + 1, 2**63 - 1) | st.uuids() | st.dates() | moments | sound
)
keys = st.lists(key_parts, min_size=1, max_size=5)


def decode(raw: bytes | str | None, hint: str | None) -> None:
    """Undecodable, or an event that survives being told again; whose it is can be read either way."""
    head = catalog.head(raw)
    try:
        event = catalog.decode(raw, hint)
    except UndecodableEvent as fault:
        seen[f"events {fault.code}"] += 1
        f"{fault.code} {fault.detail}".encode()  # it is stored and logged
        return
    seen["events decoded"] += 1
    assert CATALOG[event.type].aggregate_type == event.aggregatetype
    assert head is not None
    assert (head.aggregate_id, head.aggregate_version) == (event.aggregate_id, event.aggregateversion)
    assert catalog.decode(catalog.encode(event)) == event


@tries(250)
@given(raw=st.binary(max_size=300) | anything | st.none(), hint=hints)
@example(raw=b"[" * 100_000, hint=None)
@example(raw="\ud800", hint="channel.order.placed.v1")
def test_events_of_any_bytes(raw: bytes | str | None, hint: str | None) -> None:
    decode(raw, hint)


@tries(400)
@given(chance=chances, changes=st.sampled_from((0, 1, 1, 2, 4)))
def test_events_with_places_changed(chance: random.Random, changes: int) -> None:
    event = chance.choice(EXAMPLES)
    hint = chance.choice((None, event["type"], chance.choice(sorted(CATALOG))))
    decode(written(chance, mutated(chance, event, changes)), hint)


@tries(400)
@given(
    value=digits | plain | anything | odd | st.decimals() | st.integers() | st.floats(),
    currency=currencies | anything,
)
def test_amounts(value: Any, currency: str) -> None:
    try:
        number = parse_decimal(value)
        units, rest = to_minor(number, currency)
    except (BadNumber, UnknownCurrency):
        seen["amounts refused"] += 1
        assert not (isinstance(value, str) and PLAIN.fullmatch(value) and currency in EXPONENTS)
        return
    seen["amounts read"] += 1
    assert not isinstance(value, float | bool)
    assert Fraction(number) == Fraction(value)
    assert Fraction(from_minor(units, currency)) + Fraction(rest) == Fraction(number)
    assert abs(units) <= MINOR_UNITS_MAX
    assert abs(Fraction(rest)) * 2 * 10 ** EXPONENTS[currency] <= 1


@tries(200)
@given(total=st.integers(), weights=st.lists(st.integers(0) | st.decimals(0, 10**12, places=6)))
def test_amounts_that_are_split_add_up(total: int, weights: list[int | Decimal]) -> None:
    if not weights:
        assert share(total, 1, 1) == total
        return
    parts, whole = apportion(total, weights), sum(Fraction(weight) for weight in weights)
    assert sum(parts) == total
    assert len(parts) == len(weights)
    for part, weight in zip(parts, weights, strict=True) if whole else ():
        assert abs(part - Fraction(weight) * total / whole) < 1


@tries(400)
@given(value=digits | plain | anything | odd | st.lists(st.none()), currency=currencies | anything)
def test_the_adapters_numbers(value: Any, currency: str) -> None:
    def cents(value: Any, at: str) -> Any:
        return minor(number_of(value, at) or Decimal(0), currency, at)

    for read in (number_of, quantity_of, cents):
        try:
            number = read(value, "/x")
        except Unreadable as problem:
            seen[f"numbers {problem.code}"] += 1
            continue
        seen["numbers read"] += 1
        assert number is None or isinstance(number, Decimal | int)
        if read is number_of and isinstance(value, str) and PLAIN.fullmatch(value):
            assert number == Decimal(value)


@tries(400)
@given(cursor=st.text(max_size=300) | st.from_regex(r"[A-Za-z0-9_-]{0,300}", fullmatch=True), types=kinds)
@example(cursor="A" * 2_000, types=[str])
@example(cursor="é", types=[])
def test_cursors_that_nobody_gave(cursor: str, types: list[type[Any]]) -> None:
    with pytest.raises(BadCursor):
        decode_cursor(cursor, types)


@tries(300)
@given(key=keys, chance=chances, types=kinds)
@example(key=["\x01", 1], chance=random.Random(1), types=[str, str])
def test_cursors_changed_or_of_another_list(
    key: list[Any], chance: random.Random, types: list[type[Any]]
) -> None:
    own, cursor = [type(each) for each in key], encode_cursor(key)
    storable = not any(isinstance(each, str) and "\0" in each for each in key)
    assert (read(cursor, own) == key) is storable
    at = chance.randrange(len(cursor))
    letter = chance.choice([each for each in "AQgw_-9z" if each != cursor[at]])
    # Only the bits that base64 leaves unused may differ.
    assert read(cursor[:at] + letter + cursor[at + 1 :], own) in (None, key)
    assert types == own or read(cursor, types) is None or len(types) == len(own)


def read(cursor: str, types: list[type[Any]]) -> list[Any] | None:
    """What a cursor says, None when it is refused."""
    try:
        found = list(decode_cursor(cursor, types))
    except BadCursor:
        seen["cursors refused"] += 1
        return None
    seen["cursors read"] += 1
    assert [type(each) for each in found] == types
    return found


@pytest.fixture(scope="module", autouse=True)
def _told(tell: Callable[[str], None]) -> Iterator[None]:
    yield
    tell("fuzz, values: " + ", ".join(f"{n} × {what}" for what, n in sorted(seen.items())))
