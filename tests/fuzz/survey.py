"""What a service says of itself and of what it holds, and its OpenAPI document with examples of that.

`survey` reads every list as staff: so the fuzzer knows values that exist, real cursors, and which operations are
closed to partners.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from .furniture import ANOTHER, EXAMPLES, FILES, NEXT
from .house import PARTNERS, House

YEAR = {"from": "2026-01-01", "to": "2026-12-31"}


@dataclass
class Survey:
    """One service. `known` are values by name, `cursors` those of the second page of a list."""

    service: str
    document: dict[str, Any]
    known: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    cursors: dict[str, str] = field(default_factory=dict)
    closed: frozenset[str] = frozenset()

    @property
    def operations(self) -> list[str]:
        """All of them, as `GET /v1/items`."""
        return [f"{method.upper()} {path}" for path, method, _ in _operations(self.document)]

    @property
    def public(self) -> frozenset[str]:
        """Those that want no token."""
        found = _operations(self.document)
        return frozenset(
            f"{method.upper()} {path}" for path, method, detail in found if not detail["security"]
        )


async def survey(house: House, service: str) -> Survey:
    """Reads what there is."""
    document = (await house.http.get(f"{house.members[service].url}/openapi.json")).json()
    found = Survey(service, document)
    for path in _lists(document):
        for name, value in _leaves(await _read(house, service, path)):
            if value not in found.known[name]:
                found.known[name].append(value)
    for path in _lists(document):
        page = await _read(house, service, path, limit=1)
        if isinstance(page, dict) and page.get("next_cursor"):
            found.cursors[path] = page["next_cursor"]
    found.closed = frozenset([each for each in found.operations if await _is_closed(house, service, each)])
    return found


def exemplified(found: Survey, house: House) -> dict[str, Any]:
    """The document with examples of what exists: around them every boundary is tried, all else being sound."""
    document: dict[str, Any] = json.loads(json.dumps(found.document))
    for path, method, operation in _operations(document):
        name = f"{method.upper()} {path}"
        parameters = operation.setdefault("parameters", [])
        for parameter in parameters:
            if (value := example(found, name, parameter["name"])) is not None:
                parameter["example"] = value
        for kind, media in operation.get("requestBody", {}).get("content", {}).items():
            if (body := _body(found.service, name, kind, house)) is not None:
                media["example"] = body
    return document


def without(document: dict[str, Any], operations: frozenset[str]) -> dict[str, Any]:
    """The document without these operations."""
    paths = {
        path: {
            method: detail
            for method, detail in methods.items()
            if f"{method.upper()} {path}" not in operations
        }
        for path, methods in document["paths"].items()
    }
    return document | {"paths": {path: methods for path, methods in paths.items() if methods}}


def example(found: Survey, operation: str, name: str) -> Any:
    """A value of a parameter that exists, where one is known."""
    if name == "cursor":
        return found.cursors.get(operation.partition(" ")[2])
    values = found.known.get(name, [])
    return EXAMPLES.get(name) or (values[min(ANOTHER.get(operation, 0), len(values) - 1)] if values else None)


def _operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, detail)
        for path, methods in document["paths"].items()
        for method, detail in methods.items()
    ]


def _body(service: str, operation: str, kind: str, house: House) -> Any:
    method, path = operation.split(" ")
    if text := FILES.get((service, path)):
        return text if kind == "text/csv" else {"file": text}
    pattern = re.compile(re.sub(r"{\w+}", "[^/]+", path))
    sent = [
        body for *place, where, body in house.sent if place == [service, method] and pattern.fullmatch(where)
    ]
    return NEXT.get((service, operation), sent[0] if sent else None)


def _lists(document: dict[str, Any]) -> list[str]:
    return [path for path, methods in document["paths"].items() if "get" in methods and "{" not in path]


async def _read(house: House, service: str, path: str, **params: Any) -> Any:
    if "/insight/" in path:
        params |= YEAR
    answer = await house.ask(service, "GET", path, params=params)
    return answer.json() if answer.is_success else None


async def _is_closed(house: House, service: str, operation: str) -> bool:
    """Whether partners are turned away, which the guard says before it looks at anything else."""
    method, path = operation.split(" ")
    url = re.sub(r"{\w+}", lambda _: str(uuid4()), path)
    return (await house.ask(service, method, url, who=PARTNERS[0])).status_code == 403


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _leaves(child, key)
    elif isinstance(value, list):
        for child in value:
            yield from _leaves(child, name)
    elif isinstance(value, str | int) and not isinstance(value, bool):
        yield name, value
