"""Reading JSON that strangers sent: what parsers silently accept is refused here.

Duplicate keys, U+0000, NaN and infinities, numbers beyond a bigint or a double, byte order marks, encodings other
than UTF-8, trailing bytes and deep nesting are `MalformedJson`; a wrong shape is `InvalidRequest`.
`http.json_body` calls this; platform adapters and the webhook route may.
"""

import json
import re
from math import isfinite
from typing import Any, Final, Never, TypeVar

from pydantic import BaseModel, ValidationError

from channel_kit.problems import InvalidRequest, MalformedJson, faults

DEPTH_MAX: Final = 64
INTEGER_MAX: Final = 2**63 - 1

Model = TypeVar("Model", bound=BaseModel)

# An escaped U+0000: the backslash before "u0000" must not itself be escaped.
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def validate(raw: bytes, model: type[Model]) -> Model:
    """The document as a `model`, which says itself that it is strict. Raises the two problems above."""
    loads(raw)
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)
    if errors[0]["type"] == "json_invalid":
        # What the standard library lets pass and pydantic's parser does not: lone surrogates.
        raise MalformedJson("A text in it is not valid Unicode.")
    raise InvalidRequest(errors=faults(errors))


def loads(raw: bytes) -> Any:
    """The document as plain Python values. Raises `MalformedJson`."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedJson("It is not UTF-8.") from None
    if text.startswith("\ufeff"):
        raise MalformedJson("It starts with a byte order mark; leave that out.")
    if "\\u0000" in text and _ESCAPED_NUL.search(text):
        raise MalformedJson("A text in it holds U+0000, which cannot be stored.")
    try:
        value = _decoder.decode(text)
    except json.JSONDecodeError as error:
        raise MalformedJson(f"It breaks off at line {error.lineno}, column {error.colno}.") from None
    except RecursionError:
        raise MalformedJson(f"It nests deeper than {DEPTH_MAX} levels.") from None
    except ValueError:
        # The standard library refuses integers of more than 4,300 digits.
        raise MalformedJson("A number in it has too many digits.") from None
    if not _is_shallow(value):
        raise MalformedJson(f"It nests deeper than {DEPTH_MAX} levels.")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedJson("An object in it has the same key twice.")
    return members


def _bounded(text: str) -> int:
    number = int(text)
    if abs(number) > INTEGER_MAX:
        raise MalformedJson("A number in it is too large.")
    return number


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise MalformedJson("A number in it is too large.")
    return number


def _constant(_: str) -> Never:
    raise MalformedJson("NaN and Infinity are not JSON numbers.")


_decoder = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_bounded, parse_float=_finite, parse_constant=_constant
)


def _is_shallow(value: Any) -> bool:
    level = [value] if type(value) in (dict, list) else []
    for _ in range(DEPTH_MAX):
        if not level:
            return True
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) in (dict, list)
        ]
    return not level
