"""JSON from strangers: what is read exactly, what is refused, under which code."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_svc.platforms.bill import minor
from order_svc.platforms.contract import Unreadable
from order_svc.platforms.reading import Node, exact, instant_of, number_of, parse, quantity_of


def code(call: object) -> str:
    with pytest.raises(Unreadable) as problem:
        call()  # type: ignore[operator]
    return problem.value.code


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "empty-body"),
        (b" \n", "empty-body"),
        (b"{", "not-json"),
        (b"{}x", "not-json"),
        (b'{"a":1,}', "not-json"),
        (b'{"a":NaN}', "not-json"),
        (b'{"a":-Infinity}', "not-json"),
        (b'{"a":"\x01"}', "not-json"),
        (b"\xff\xfe{\x00}\x00", "not-utf8"),
        (b'"\xc0\xaf"', "not-utf8"),
        (b"[" * 101 + b"]" * 101, "too-deep"),
        (b"[" * 100_000, "too-deep"),
        (b'{"a":' * 100_000, "too-deep"),
        (b'{"a":1,"a":2}', "duplicate-key"),
        (b'{"x":[{"a":null,"a":0}]}', "duplicate-key"),
    ],
)
def test_bodies_refused(raw: bytes, expected: str) -> None:
    assert code(lambda: parse(raw)) == expected


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b'{"a":1,"a":1}', {"a": 1}),
        (b"7012345678901234567", 7012345678901234567),
        (b"0.1", Decimal("0.1")),
        (b"1e400", Decimal("1E+400")),
        (b"[" * 100 + b"]" * 100, None),
    ],
)
def test_bodies_read(raw: bytes, value: object) -> None:
    read = parse(raw)
    assert value is None or read == value
    assert not isinstance(read, float)


def test_numbers_beyond_all_bounds_do_not_spoil_the_fields_beside_them() -> None:
    body = Node(parse(b'{"a":1e99999999999999999999,"b":' + b"9" * 5000 + b',"c":"7"}'))
    assert body.number("c") == 7
    assert code(lambda: body.number("a")) == "number-out-of-range"
    assert code(lambda: body.number("b")) == "number-out-of-range"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("12.50", "12.50"), (" 12.5 ", "12.5"), ("-0", "0"), ("1e2", "1E+2"), (3, "3"), (Decimal("0.10"), "0.10"),
        ("", None), ("  ", None), (None, None),
    ],
)  # fmt: skip
def test_numbers(value: object, expected: str | None) -> None:
    number = number_of(value, "/x")
    assert (None if number is None else str(number)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "not-a-number"), ([], "not-a-number"), ("1_000", "not-a-number"), ("1,5", "not-a-number"),
        ("１", "not-a-number"), ("٣", "not-a-number"), ("NaN", "not-a-number"), ("Infinity", "not-a-number"),
        ("0x10", "not-a-number"), ("9" * 5000, "number-out-of-range"), ("1E-400", "number-out-of-range"),
        (Decimal("1E+400"), "number-out-of-range"), (10**50, "number-out-of-range"),
    ],
)  # fmt: skip
def test_numbers_refused(value: object, expected: str) -> None:
    assert code(lambda: number_of(value, "/x")) == expected


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**12), max_value=10**12))
def test_minor_units_equal_decimal_arithmetic(amount: Decimal) -> None:
    with exact():
        for currency, places in (("CNY", 2), ("JPY", 0), ("KWD", 3)):
            assert minor(amount, currency) == int(round(amount.scaleb(places), 0))


def test_quantities_keep_six_decimals() -> None:
    with exact():
        assert quantity_of("1.500", "") == Decimal("1.5")
        assert quantity_of("0.33333333", "") == Decimal("0.333333")
        assert str(quantity_of(100, "")) == "100"
        assert quantity_of("99999999999999.999999", "") == Decimal("99999999999999.999999")
        assert code(lambda: quantity_of("100000000000000", "")) == "number-out-of-range"
        assert code(lambda: quantity_of("99999999999999.9999999", "")) == "number-out-of-range"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7012345678901234567, "7012345678901234567"),
        (" a ", "a"),
        ("", None),
        (None, None),
        (0, "0"),
        (-3, "-3"),
    ],
)
def test_ids(value: object, expected: str | None) -> None:
    assert Node({"id": value}).ident("id") == expected


@pytest.mark.parametrize("value", [Decimal("1.5"), Decimal("7E+18"), True, [], {}])
def test_an_id_is_never_a_fraction(value: object) -> None:
    assert code(lambda: Node({"id": value}).ident("id")) == "bad-id"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-02-03T10:15:02+08:00", "2026-02-03T02:15:02+00:00"),
        ("2026-02-03T10:15:02Z", "2026-02-03T10:15:02+00:00"),
        ("2026-02-03T10:15:02-00:00", "2026-02-03T10:15:02+00:00"),
        ("2024-02-29t23:59:59.123456789z", "2024-02-29T23:59:59.123456+00:00"),
        ("2026-02-03 10:15:02+0800", "2026-02-03T02:15:02+00:00"),
        ("2026-02-03T10:15:02", None),
        ("2026-02-03", None),
        ("2025-02-29T00:00:00Z", None),
        ("0000-00-00 00:00:00", None),
        ("1772366400", None),
        ("1772366400000000000", None),
        ("２０２６-02-03T10:15:02Z", None),
        ("", None),
    ],
)
def test_times(text: str, expected: str | None) -> None:
    at = instant_of(text, "/t")
    assert (at.isoformat() if at else None) == expected


@pytest.mark.parametrize(
    "text",
    [
        "1970-01-01T00:00:00Z",
        "9999-12-31T23:59:59+00:00",
        "0001-01-01T00:00:00+14:00",
        "2101-01-01T00:00:00Z",
    ],
)
def test_times_outside_the_years_of_business(text: str) -> None:
    assert code(lambda: instant_of(text, "/t")) == "time-out-of-range"


def test_a_list_with_holes_as_php_writes_it() -> None:
    body = Node(
        json.loads('{"lines": {"10": {"id": 2}, "2": {"id": 1}}, "none": {}, "null": [null, {"id": 3}]}')
    )
    assert [line.get("id") for line in body.children("lines")] == [1, 2]
    assert body.children("none") == []
    assert [line.get("id") for line in body.children("null")] == [3]


def test_text_is_cut_and_a_code_is_not() -> None:
    body = Node({"title": "x" * 300, "sku": "x" * 256, "number": 12, "strange": ["a"]})
    assert len(body.text("title") or "") == 255
    assert code(lambda: body.code("sku")) == "id-too-long"
    assert (body.text("number"), body.text("strange")) == ("12", None)
