"""Real-looking documents, changed in a few places: what senders, proxies and attackers make of them.

A place is dropped, replaced, wrapped, doubled or filled with what no sender means; the text of the whole is
sometimes cut, marked, or given one key twice. Numbers are written as text, so that none passes through a float.
"""

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

# Stand for JSON numbers that Python would not write.
LITERALS = {
    "<huge>": "9" * 5_000,
    "<beyond>": "1e400",
    "<nothing>": "1E-400",
    "<negative zero>": "-0",
    "<exponent>": "12e1",
    "<nan>": "NaN",
    "<leading zero>": "012",
}
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 2**31, 2**63, 10**15, 10**23, -(10**15), "", " ", "0", "-0", "-1", "1", "2.5",
    "0.005", "12.345", "1e15", "1E-400", "9" * 400, "1_000", " 12 ", "١٢", "１２", "NaN", "Infinity", "+5", "CNY", "JPY",
    "KWD", "usd", "XXX", "a\u0000b", "\ud800", "\u202eabc", "e\u0301", "\ufeff", "😀" * 60, "x" * 300, "x" * 10_000,
    "=1+1", "../../etc/passwd", "a\r\nb", "1970-01-01T00:00:00Z", "2026-02-03T10:15:02", "2026-02-03T10:15:02+08:00",
    "9999-12-31T23:59:59+00:00", "2026-02-30", 1_772_366_400, [], {}, [[]], [{}], [None], {"1": {}, "0": {}},
    [{"id": 1}, {"id": 1}], {"amount": "7"}, *LITERALS,
)  # fmt: skip


def mutated(chance: random.Random, document: Any, changes: int) -> Any:
    """A copy with up to so many places changed."""
    value = deepcopy(document)
    for _ in range(changes):
        spots = list(_places(value))
        if not spots:
            break
        *path, last = chance.choice(spots)
        holder = value
        for step in path:
            holder = holder[step]
        _change(chance, holder, last)
    return value


def written(chance: random.Random, document: Any) -> bytes:
    """The document as bytes, now and then in a form that a strict reader refuses."""
    text = json.dumps(document, ensure_ascii=chance.random() < 0.5)
    for mark, literal in LITERALS.items():
        text = text.replace(json.dumps(mark), literal)
    if chance.random() < 0.1 and text.startswith("{") and len(text) > 2:
        at = chance.choice([n for n, letter in enumerate(text) if letter == "{"])
        text = f'{text[: at + 1]}"id": 1, "id": 2{"" if text[at + 1] == "}" else ", "}{text[at + 1 :]}'
    raw = text.encode("utf-8", "surrogatepass")
    kind = chance.random()
    if kind < 0.03:
        return raw[: chance.randrange(len(raw) + 1)]
    if kind < 0.06 and raw:
        at = chance.randrange(len(raw))
        return raw[:at] + bytes([chance.randrange(256)]) + raw[at + 1 :]
    if kind < 0.08:
        return b"\xef\xbb\xbf" + raw
    return raw


def _change(chance: random.Random, holder: Any, last: Any) -> None:
    kind = chance.random()
    if kind < 0.2:
        del holder[last]
    elif kind < 0.3:
        holder[last] = [holder[last]]
    elif kind < 0.4:
        holder[last] = {"value": holder[last]}
    elif kind < 0.5 and isinstance(holder, list):
        holder.append(deepcopy(holder[last]))
    elif kind < 0.55:
        holder[last] = str(holder[last])
    elif kind < 0.6 and isinstance(holder[last], str):
        holder[last] += chance.choice(("\u0000", "\u200b", "é", " ", "0"))
    else:
        holder[last] = deepcopy(chance.choice(ODD))


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _places(child, (*at, key))
    elif isinstance(value, list):
        for number, child in enumerate(value):
            yield from _places(child, (*at, number))
