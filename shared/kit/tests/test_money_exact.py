"""Amounts where a binary fraction would be off by a minor unit: beyond 2^53, and just beside a tie."""

from decimal import Decimal

import pytest

from channel_kit.money import apportion, parse_decimal, share, to_minor


@pytest.mark.parametrize(
    ("text", "minor", "rest"),
    [
        ("9007199254740.9949", 900719925474099, "0.0049"),  # a double would hold the tie …099.5 and go up
        ("9007199254740.9951", 900719925474100, "-0.0049"),
        ("-9007199254740.9949", -900719925474099, "-0.0049"),
        ("0.1149999999999999999999", 11, "0.0049999999999999999999"),
    ],
)
def test_minor_units_beside_a_tie(text: str, minor: int, rest: str) -> None:
    assert to_minor(parse_decimal(text), "CNY") == (minor, Decimal(rest))


@pytest.mark.parametrize(
    ("amount", "ppm", "part"),
    [
        (961_386_558_989_538, 816_812, 785_272_078_021_363),  # …362.512856: a double has only eighths there
        (986_665_467_225_003, 617_825, 609_586_592_288_287),  # …287.478475
        (-992_003_450_240_372, 842_854, -836_114_076_048_899),  # …898.501688
    ],
)
def test_shares_beside_a_tie(amount: int, ppm: int, part: int) -> None:
    assert share(amount, ppm, 1_000_000) == part
    assert share(amount, Decimal(ppm).scaleb(-6), 1) == part


def test_parts_of_the_largest_amount_are_exact() -> None:
    assert apportion(10**15 - 1, [10**15 - 2, 1]) == [10**15 - 2, 1]
    assert apportion(10**15, [1, 1, 1]) == [333_333_333_333_334, 333_333_333_333_333, 333_333_333_333_333]
