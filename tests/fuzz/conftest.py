"""The house that the fuzz tests of this folder share, and what a run says at its end."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from channel_kit.testing.plugin import ServiceDatabase

from .budget import FACTOR, SEED
from .furniture import furnish
from .house import House, opened

HERE = Path(__file__).parent
SECONDS_MAX = 300
TOLD = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
async def house(
    service_database: ServiceDatabase, postgres: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    """Five services that run, with two partners in them."""
    async with opened(service_database, postgres, tmp_path_factory.mktemp("house")) as made:
        await furnish(made)
        yield made


@pytest.fixture(scope="session")
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Adds a sentence to the test run's output."""
    return request.config.stash.setdefault(TOLD, []).append


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What tries more may take longer."""
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.timeout(SECONDS_MAX * FACTOR))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if told := config.stash.get(TOLD, []):
        terminalreporter.write_line(f"fuzz: QUDAO_FUZZ={FACTOR} QUDAO_FUZZ_SEED={SEED}")
    for sentence in told:
        terminalreporter.write_line(sentence)
