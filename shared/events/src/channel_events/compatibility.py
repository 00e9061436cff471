"""The gate between two states of a schema: within a major version only new optional fields may come.

A record is read by older and by newer code than wrote it, so tightening and loosening break somebody: a new
required field fails on old records, a longer text fails in an old reader. Any other change is a `.v2`.
Standard library only. `python -m channel_events.compatibility OLD_FOLDER NEW_FOLDER` compares two folders.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Schema = Mapping[str, Any]

# Words about the schema, not about the value.
_ANNOTATIONS = frozenset({"$defs", "$id", "$schema", "title", "description", "examples"})
_UNORDERED = frozenset({"required", "enum"})


def breaks(old: Schema, new: Schema) -> list[str]:
    """What in `new` breaks readers or records of `old`, one sentence each; empty when nothing does."""
    return sorted(set(_Comparison(old, new).walk(old, new, "event")))


def folder_breaks(old: Path, new: Path) -> list[str]:
    """The same over two folders of `<type>.json`; a type that is gone is a break, a new one is not."""
    found: list[str] = []
    for path in sorted(old.glob("*.json")):
        successor = new / path.name
        if not successor.exists():
            found.append(f"{path.stem}: the type is gone")
            continue
        before, after = json.loads(path.read_text("utf-8")), json.loads(successor.read_text("utf-8"))
        found.extend(f"{path.stem}: {sentence}" for sentence in breaks(before, after))
    return found


class _Comparison:
    def __init__(self, old: Schema, new: Schema) -> None:
        self._old, self._new = old, new
        self._open: set[tuple[str, str]] = set()

    def walk(self, old: Any, new: Any, place: str) -> Iterator[str]:
        """Compare two schemas at one place, references followed."""
        if not (isinstance(old, dict) and isinstance(new, dict)):
            if old != new:
                yield f"{place}: changed from {old!r} to {new!r}"
            return
        pair = (str(old.get("$ref")), str(new.get("$ref")))
        if pair in self._open:
            return
        if "$ref" in old or "$ref" in new:
            self._open.add(pair)
            yield from self.walk(_target(old, self._old), _target(new, self._new), place)
            self._open.discard(pair)
            return
        yield from self._fields(old, new, place)
        for word in sorted((old.keys() | new.keys()) - _ANNOTATIONS - {"properties", "required"}):
            yield from self._word(word, old.get(word), new.get(word), place)

    def _fields(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        was_required, is_required = set(old.get("required", ())), set(new.get("required", ()))
        for name, schema in before.items():
            if name in after:
                yield from self.walk(schema, after[name], f"{place}.{name}")
            else:
                yield f"{place}.{name}: the field is gone"
        for name in is_required - was_required:
            yield f"{place}.{name}: a {'field' if name in before else 'new field'} became required"
        for name in (was_required - is_required) & after.keys():
            yield f"{place}.{name}: the field is no longer certain"

    def _word(self, word: str, old: Any, new: Any, place: str) -> Iterator[str]:
        if isinstance(old, list) and isinstance(new, list) and word not in _UNORDERED:
            if len(old) != len(new):
                yield f"{place}: {word} had {len(old)} forms, now {len(new)}"
            for before, after in zip(old, new, strict=False):
                yield from self.walk(before, after, place)
        elif isinstance(old, dict) and isinstance(new, dict):
            yield from self.walk(old, new, f"{place}[]")
        elif _comparable(word, old) != _comparable(word, new):
            yield f"{place}: {word} changed from {old!r} to {new!r}"


def _comparable(word: str, value: Any) -> Any:
    return sorted(value, key=repr) if word in _UNORDERED and isinstance(value, list) else value


def _target(schema: Schema, root: Schema) -> Any:
    """The definition a local reference names; words beside the reference are kept."""
    if "$ref" not in schema:
        return schema
    name = schema["$ref"].removeprefix("#/$defs/")
    beside = {word: value for word, value in schema.items() if word != "$ref"}
    return {**root["$defs"][name], **beside}


def main(arguments: list[str]) -> int:
    """Print the breaks between two folders; 1 when there are any."""
    old, new = (Path(argument) for argument in arguments)
    found = folder_breaks(old, new)
    print("\n".join(found) or "compatible")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
