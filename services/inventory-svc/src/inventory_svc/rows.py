"""Cells of imported files, read as strictly as a request body would be.

Pure. Every noun's `rules.of_row` uses these; a `BadRow` becomes the row's verdict, never an error of the file.
"""

import unicodedata
from decimal import Decimal

from channel_kit.money import BadNumber, parse_decimal

CODE_CHARACTERS_MAX = 100
TEXT_CHARACTERS_MAX = 500
QUANTITY_END = Decimal(10) ** 14


class BadRow(ValueError):
    """A row of a file that is no such thing; the text says what to correct."""


def code(value: str, column: str) -> str:
    """A code as the wire allows it, without what nobody can see or type. Raises `BadRow`."""
    try:
        return visible(_bounded(value, column, CODE_CHARACTERS_MAX))
    except ValueError as error:
        raise BadRow(f"{column}: {error}") from None


def visible(value: str) -> str:
    """A code of ours as people and files can agree on it. `ValueError` for outer blanks and control characters."""
    if value != value.strip() or any(
        unicodedata.category(each) in ("Cc", "Cf", "Zl", "Zp") for each in value
    ):
        raise ValueError("leave out control characters and outer blanks")
    return value


def text(value: str, column: str) -> str:
    """A name or foreign id as the wire allows it. Raises `BadRow`."""
    return _bounded(value, column, TEXT_CHARACTERS_MAX)


def quantity(value: str, column: str) -> Decimal:
    """A quantity from zero up, at most 14 digits before and 6 after the point. Raises `BadRow`."""
    try:
        number = parse_decimal(value)
    except BadNumber as error:
        raise BadRow(f"{column}: {error}") from None
    if not 0 <= number < QUANTITY_END or not fits(number, 6):
        raise BadRow(f"{column}: give a quantity of at most 14 digits before and 6 after the point")
    return number


def fits(number: Decimal, scale: int) -> bool:
    """Whether a number has at most `scale` digits after the point that are not zero."""
    return number % Decimal(1).scaleb(-scale) == 0


def _bounded(value: str, column: str, characters_max: int) -> str:
    if not value or len(value) > characters_max:
        raise BadRow(f"{column}: give 1 to {characters_max} characters")
    return value
