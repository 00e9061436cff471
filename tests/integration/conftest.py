"""One running stack for all tests of this folder, and the makers of everything that they sell on it.

`QUDAO_TEST_STACK` names the data folder of a stack that runs already (quicker while a test is being written);
otherwise a real `qudao up` is started once, on free ports. Nothing is skipped: what cannot be had fails.
"""

import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from qudao.stack import Stack

from . import shops
from .deployment import Deployment, deployed
from .lab import Lab, lab

HERE = Path(__file__).parent
ENDED = pytest.StashKey[dict[str, Counter[str]]]()
TOLD = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """A whole stack that is up, killed at the end."""
    if named := os.environ.get("QUDAO_TEST_STACK"):
        async with httpx.AsyncClient(timeout=30) as http:
            yield Deployment(Stack.open(Path(named)), http)
        return
    folder = tmp_path_factory.mktemp("stack")
    async with deployed(folder / "data", folder / "up.log") as deployment:
        yield deployment


@pytest.fixture(scope="session")
async def laboratory(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    """Servers and databases of a second stack, for what `up` would repair or what must not stay on the topics."""
    async with lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture
async def bench(laboratory: Lab) -> Lab:
    """The second stack with all its services."""
    away = [name for name, member in laboratory.members.items() if not member.runs()]
    await laboratory.start(*away)
    return laboratory


@pytest.fixture(scope="session")
def trade(stack: Deployment) -> Callable[..., Any]:
    """Call it for a fresh partner with plan, contract, bound shop and an item in stock."""
    return partial(shops.trade, stack)


@pytest.fixture(scope="session")
def connect(stack: Deployment) -> Callable[..., Any]:
    """Call it for a fresh shop that is connected and bound to nobody."""
    return partial(shops.connect, stack)


@pytest.fixture(scope="session")
def tally(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Counts what inputs ended as, by class; the counts are part of the test run's output."""
    seen = request.config.stash.setdefault(ENDED, {})

    def count(kind: str, ended: str) -> None:
        seen.setdefault(kind, Counter())[ended] += 1

    return count


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Adds a sentence to the test run's output: what was really used, how often something really happened."""
    return request.config.stash.setdefault(TOLD, []).append


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the second stack stand together at the end, so that it does not idle beside the others."""
    here = [n for n, item in enumerate(items) if item.path.parent == HERE]
    ours = sorted((items[n] for n in here), key=lambda item: "bench" in getattr(item, "fixturenames", ()))
    for n, item in zip(here, ours, strict=True):
        items[n] = item


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for sentence in config.stash.get(TOLD, []):
        terminalreporter.write_line(sentence)
    for kind, ends in sorted(config.stash.get(ENDED, {}).items()):
        told = ", ".join(f"{n} × {end}" for end, n in sorted(ends.items()))
        worst = sum(n for end, n in ends.items() if end.startswith("5"))
        terminalreporter.write_line(f"bad input, {kind}: {told}; {worst} × 5xx")
