"""The classes of bad inputs, and what every answer to one must be like.

Each test of bad inputs is a table of cases of one class. The fixture `tally` counts by class what the cases ended
as, and the run prints one line for each class; nothing may end as a 5xx.
"""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

import httpx

Make = Callable[..., Awaitable[Any]]
Tally = Callable[[str, str], None]


class Bad(StrEnum):
    """What is wrong with an input."""

    JSON = "JSON"
    NUMBERS = "Numbers"
    TEXT = "Text"
    IDENTITY = "Identity"
    TIME = "Order/time"
    SIGNATURE = "Signature"
    AUTH = "Auth/API"
    EVENTS = "Events"
    URLS = "URLs"
    OPERATIONS = "Operations"


def judge(tally: Tally, kind: Bad, name: str, answer: httpx.Response, expected: int) -> None:
    """The status is the expected one; a refusal is a problem with a code and a way out."""
    tally(kind, str(answer.status_code))
    assert answer.status_code == expected, f"{kind}, {name}: {answer.status_code} {answer.text[:500]}"
    if expected >= 400:
        assert answer.headers["content-type"] == "application/problem+json", name
        problem = answer.json()
        assert problem["status"] == expected, name
        assert problem["code"], name
        assert problem["title"], name
        assert "Traceback" not in answer.text, name
