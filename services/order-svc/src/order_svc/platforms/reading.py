"""Strict reading of untrusted JSON: exact numbers, ids as text, bounded depth, errors with a pointer.

Every adapter reads its bodies through this and nothing else. A number never passes through a double, an
id is never a fraction, a field that is not there is None. Whatever cannot be read raises `Unreadable`
with a JSON pointer and what to do about it. Pure: no clock, no I/O.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Any, Final, NoReturn

from channel_kit import money
from order_svc.platforms.contract import Documents, Ignored, Unreadable

ID_MAX: Final = 255
TITLE_MAX: Final = 255
DEPTH_MAX: Final = 100
QUANTITY_LIMIT: Final = Decimal(10) ** 14
QUANTITY_STEP: Final = Decimal("0.000001")
YEARS: Final = (2000, 2100)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# Two numbers of 40 digits multiply, and thousands of such products add up, without losing a digit.
_EXACT = Context(prec=200, rounding=ROUND_HALF_EVEN)
_SMALL: Final = 10**14 - 1  # a whole number up to here is an id or a quantity without another look
# What nearly every amount looks like; anything else takes the long way through the kit.
_PLAIN = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,10})?", re.A)


def exact() -> AbstractContextManager[Context]:
    """A decimal context in which the sums and products of a document are exact."""
    return localcontext(_EXACT)


def parse(raw: bytes) -> Any:
    """The JSON value of `raw`: UTF-8 (a byte order mark is allowed), no NaN, no contradicting keys."""
    if not raw.strip():
        raise Unreadable("empty-body", "the body is empty: send one JSON document")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable("not-utf8", f"byte {error.start} is not UTF-8: send the body as UTF-8") from None
    try:
        value = _load(text)
    except RecursionError:
        raise _too_deep() from None
    except (ValueError, ArithmeticError) as error:
        raise Unreadable("not-json", f"the body is not JSON: {error}") from None
    if raw.count(b"{") + raw.count(b"[") > DEPTH_MAX:
        _check_depth(value)
    return value


def _load(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError:
        raise
    except (ValueError, ArithmeticError):
        # A number beyond what int or Decimal can hold. It may stand in a field that nobody reads.
        return json.loads(
            text, parse_int=_huge, parse_float=_huge, parse_constant=_no_constant, object_pairs_hook=_object
        )


def _huge(text: str) -> int | Decimal:
    try:
        return int(text) if text.lstrip("-").isdigit() else Decimal(text)
    except (ValueError, ArithmeticError):
        return Decimal("NaN")


def _no_constant(name: str) -> NoReturn:
    raise Unreadable("not-json", f"{name} is not a JSON number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs) and any(result[key] != value for key, value in pairs):
        raise Unreadable("duplicate-key", "an object has one key twice with different values: send it once")
    return result


_DECODER: Final = json.JSONDecoder(
    parse_float=Decimal, parse_constant=_no_constant, object_pairs_hook=_object
)


def _check_depth(value: Any) -> None:
    level, depth = [value] if isinstance(value, dict | list) else [], 0
    while level:
        depth += 1
        if depth > DEPTH_MAX:
            raise _too_deep()
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]


def _too_deep() -> Unreadable:
    return Unreadable("too-deep", f"the body is nested deeper than {DEPTH_MAX} levels")


def micros(at: datetime) -> int:
    """Epoch microseconds of an aware instant."""
    delta = at - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def clean(text: str, pointer: str) -> str:
    """`text` if a database can hold it; raises Unreadable for U+0000 and lone surrogates."""
    if "\x00" in text:
        raise Unreadable("nul-in-text", f"{pointer}: take the U+0000 out of the text")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Unreadable("lone-surrogate", f"{pointer}: the text has half of a surrogate pair") from None
    return text


def instant_of(text: str, pointer: str, *, zoneless_is_utc: bool = False) -> datetime | None:
    """An aware UTC instant, None when `text` is not a date and time with its zone.

    Raises Unreadable for a year outside 2000..2100 (a unit mistaken, or a sentinel).
    """
    if len(text) < 16 or len(text) > 40 or not text.isascii() or text[10] not in "Tt ":
        return None
    try:
        at = datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    if not YEARS[0] <= at.year <= YEARS[1]:
        raise Unreadable(
            "time-out-of-range", f"{pointer}: {text} is outside the years {YEARS[0]} to {YEARS[1]}"
        )
    if at.tzinfo is None:
        return at.replace(tzinfo=UTC) if zoneless_is_utc else None
    return at.astimezone(UTC)


def number_of(value: Any, pointer: str) -> Decimal | None:
    """An exact number from a JSON number or decimal text; None when not stated (null or blank text)."""
    if isinstance(value, str):
        value = value.strip()
        if _PLAIN.fullmatch(value):
            return _plain(value)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise Unreadable("not-a-number", f"{pointer}: a number is expected here")
    try:
        return money.parse_decimal(value)
    except money.BadNumber as error:
        code = (
            "not-a-number" if isinstance(value, str) and not _LONG.fullmatch(value) else "number-out-of-range"
        )
        raise Unreadable(code, f"{pointer}: {error}") from None


def _plain(text: str) -> Decimal:
    """The number that `_PLAIN` found; "-0" is 0, since its sign would show up in texts and hashes."""
    number = Decimal(text)
    return number or abs(number)


_LONG = re.compile(r"[+-]?[0-9]*\.?[0-9]*(?:[eE][+-]?[0-9]+)?", re.A)


def quantity_of(value: Any, pointer: str) -> Decimal | None:
    """A quantity within numeric(20,6); a seventh decimal is rounded half-even. None when not stated."""
    number = number_of(value, pointer)
    if number is None or number == 0:
        return number
    if abs(number) >= QUANTITY_LIMIT or abs(number := number.quantize(QUANTITY_STEP)) >= QUANTITY_LIMIT:
        raise Unreadable("number-out-of-range", f"{pointer}: at most 14 digits before the point")
    whole = int(number)
    return Decimal(whole) if whole == number else number.normalize()


def id_of(value: Any, pointer: str) -> str | None:
    """An id as text, None when it is null or blank. A fraction is refused: it may have lost digits."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        text = str(value)
    elif isinstance(value, str):
        text = clean(value.strip(), pointer)
    else:
        raise Unreadable("bad-id", f"{pointer}: an id is text or a whole number")
    if len(text) > ID_MAX:
        raise Unreadable("id-too-long", f"{pointer}: an id has at most {ID_MAX} characters")
    return text or None


class Node:
    """A JSON object and where it stands in the document. Every accessor gives None for "not stated".

    An order is read through some hundred of these. So what most senders write is answered at once, and the pointer
    is put together for the others only: it stands in what they are refused with.
    """

    __slots__ = ("at", "value")

    def __init__(self, value: Mapping[str, Any], at: str = "") -> None:
        self.value, self.at = value, at

    def __contains__(self, name: str) -> bool:
        return name in self.value

    def get(self, name: str) -> Any:
        return self.value.get(name)

    def pointer(self, name: str) -> str:
        return f"{self.at}/{name}"

    def ident(self, name: str) -> str | None:
        value = self.value.get(name)
        if value is None:
            return None
        if type(value) is int and 0 <= value <= _SMALL:
            return str(value)
        return id_of(value, self.pointer(name))

    def text(self, name: str, limit: int = TITLE_MAX) -> str | None:
        """Free text, cut at `limit`; a number is taken as written, anything else as not stated."""
        value = self.value.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            if isinstance(value, bool) or not isinstance(value, int | Decimal):
                return None
            value = str(value)
        value = value.strip()
        if not value.isascii() or "\x00" in value:
            clean(value, self.pointer(name))
        return value[:limit] or None

    def code(self, name: str) -> str | None:
        """A short identifying text such as an SKU: not cut, but refused beyond the length of an id."""
        text = self.text(name, limit=ID_MAX + 1)
        if text is not None and len(text) > ID_MAX:
            raise Unreadable("id-too-long", f"{self.pointer(name)}: at most {ID_MAX} characters")
        return text

    def flag(self, name: str) -> bool:
        """True for true and for the ways in which lax senders write it."""
        value = self.value.get(name)
        return value is True or (isinstance(value, str) and value.strip().lower() in {"true", "yes", "1"})

    def number(self, name: str) -> Decimal | None:
        value = self.value.get(name)
        if value is None:
            return None
        if type(value) is str and _PLAIN.fullmatch(value):
            return _plain(value)
        return number_of(value, self.pointer(name))

    def quantity(self, name: str) -> Decimal | None:
        value = self.value.get(name)
        if value is None:
            return None
        if type(value) is int and 0 <= value <= _SMALL:
            return Decimal(value)
        return quantity_of(value, self.pointer(name))

    def instant(self, name: str, *, zoneless_is_utc: bool = False) -> datetime | None:
        value = self.value.get(name)
        if not isinstance(value, str):
            return None
        return instant_of(value.strip(), self.pointer(name), zoneless_is_utc=zoneless_is_utc)

    def child(self, name: str) -> "Node | None":
        value = self.value.get(name)
        return Node(value, self.pointer(name)) if isinstance(value, dict) else None

    def children(self, name: str) -> "list[Node]":
        """The objects of a list. PHP writes a list with holes as an object keyed by numbers: read it too."""
        value = self.value.get(name)
        if value is None or value == "" or value == []:
            return []
        pointer = self.pointer(name)
        if isinstance(value, dict) and all(key.isascii() and key.isdigit() for key in value):
            value = [value[key] for key in sorted(value, key=lambda key: (len(key), key))]
        if not isinstance(value, list):
            raise Unreadable("not-a-list", f"{pointer}: a list is expected here")
        return list(_objects(value, pointer))


def _objects(values: list[Any], pointer: str) -> Iterator[Node]:
    for index, value in enumerate(values):
        if isinstance(value, dict):
            yield Node(value, f"{pointer}/{index}")
        elif value is not None:
            raise Unreadable("not-an-object", f"{pointer}/{index}: an object is expected here")


def unwrap(value: Any, wrappers: frozenset[str]) -> list[Node]:
    """The documents of a body: bare, in a list, or alone under one of these names."""
    if isinstance(value, dict) and len(value) == 1:
        ((name, inner),) = value.items()
        if name in wrappers and isinstance(inner, dict | list):
            value = inner
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(one, dict) for one in values):
        raise Unreadable("not-an-object", "the body is no document: send one JSON object")
    return [Node(one, "" if len(values) == 1 else f"/{index}") for index, one in enumerate(values)]


def merged(parts: Sequence[Documents | Ignored]) -> Documents | Ignored:
    """What the documents of one body say together; why the first is ignored when all are."""
    if len(parts) == 1:
        return parts[0]
    kept = [part for part in parts if isinstance(part, Documents)]
    if not kept:
        return parts[0]
    return Documents(
        tuple(order for part in kept for order in part.orders),
        tuple(refund for part in kept for refund in part.refunds),
        tuple(deletion for part in kept for deletion in part.deletions),
    )
