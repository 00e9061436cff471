"""Keyset pages: `{items, next_cursor}`, at most 200 items, no offsets and no totals.

A cursor is the sort key of the last item, opaque to callers. It grants nothing: what a caller may see is
decided again on every page, so the checksum in it only catches damage. Routes take `cursor: Cursor`.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Generic, TypeVar
from uuid import UUID

from fastapi import Depends, Query
from pydantic import BeforeValidator

from channel_kit.http import View
from channel_kit.money import BadNumber, parse_decimal
from channel_kit.problems import BadRequest

LIMIT_MAX: Final = 200
LIMIT_DEFAULT: Final = 50
CURSOR_CHARACTERS_MAX: Final = 2_000
INTEGER_MAX: Final = 2**63 - 1

T = TypeVar("T")
Sortable = str | int | UUID | date | datetime | Decimal

_CHECKSUM_BYTES = 4
_CURSOR = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class BadCursor(BadRequest):
    code = "bad-cursor"
    title = "The cursor is damaged or of another list; use next_cursor as it was given, or none"


class Page(View, Generic[T]):
    """One page. Without `next_cursor` it is the last one."""

    items: list[T]
    next_cursor: str | None = None


def _ascii_digits(value: object) -> object:
    # Pydantic itself would read "1_0" and "+5" as numbers.
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,9}", value, re.ASCII):
        raise ValueError("give a number of decimal digits")
    return value


class PageRequest:
    """Which page a caller wants: `limit` items after `cursor`."""

    def __init__(
        self,
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX), BeforeValidator(_ascii_digits)] = LIMIT_DEFAULT,
        cursor: Annotated[
            str | None, Query(description="next_cursor of the page before", max_length=CURSOR_CHARACTERS_MAX)
        ] = None,
    ) -> None:
        self.limit = limit
        self.cursor = cursor

    def values(self, *types: type[Sortable]) -> tuple[Any, ...] | None:
        """The sort key after which the page starts, typed as asked; None for the first page.

        Raises `BadCursor` when the cursor was not made from such values.
        """
        return None if self.cursor is None else decode_cursor(self.cursor, types)

    def page(self, items: Sequence[T], found: int, last: Sequence[Sortable]) -> Page[T]:
        """The page of `items`; `found` > `limit` says that a next one exists, `last` is its cursor's key."""
        return Page[T](items=list(items), next_cursor=encode_cursor(last) if found > self.limit else None)


Cursor = Annotated[PageRequest, Depends()]
"""A route parameter `cursor: Cursor`: reads `limit` (422 unless 1 to 200) and `cursor` of the query."""


def encode_cursor(values: Sequence[Sortable]) -> str:
    """The opaque form of a sort key."""
    texts = [value if type(value) is int else _text(value) for value in values]
    content = json.dumps(texts, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_checksum(content) + content).rstrip(b"=").decode()


def decode_cursor(cursor: str, types: Sequence[type[Sortable]]) -> tuple[Any, ...]:
    """The typed sort key of a cursor. Raises `BadCursor`."""
    if not _CURSOR.fullmatch(cursor):
        raise BadCursor
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        content = raw[_CHECKSUM_BYTES:]
        if raw[:_CHECKSUM_BYTES] != _checksum(content):
            raise BadCursor
        texts = json.loads(content)
        if not isinstance(texts, list) or len(texts) != len(types):
            raise BadCursor
        return tuple(_typed(text, kind) for text, kind in zip(texts, types, strict=True))
    except (binascii.Error, ValueError, RecursionError, BadNumber):
        raise BadCursor from None


def _text(value: Sortable) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def _typed(text: Any, kind: type[Sortable]) -> Sortable:
    if kind is int:
        if type(text) is not int or abs(text) > INTEGER_MAX:
            raise BadCursor
        return text
    if not isinstance(text, str) or "\0" in text or (not text.isprintable() and kind is not str):
        raise BadCursor
    text.encode()  # A lone surrogate raises here, not in the database.
    if kind is datetime:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise BadCursor
        return moment
    if kind is date:
        return date.fromisoformat(text)
    if kind is UUID:
        return UUID(text)
    return parse_decimal(text) if kind is Decimal else text


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:_CHECKSUM_BYTES]
