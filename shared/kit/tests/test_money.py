"""Money: exact in, exact out, one rounding, parts that sum to the whole."""

from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from channel_kit.money import (
    EXPONENTS,
    MINOR_UNITS_MAX,
    BadNumber,
    UnknownCurrency,
    apportion,
    exponent,
    from_minor,
    parse_decimal,
    round_half_even,
    share,
    to_minor,
)

currencies = st.sampled_from(sorted(EXPONENTS))
units = st.integers(-MINOR_UNITS_MAX, MINOR_UNITS_MAX)
amounts = st.builds(
    lambda digits, places: Decimal(f"{digits}E-{places}"), st.integers(-(10**11), 10**11), st.integers(0, 30)
)
weights = st.lists(
    st.one_of(st.integers(0, 10**15), st.decimals(0, 10**6, allow_nan=False, places=6)),
    min_size=1,
    max_size=40,
)


@pytest.mark.parametrize(
    ("currency", "places"),
    [
        ("CNY", 2),
        ("JPY", 0),
        ("KWD", 3),
        ("CLF", 4),
        ("USD", 2),
        ("KRW", 0),
        ("ISK", 0),
        ("UYW", 4),
        ("TND", 3),
    ],
)
def test_exponents(currency: str, places: int) -> None:
    assert exponent(currency) == places


@pytest.mark.parametrize(
    "code", ["cny", "", "CN", "XXX", "XAU", "ＣＮＹ", "CNY ", "￥", None, 156, ["CNY"], "РUB"]
)
def test_unknown_currencies_are_refused(code: object) -> None:
    with pytest.raises(UnknownCurrency):
        exponent(code)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", "0"), ("12.50", "12.50"), ("-0.01", "-0.01"), ("+7", "7"), ("007.10", "7.10"), ("1e3", "1E+3"),
        ("1.5E-3", "0.0015"), ("1E-40", "1E-40"), ("9" * 40, "9" * 40), ("0." + "1" * 39, "0." + "1" * 39),
    ],
)  # fmt: skip
def test_plain_numbers_are_read_exactly(text: str, number: str) -> None:
    assert parse_decimal(text) == Decimal(number)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", " 12", "12 ", "12\n", "\t1", "1_000", "1,000", "1 000", "1.", ".5", ".", "-", "--1", "1-", "1.2.3",
        "٣", "１２", "१", "NaN", "sNaN", "Infinity", "-inf", "0x10", "1e", "e5", "1e41", "1E-41", "1e400", "1E-400",
        "1e9999999999", "9" * 41, "0." + "0" * 40, "9" * 5000, "¥12", "12元", "1\0", "\ud800", "½", "一",
        "1" + "0" * 40, True, False, 1.0, float("nan"), float("inf"), 10**40, -(10**40), 10**5000, None, b"1", [],
        Decimal("NaN"), Decimal("-Infinity"), Decimal("sNaN"), Decimal("1E+41"), Decimal("1E-41"), Decimal("9" * 41),
    ],
    ids=lambda value: type(value).__name__,  # An integer of 5,000 digits has no text.
)  # fmt: skip
def test_what_is_no_number_is_refused(text: object) -> None:
    with pytest.raises(BadNumber):
        parse_decimal(text)  # type: ignore[arg-type]


@given(st.text(max_size=60))
def test_any_text_is_a_number_or_refused(text: str) -> None:
    try:
        assert parse_decimal(text).is_finite()
        assert text.isascii()
        assert set(text) <= set("0123456789+-.eE")
    except BadNumber:
        pass


@given(st.from_regex(r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?", fullmatch=True))
def test_parsing_changes_no_digit(text: str) -> None:
    assert Fraction(parse_decimal(text)) == Fraction(text)


def test_negative_zero_becomes_zero() -> None:
    assert str(parse_decimal("-0.00")) == "0.00"
    assert str(parse_decimal(Decimal("-0"))) == "0"
    assert str(from_minor(0, "CNY")) == "0.00"


@pytest.mark.parametrize(
    ("text", "currency", "minor", "rest"),
    [
        ("0.105", "CNY", 10, "0.005"), ("0.115", "CNY", 12, "-0.005"), ("-0.105", "CNY", -10, "-0.005"),
        ("1234.5", "JPY", 1234, "0.5"), ("1235.5", "JPY", 1236, "-0.5"), ("1.0005", "KWD", 1000, "0.0005"),
        ("12.34", "CNY", 1234, "0"), ("1e-40", "CNY", 0, "1e-40"), ("10000000000000.00", "CNY", 10**15, "0"),
    ],
)  # fmt: skip
def test_golden_minor_units(text: str, currency: str, minor: int, rest: str) -> None:
    assert to_minor(parse_decimal(text), currency) == (minor, Decimal(rest))


@pytest.mark.parametrize("text", ["10000000000000.01", "-10000000000000.01", "1e40", "9" * 40])
def test_amounts_beyond_the_bound_are_refused(text: str) -> None:
    with pytest.raises(BadNumber):
        to_minor(parse_decimal(text), "CNY")


@given(amounts, currencies)
def test_units_and_remainder_sum_to_the_amount(amount: Decimal, currency: str) -> None:
    minor, rest = to_minor(amount, currency)
    assert Fraction(from_minor(minor, currency)) + Fraction(rest) == Fraction(amount)
    assert abs(Fraction(rest)) * 10 ** exponent(currency) <= Fraction(1, 2)


@given(units, currencies)
def test_minor_units_survive_the_round_trip(minor: int, currency: str) -> None:
    amount = from_minor(minor, currency)
    assert -int(amount.as_tuple().exponent) == exponent(currency)
    assert to_minor(amount, currency) == (minor, Decimal(0))


def test_the_decimal_context_changes_nothing() -> None:
    with localcontext(prec=3):
        assert to_minor(parse_decimal("123456.785"), "CNY") == (12345678, Decimal("0.005"))
        assert str(from_minor(123456789, "CNY")) == "1234567.89"
        assert parse_decimal("123456.789") == Decimal("123456.789")
        assert apportion(10, [Decimal("1.23456"), Decimal("1.23456")]) == [5, 5]


@pytest.mark.parametrize(
    ("value", "rounded"), [("0.5", 0), ("1.5", 2), ("2.5", 2), ("-0.5", 0), ("-1.5", -2)]
)
def test_ties_go_to_the_even_neighbour(value: str, rounded: int) -> None:
    assert round_half_even(Decimal(value)) == rounded
    assert round_half_even(Fraction(value)) == rounded


@given(st.fractions())
def test_rounding_is_nearest_and_odd(value: Fraction) -> None:
    assert abs(round_half_even(value) - value) <= Fraction(1, 2)
    assert round_half_even(-value) == -round_half_even(value)


def test_share_rounds_once() -> None:
    assert share(1050, 25_000, 1_000_000) == 26
    assert share(5, 1, 2) == 2
    assert share(-5, 1, 2) == -2
    assert share(8, 1, -3) == -3
    assert share(10**15, Decimal("0.333333"), Decimal("0.999999")) == round_half_even(
        Fraction(10**15) * Fraction("0.333333") / Fraction("0.999999")
    )
    with pytest.raises(ZeroDivisionError):
        share(1, 1, 0)


@pytest.mark.parametrize(
    ("total", "over", "parts"),
    [
        (10, [1, 1, 1], [4, 3, 3]), (-10, [1, 1, 1], [-4, -3, -3]), (0, [1, 2], [0, 0]), (7, [0, 0], [4, 3]),
        (100, [1], [100]), (1, [1, 1], [1, 0]), (5, [0, 1], [0, 5]), (100, [Decimal("0.5"), 1], [33, 67]),
        (0, [], []), (2, [1, 1, 1], [1, 1, 0]), (10, [3, 3, 3, 1], [3, 3, 3, 1]),
    ],
)  # fmt: skip
def test_golden_splits(total: int, over: list[int | Decimal], parts: list[int]) -> None:
    assert apportion(total, over) == parts


def test_ten_cents_over_three_equal_lines() -> None:
    minor, rest = to_minor(parse_decimal("0.10"), "CNY")
    assert rest == 0
    assert apportion(minor, [1, 1, 1]) == [4, 3, 3]


@given(units, weights)
@example(1, [Decimal(0), Decimal("0.000001")])
def test_parts_sum_to_the_whole_and_are_fair(total: int, over: list[int | Decimal]) -> None:
    parts = apportion(total, over)
    assert sum(parts) == total
    assert apportion(-total, over) == [-part for part in parts]
    whole = sum(Fraction(weight) for weight in over)
    for part, weight in zip(parts, over, strict=True):
        quota = total * (Fraction(weight) / whole if whole else Fraction(1, len(over)))
        assert abs(part - quota) < 1
        assert weight or not whole or part == 0


@given(units, weights, st.integers(1, 10**6))
def test_only_proportions_matter(total: int, over: list[int | Decimal], factor: int) -> None:
    scaled = [Fraction(weight) * factor for weight in over]
    common = 10**6
    assert apportion(total, over) == apportion(total, [int(weight * common) for weight in scaled])


def test_bad_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        apportion(1, [1, -1])
    with pytest.raises(ValueError, match="nothing to split"):
        apportion(1, [])
