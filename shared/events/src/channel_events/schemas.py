"""JSON Schemas of every event type, generated from the classes and committed under `schemas/`.

`python -m channel_events.schemas` writes them, and refuses to overwrite one with a breaking change;
`--check` only compares. They serve readers in other languages and the gate; decoding never looks at them.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

from channel_events.catalog import CATALOG, envelope_class
from channel_events.compatibility import breaks

SCHEMAS: Final = Path(__file__).parents[2] / "schemas"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema(type_name: str) -> dict[str, Any]:
    """The schema of one type: the envelope around its body."""
    entry = CATALOG[type_name]
    generated = envelope_class(type_name).model_json_schema(by_alias=True, mode="validation")
    generated["properties"]["type"] = {"const": type_name, "type": "string"}
    generated["properties"]["aggregatetype"] = {"const": entry.aggregate_type, "type": "string"}
    generated["title"] = type_name
    generated["description"] = f"Topic {entry.topic.name}, key: the {entry.aggregate_type}'s id."
    return {"$schema": DIALECT, "$id": f"urn:qudao:event:{type_name}", **generated}


def text(type_name: str) -> str:
    """The schema as it is committed."""
    return json.dumps(schema(type_name), indent=2, ensure_ascii=False) + "\n"


def differences(folder: Path = SCHEMAS) -> list[str]:
    """How the committed schemas differ from the classes; breaks are named one by one."""
    found = [
        f"{path.stem}: committed, but not in the catalogue"
        for path in sorted(folder.glob("*.json"))
        if path.stem not in CATALOG
    ]
    for name in CATALOG:
        path = folder / f"{name}.json"
        if not path.exists():
            found.append(f"{name}: not committed yet")
        elif (committed := path.read_text("utf-8")) != text(name):
            broken = breaks(json.loads(committed), schema(name))
            found.extend(f"{name}: breaks: {sentence}" for sentence in broken)
            if not broken:
                found.append(f"{name}: grew compatibly; write it again")
    return found


def write(folder: Path = SCHEMAS) -> list[str]:
    """Write every schema; the breaks, and nothing written, when there are any."""
    found = [sentence for sentence in differences(folder) if ": breaks: " in sentence]
    if not found:
        folder.mkdir(exist_ok=True)
        for name in CATALOG:
            (folder / f"{name}.json").write_text(text(name), "utf-8")
    return found


def main(arguments: list[str]) -> int:
    """Write, or with `--check` compare; 1 when something is wrong."""
    found = differences() if arguments == ["--check"] else write()
    print("\n".join(found) or f"{len(CATALOG)} schemas are as the classes say")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
