"""How the service is put together: its loops, its routes, its layers."""

import ast
from pathlib import Path
from typing import Any

import incentive_svc
from channel_kit.service import Runtime
from channel_kit.settings import ServiceSettings
from incentive_svc.__main__ import SERVICE

NOUNS = ["statement", "accrual", "plan", "basis", "reference"]
FILES = {"__init__", "values", "rules", "store", "actions", "routes"}
SOURCE = Path(incentive_svc.__file__).parent


async def test_the_worker_runs_relay_feeds_and_drain(desk: Any) -> None:
    loops = SERVICE.worker(Runtime(ServiceSettings(), desk.database))
    assert [loop.name for loop in loops][:4] == [
        "relay",
        "incentive.order",
        "incentive.partner",
        "incentive.restate",
    ]


async def test_the_routes(api: Any) -> None:
    document = (await api.bare("GET", "/openapi.json")).json()
    assert sorted(
        (path, verb) for path, verbs in document["paths"].items() for verb in verbs if "/admin/" not in path
    ) == [
        ("/v1/accruals", "get"),
        ("/v1/accruals/{cell_id}/steps", "get"),
        ("/v1/plans", "get"),
        ("/v1/plans", "post"),
        ("/v1/plans/preview", "post"),
        ("/v1/plans/{code}", "get"),
        ("/v1/plans/{code}/versions", "post"),
        ("/v1/plans/{code}/versions/{version}/activate", "post"),
        ("/v1/statements", "get"),
        ("/v1/statements/{partner_id}/{plan_code}/{period_start}", "get"),
        ("/v1/statements/{partner_id}/{plan_code}/{period_start}/left-out", "get"),
    ]


def imported(path: Path) -> set[str]:
    """The nouns a module imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("incentive_svc."):
            found.add(node.module.split(".")[1])
    return found & set(NOUNS)


def test_nouns_import_only_lower_ones_and_have_the_files_of_the_grammar() -> None:
    for height, noun in enumerate(NOUNS):
        for path in (SOURCE / noun).rglob("*.py"):
            assert imported(path) <= set(NOUNS[height:]), path
        assert {path.stem for path in (SOURCE / noun).glob("*.py")} <= FILES


def test_pure_files_touch_no_database_and_no_http() -> None:
    pure = [*SOURCE.glob("*/rules.py"), *SOURCE.glob("*/values.py"), *SOURCE.glob("plan/shapes/*.py")]
    assert len(pure) >= 12
    for path in pure:
        for node in ast.walk(ast.parse(path.read_text())):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            if module and module.startswith("channel_kit"):
                assert module == "channel_kit.money", path
            assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), path
            assert not (isinstance(node, ast.Name) and node.id == "float"), path
