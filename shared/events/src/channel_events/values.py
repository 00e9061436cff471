"""The bounded value types of the wire, and the base of every record on it.

Every number has a bound, every text a length and no U+0000, so what decodes also fits the databases behind.
No float ever stands for money or quantity. Bodies are built from these types only.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, GetPydanticSchema, StringConstraints
from pydantic_core import core_schema

MINOR_UNITS_MAX: Final = 10**15
INTEGER_MAX: Final = 10**15

QUANTITY_PATTERN: Final = r"^-?(0|[1-9][0-9]{0,13})(\.[0-9]{1,6})?$"
INSTANT_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z$"
NO_NUL_PATTERN: Final = r"^[^\x00]*$"


class Record(BaseModel):
    """Base of all that travels: immutable, strict about types, deaf to fields it does not know."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="ignore",
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )


def _formatted(name: str) -> Callable[[Any, Any], dict[str, Any]]:
    def described(schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), "format": name}

    return described


def quantity_text(value: Decimal) -> str:
    """The one spelling of a quantity: plain digits, no exponent, no trailing zeros, no negative zero."""
    text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _quantity_schema(_source: Any, _handler: Any) -> core_schema.CoreSchema:
    # From JSON only a string counts: a JSON number would already have passed through a float.
    return core_schema.json_or_python_schema(
        json_schema=core_schema.chain_schema(
            [
                core_schema.str_schema(strict=True, pattern=QUANTITY_PATTERN),
                core_schema.decimal_schema(strict=False),
            ]
        ),
        python_schema=core_schema.decimal_schema(
            strict=True, max_digits=20, decimal_places=6, allow_inf_nan=False
        ),
        serialization=core_schema.plain_serializer_function_ser_schema(
            quantity_text, return_schema=core_schema.str_schema(), when_used="json"
        ),
    )


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is UTC:
        return value
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("the instant has no UTC form between the years 1 and 9999") from None


def _instant_schema(_source: Any, _handler: Any) -> core_schema.CoreSchema:
    # The pattern keeps out what a lenient parser would take for an instant: unix seconds, dates, offsets.
    return core_schema.json_or_python_schema(
        json_schema=core_schema.chain_schema(
            [
                core_schema.str_schema(strict=True, pattern=INSTANT_PATTERN),
                core_schema.datetime_schema(strict=False, tz_constraint="aware"),
            ]
        ),
        python_schema=core_schema.no_info_after_validator_function(
            _in_utc, core_schema.datetime_schema(strict=True, tz_constraint="aware")
        ),
    )


MinorUnits = Annotated[int, Field(strict=True, ge=-MINOR_UNITS_MAX, le=MINOR_UNITS_MAX)]
"""Money in minor units of its currency's ISO exponent; signed."""

RatePpm = Annotated[int, Field(strict=True, ge=0, le=1_000_000)]
"""A rate in parts per million: 25_000 is 2.5 %."""

Quantity = Annotated[Decimal, GetPydanticSchema(_quantity_schema, _formatted("decimal"))]
"""At most 14 digits before and 6 after the point; signed; a string in JSON ("1.5")."""

Instant = Annotated[datetime, GetPydanticSchema(_instant_schema, _formatted("date-time"))]
"""An aware moment, brought to UTC; RFC 3339 with "Z" in JSON, microseconds when there are any."""

Currency = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Z]{3}$")]
"""ISO 4217 code."""

Code = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=100, pattern=NO_NUL_PATTERN)]
"""A code of ours or an open enumeration: readers must tolerate values they do not know."""

Text = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=500, pattern=NO_NUL_PATTERN)]
"""A name or a foreign id."""

Sha256 = Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest in lower-case hex."""

Version = Annotated[int, Field(strict=True, ge=1, le=INTEGER_MAX)]
"""A version that counts from 1."""

LineNo = Annotated[int, Field(strict=True, ge=-(2**31), le=2**31 - 1)]
"""An order line's number; pseudo-lines (freight, adjustment …) have one too."""
