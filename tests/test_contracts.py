"""Every import contract of the workspace is seen to fail on an import that breaks it.

All sources are copied, one bad import is planted per contract, and `lint-imports` must name each of them under its
own contract. A contract without a plant here fails too, so that none is added without having been seen to bite.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("shared/*/src/*", "services/*/src/*", "cli/src/*")

# Contract → (the module that the import is written into, what it imports).
PLANTS = {
    "Services never import each other": ("order_svc.app", "inventory_svc.app"),
    "Dependencies point one way: command line, services, kit, events": (
        "channel_kit.clock",
        "partner_svc.service",
    ),
    "The wire contract knows pydantic and the standard library only": ("channel_events.topics", "structlog"),
    "Rules and values are pure": ("order_svc.order.rules", "httpx"),
    "Kafka is spoken in feed, relay and topics only": ("channel_kit.jobs", "aiokafka"),
    "HTTP stays at the edge of a service": ("inventory_svc.stock.actions", "fastapi"),
    "SQL is written in stores": ("partner_svc.partner.actions", "sqlalchemy"),
    "The nouns of order-svc": ("order_svc.reference.store", "order_svc.intake.store"),
    "The nouns of inventory-svc": ("inventory_svc.location.store", "inventory_svc.hold.store"),
    "The nouns of incentive-svc": ("incentive_svc.reference.store", "incentive_svc.statement.rules"),
    "The nouns of partner-svc": ("partner_svc.partner.store", "partner_svc.client.store"),
    "The nouns of insight-svc": ("insight_svc.reference.store", "insight_svc.kpi.store"),
}
CONTRACTS = [
    contract["name"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace's packages side by side, with its contracts."""
    folder = tmp_path_factory.mktemp("workspace")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for pattern in SOURCES:
        for package in filter(Path.is_dir, ROOT.glob(pattern)):
            if not package.name.endswith(".egg-info"):
                shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def _lint(folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "300", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def _details(said: str) -> dict[str, str]:
    """What is told of each broken contract, by name."""
    parts = re.split(r"\n(.+)\n-{3,}\n", said[said.index("Broken contracts") :])
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_contract_has_a_plant() -> None:
    assert sorted(PLANTS) == sorted(CONTRACTS)
    assert len(set(CONTRACTS)) == len(CONTRACTS)


def test_every_contract_breaks_on_its_planted_import(copy: Path) -> None:
    for module, imported in PLANTS.values():
        file = copy / (module.replace(".", "/") + ".py")
        file.write_text(f"{file.read_text()}\nimport {imported}\n")
    broken = _lint(copy)
    assert broken.returncode == 1, broken.stdout + broken.stderr
    details = _details(broken.stdout)
    for name, (module, imported) in PLANTS.items():
        found = f"{module} -> {imported}"
        assert found in details.get(name, ""), f"{name} does not tell of {found}:\n{broken.stdout}"
