"""The gate sees each kind of break on a planted one, and lets a new optional field pass."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from channel_events import compatibility, docs, schemas
from channel_events.catalog import CATALOG, ORDER_PLACED
from channel_events.compatibility import breaks

Change = Callable[[dict[str, Any]], object]


def placed(change: Change) -> dict[str, Any]:
    """The schema of the order events with one change planted in it."""
    planted = copy.deepcopy(schemas.schema(ORDER_PLACED))
    change(planted)
    return planted


def line(schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schema["$defs"]["OrderLine"]
    return found


def with_enum(schema: dict[str, Any], *values: str) -> None:
    schema["properties"]["source"]["enum"] = list(values)


def test_committed_schemas_are_what_the_classes_say() -> None:
    assert schemas.differences() == []


def test_docs_list_every_type_topic_and_record() -> None:
    page = docs.page()
    for name, entry in CATALOG.items():
        assert f"| `{name}` | `{entry.topic.name}` | 12 | {entry.aggregate_type} |" in page
        for record in schemas.schema(name)["$defs"]:
            assert page.count(f"\n## {record}\n") == 1
    assert "| `from` | string or null | no |" in page
    assert "| `quantity` | decimal | yes |" in page
    assert "| `moved` | map of decimal | yes |" in page


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: line(s)["properties"].pop("net_minor"), ".net_minor: the field is gone"),
        (lambda s: s["properties"].pop("causationid"), "event.causationid: the field is gone"),
        (
            lambda s: (
                line(s)["properties"].update(new={"type": "string"}),
                line(s)["required"].append("new"),
            ),
            ".new: a new field became required",
        ),
        (lambda s: line(s)["required"].append("sku"), ".sku: a field became required"),
        (lambda s: line(s)["required"].remove("net_minor"), ".net_minor: the field is no longer certain"),
        (
            lambda s: line(s)["properties"]["net_minor"].update(type="string"),
            ".net_minor: type changed from 'integer' to 'string'",
        ),
        (
            lambda s: line(s)["properties"].update(sku={"type": "string"}),
            ".sku: type changed from None to 'string'",
        ),
        (lambda s: line(s)["properties"]["sku"]["anyOf"].pop(), ".sku: anyOf had 2 forms, now 1"),
        (
            lambda s: line(s)["properties"]["net_minor"].update(maximum=10),
            ".net_minor: maximum changed from 1000000000000000 to 10",
        ),
        (lambda s: s["properties"]["type"].update(const="other"), "event.type: const changed"),
        (
            lambda s: s["$defs"]["OrderBody"]["properties"]["entries"]["items"].update(
                {"$ref": "#/$defs/OrderLine"}
            ),
            "event.data.entries[].entry_id: the field is gone",
        ),
    ],
)
def test_planted_break_is_named(change: Change, said: str) -> None:
    found = breaks(schemas.schema(ORDER_PLACED), placed(change))
    assert any(said in sentence for sentence in found), found


def test_narrowed_or_widened_enumeration_is_a_break() -> None:
    three = placed(lambda s: with_enum(s, "a", "b", "c"))
    assert breaks(three, placed(lambda s: with_enum(s, "c", "a", "b"))) == []
    for values in (("a", "b"), ("a", "b", "c", "d")):
        (sentence,) = breaks(three, placed(lambda s, values=values: with_enum(s, *values)))  # type: ignore[misc]
        assert sentence.startswith("event.source: enum changed")


@pytest.mark.parametrize(
    "change",
    [
        lambda s: line(s)["properties"].update(later={"type": "string", "default": None}),
        lambda s: s["properties"].update(later={"$ref": "#/$defs/OrderLine"}),
        lambda s: line(s).update(description="said better", title="Line"),
        lambda s: line(s)["required"].reverse(),
    ],
)
def test_new_optional_field_and_better_words_pass(change: Change) -> None:
    assert breaks(schemas.schema(ORDER_PLACED), placed(change)) == []


def test_recursive_schema_comes_to_an_end() -> None:
    tree = {"$ref": "#/$defs/T", "$defs": {"T": {"properties": {"next": {"$ref": "#/$defs/T"}}}}}
    leaf = {"$ref": "#/$defs/T", "$defs": {"T": {"properties": {}}}}
    assert breaks(tree, tree) == []
    assert breaks(tree, leaf) == ["event.next: the field is gone"]


def test_break_is_never_written_over_the_committed_schema(tmp_path: Path) -> None:
    assert schemas.write(tmp_path) == []
    path = tmp_path / f"{ORDER_PLACED}.json"
    older = json.dumps(placed(lambda s: s["properties"].update(gone={"type": "string"})))
    path.write_text(older, "utf-8")
    assert schemas.write(tmp_path) == [f"{ORDER_PLACED}: breaks: event.gone: the field is gone"]
    assert path.read_text("utf-8") == older

    path.write_text(json.dumps(placed(lambda s: s["properties"].pop("causationid"))), "utf-8")
    assert schemas.differences(tmp_path) == [f"{ORDER_PLACED}: grew compatibly; write it again"]
    assert schemas.write(tmp_path) == []
    assert schemas.differences(tmp_path) == []


def test_missing_and_left_over_schemas_are_seen(tmp_path: Path) -> None:
    schemas.write(tmp_path)
    (tmp_path / f"{ORDER_PLACED}.json").rename(tmp_path / "channel.order.forgotten.v1.json")
    assert schemas.differences(tmp_path) == [
        "channel.order.forgotten.v1: committed, but not in the catalogue",
        f"{ORDER_PLACED}: not committed yet",
    ]


def test_folders_are_compared_type_by_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    schemas.write(old)
    shutil.copytree(old, new)
    (new / "channel.order.later.v1.json").write_text("{}", "utf-8")
    assert compatibility.main([str(old), str(new)]) == 0
    (new / f"{ORDER_PLACED}.json").unlink()
    assert compatibility.main([str(old), str(new)]) == 1
    assert capsys.readouterr().out == f"compatible\n{ORDER_PLACED}: the type is gone\n"
