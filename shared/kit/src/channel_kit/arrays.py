"""Rows of a batch as SQL arrays, what a statement reads with `unnest($1::uuid[], $2::text::numeric[], …)`.

Of a list, the driver looks at every single element before it encodes it, which is most of what a wide batch costs;
PostgreSQL reads a whole array from one text in a fraction of that time. Ids stay lists: they are as long as text, and
only from a list does the planner know how many rows there will be. Never for `= any(…)`, which needs that too.
Called by the stores' batch statements.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any


def unnest(types: Sequence[str], first: int = 1) -> str:
    """The SQL that makes rows of what `columns` returns; its parameters are numbered from `first`."""
    return f"unnest({', '.join(_parameter(n, kind) for n, kind in enumerate(types, first))})"


def _parameter(n: int, kind: str) -> str:
    return f"${n}::uuid[]" if kind == "uuid" else f"${n}::text::{kind}[]"


def columns(rows: Iterable[Sequence[Any]], types: Sequence[str]) -> list[str | list[Any]]:
    """Each column of the rows as an array of its type; one empty array a column where there are no rows."""
    filled = list(zip(*rows, strict=True)) or [()] * len(types)
    return [_WRITERS.get(kind, plain)(column) for kind, column in zip(types, filled, strict=True)]


def plain(values: Iterable[Any]) -> str:
    """Numbers, truth values and times, which have no character that would need quoting; None is null."""
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


_WRITERS: dict[str, Callable[[Iterable[Any]], str | list[Any]]] = {
    "uuid": list,
    "text": texts,
    "bytea": _digests,
}
