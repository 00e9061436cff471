"""Cursors: what goes in comes out typed; everything else is `bad-cursor`."""

import base64
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channel_kit.pagination import BadCursor, PageRequest, Sortable, decode_cursor, encode_cursor

ID = UUID("0190a5a2-0000-7000-8000-000000000001")
zones = st.timezones() | st.just(UTC)
keys = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50),
        st.integers(-(2**63) + 1, 2**63 - 1),
        st.uuids(),
        st.dates(),
        st.datetimes(timezones=st.just(UTC)),
        st.decimals(-(10**9), 10**9, places=6),
    ),
    min_size=1,
    max_size=5,
)


@given(keys)
def test_values_survive_the_round_trip(values: list[Sortable]) -> None:
    cursor = encode_cursor(values)
    assert cursor.isascii()
    decoded = decode_cursor(cursor, [type(value) for value in values])
    assert decoded == tuple(values)
    assert [type(value) for value in decoded] == [type(value) for value in values]


@given(keys, st.data())
def test_any_changed_character_is_found(values: list[Sortable], data: st.DataObject) -> None:
    cursor = encode_cursor(values)
    at = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(st.sampled_from("abcXYZ019-_").filter(lambda character: character != cursor[at]))
    changed = cursor[:at] + other + cursor[at + 1 :]
    padding = "=" * (-len(cursor) % 4)
    if base64.urlsafe_b64decode(changed + padding) == base64.urlsafe_b64decode(cursor + padding):
        return  # The last character's unused bits carry nothing.
    with pytest.raises(BadCursor):
        decode_cursor(changed, [type(value) for value in values])


@given(st.text(max_size=200))
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(BadCursor):
        decode_cursor(text, [str, int])


@pytest.mark.parametrize(
    ("values", "types"),
    [
        (["a"], [int]), ([1], [str]), (["a", 1], [str]), (["a"], [str, int]), ([2**63], [int]), (["x"], [UUID]),
        (["a\0b"], [str]), (["2026-03-01T00:00:00"], [datetime]), (["yesterday"], [datetime]), (["NaN"], [Decimal]),
        (["1_0"], [Decimal]), ([" 1"], [Decimal]), (["2026-02-30"], [date]), (["infinity"], [date]),
        (["2026-03-01T00:00:00+00:00"], [date]), (["99999-01-01"], [date]), ([20260301], [date]),
    ],
)  # fmt: skip
def test_values_of_another_kind_are_refused(values: list[Sortable], types: list[type[Sortable]]) -> None:
    with pytest.raises(BadCursor):
        decode_cursor(encode_cursor(values), types)


def test_sound_checksums_over_unsound_content_are_refused() -> None:
    from channel_kit.pagination import _checksum

    for content in (
        b"",
        b"{}",
        b"7",
        b"[",
        b"[null]",
        b"[true]",
        b"[1.0]",
        b'["\\ud800"]',
        b"[" * 500,
        b"\xff",
    ):
        cursor = base64.urlsafe_b64encode(_checksum(content) + content).rstrip(b"=").decode()
        for kind in (int, str):
            with pytest.raises(BadCursor):
                decode_cursor(cursor, [kind])


def test_the_first_page_has_no_position() -> None:
    assert PageRequest().values(UUID) is None
    assert PageRequest().limit == 50


def test_other_zones_come_back_as_the_same_instant() -> None:
    moment = datetime(2026, 3, 1, 8, tzinfo=timezone(timedelta(hours=8)))
    assert decode_cursor(encode_cursor([moment]), [datetime]) == (moment,)


def test_a_page_says_whether_there_is_more() -> None:
    request = PageRequest(limit=2)
    assert request.page(["a", "b"], 2, [ID]).next_cursor is None
    following = request.page(["a", "b"], 3, [ID]).next_cursor
    assert following is not None
    assert PageRequest(cursor=following).values(UUID) == (ID,)
