"""Rows of a batch as SQL arrays, what a statement reads with `unnest($1::uuid[], $2::text::numeric[], …)`.

Of a list, the driver looks at every single element before it encodes it, which is most of what a wide batch costs;
PostgreSQL reads a whole array from one text in a fraction of that time. A first column of ids stays a list: from its
length the planner knows how many rows there are. For the same reason `= any(…)` wants a list.
Called by the stores' batch statements.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any


def unnest(types: Sequence[str]) -> str:
    """The SQL that makes rows of what `columns` returns; its parameters are numbered from 1."""
    first, *others = types
    arrays = [
        "$1::uuid[]" if first == "uuid" else f"$1::text::{first}[]",
        *(f"${n}::text::{kind}[]" for n, kind in enumerate(others, 2)),
    ]
    return f"unnest({', '.join(arrays)})"


def columns(rows: Iterable[Sequence[Any]], types: Sequence[str]) -> list[str | list[Any]]:
    """Each column of the rows as an array of its type; one empty array a column where there are no rows."""
    filled = list(zip(*rows, strict=True)) or [()] * len(types)
    return [_array(n, kind, column) for n, (kind, column) in enumerate(zip(types, filled, strict=True))]


def _array(n: int, kind: str, column: Sequence[Any]) -> str | list[Any]:
    if n == 0 and kind == "uuid":
        return list(column)
    return _WRITERS.get(kind, plain)(column)


def plain(values: Iterable[Any]) -> str:
    """Ids, numbers, truth values and times, which have no character that would need quoting; None is null."""
    return "{" + ",".join(["null" if value is None else str(value) for value in values]) + "}"


def texts(values: Iterable[str | None]) -> str:
    """Any texts; None is null. Each is quoted once however often it comes: most columns hold few."""
    column = tuple(values)
    quoted = {value: "null" if value is None else _quoted(value) for value in set(column)}
    return "{" + ",".join([quoted[value] for value in column]) + "}"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _digests(values: Iterable[bytes | None]) -> str:
    return "{" + ",".join(["null" if value is None else rf"\\x{value.hex()}" for value in values]) + "}"


_WRITERS: dict[str, Callable[[Iterable[Any]], str]] = {"text": texts, "bytea": _digests}
