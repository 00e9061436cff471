"""Documents of our own making, and a moment for `received_at`."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture
def now() -> datetime:
    """When the deliveries of these tests arrived."""
    return datetime(2026, 3, 1, 2, 0, 10, tzinfo=UTC)


@pytest.fixture
def load() -> Callable[[str], Any]:
    """Reads a fixture by name as plain JSON, to be changed by the test."""

    def read(name: str) -> Any:
        return json.loads((FIXTURES / f"{name}.json").read_text("utf-8"))

    return read
