"""The committed JSON Schemas say the same as the reader: every example and every mutation, both ways.

A small evaluator of the keywords that the schemas use stands in for a library; an unknown keyword fails.
"""

import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from order_svc.platforms import generic
from order_svc.platforms.contract import Unreadable

SCHEMAS = Path(generic.__file__).parent / "schemas"
EXAMPLES = {
    "qudao.order.v1": "generic_order",
    "qudao.refund.v1": "generic_refund",
    "qudao.order-deleted.v1": "generic_order_deleted",
}
NOTES = {"$schema", "$id", "$defs", "title", "description", "format"}
TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
}


def schema(name: str) -> Any:
    return json.loads((SCHEMAS / f"{name}.json").read_text("utf-8"))


def valid(rule: Any, value: Any, root: Any) -> bool:
    return all(holds(name, rule, value, root) for name in rule if name not in NOTES and name != "then")


def holds(name: str, rule: Any, value: Any, root: Any) -> bool:
    want = rule[name]
    match name:
        case "$ref":
            return valid(root["$defs"][want.removeprefix("#/$defs/")], value, root)
        case "type":
            return any(TYPES[one](value) for one in ([want] if isinstance(want, str) else want))
        case "const":
            return bool(value == want)
        case "enum":
            return value in want
        case "anyOf":
            return any(valid(one, value, root) for one in want)
        case "allOf":
            return all(valid(one, value, root) for one in want)
        case "if":
            return not valid(want, value, root) or valid(rule["then"], value, root)
        case "required":
            return not isinstance(value, dict) or all(one in value for one in want)
        case "properties":
            return not isinstance(value, dict) or all(
                valid(one, value[key], root) for key, one in want.items() if key in value
            )
        case "items":
            return not isinstance(value, list) or all(valid(want, one, root) for one in value)
        case "maxItems":
            return not isinstance(value, list) or len(value) <= want
        case "pattern":
            # ECMA-262: `$` is the very end, and classes are ASCII here.
            return not isinstance(value, str) or bool(re.search(re.sub(r"\$$", r"\\Z", want), value, re.A))
        case "minLength":
            return not isinstance(value, str) or len(value) >= want
        case "maxLength":
            return not isinstance(value, str) or len(value) <= want
        case "minimum":
            return not TYPES["integer"](value) or value >= want
        case "maximum":
            return not TYPES["integer"](value) or value <= want
    raise AssertionError(f"the schema uses {name}, which this test does not know")


def readable(body: Any, now: datetime) -> bool:
    try:
        generic.ADAPTER.normalise("", json.dumps(body).encode(), now)
    except Unreadable:
        return False
    return True


def paths(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield from paths(child, (*at, key))


def known(name: str, path: tuple[str | int, ...]) -> bool:
    """Whether the reader looks at this place; `type` is what selects the schema."""
    return path != ("type",) and "something_new" not in path


SUBSTITUTES: list[Any] = [
    None, True, 0, 1, -1, 2**63 - 1, 2**63, "", " ", "x", "0", "-0", "-0.00", "1", "-1", "1.5", "-1.5", "1.1234567",
    "0" * 15, "0" * 16, "+1", "1e3", "١", "1\n", "x" * 255, "x" * 256, "CNY", "cny", "open", "paid", "partially_paid",
    "product", "platform_fee", "2026-03-01T00:00:00Z", "2026-03-01T00:00:00", "2026-03-01", "1999-12-31T00:00:00Z",
    "2026-03-01t00:00:00.123456789-00:00", [], [{}], ["x"], {}, {"a": 1},
]  # fmt: skip


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_the_example_fits(name: str, load: Callable[[str], Any], now: datetime) -> None:
    root, body = schema(name), load(EXAMPLES[name])
    assert root["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert valid(root, body, root)
    assert readable(body, now)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_schema_and_reader_agree_on_every_mutation(
    name: str, load: Callable[[str], Any], now: datetime
) -> None:
    root, example, seen = schema(name), load(EXAMPLES[name]), set()
    for path in paths(example):
        if not known(name, path):
            continue
        for value in [*SUBSTITUTES, "removed"]:
            body = deepcopy(example)
            target = body
            for step in path[:-1]:
                target = target[step]
            if value != "removed":
                target[path[-1]] = value
            elif isinstance(target, dict):
                del target[path[-1]]
            by_schema, by_reader = valid(root, body, root), readable(body, now)
            if stricter_than_a_schema_can_say(path, value, body):
                continue
            assert by_schema == by_reader, (path, value)
            seen.add(by_reader)
    assert seen == {True, False}


def stricter_than_a_schema_can_say(path: tuple[str | int, ...], value: Any, body: Any) -> bool:
    """A comparison of two fields: no more may be removed than was ordered."""
    if path[-1] not in ("removed", "quantity") or "lines" not in path or "refunds" in path:
        return False
    line = body["data"]["lines"][path[2]]
    try:
        return float(line["removed"]) > float(line["quantity"])
    except (KeyError, TypeError, ValueError):
        return False


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_field_of_the_schema_is_read(name: str) -> None:
    """A field that the schema describes and the reader does not know would be a broken promise."""
    source = "".join(
        (Path(generic.__file__).parent / f"{file}.py").read_text()
        for file in ("generic", "generic_documents")
    )
    fields = {
        key
        for node in nodes(schema(name))
        for key in (node.get("properties") or {})
        if isinstance(node.get("properties"), dict)
    }
    assert fields
    assert {field for field in fields if f'"{field}"' not in source} == set()


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(child)
