"""Cursors, taken from one list or caller to another, changed, or made up: a refusal, or a page of one's own things.

Anybody can make a cursor that is sound in form, since its check only finds damage; what a page holds must therefore
never depend on whose cursor it was. Asked of every list of every running service.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from channel_kit.pagination import encode_cursor
from channel_kit.problems import MEDIA_TYPE

from . import survey as surveys
from .budget import tries
from .house import PARTNERS, SERVICES, STAFF, House
from .survey import Survey, survey

moments = st.datetimes(timezones=st.just(UTC))
parts = st.text(max_size=20) | st.integers(-(2**63) + 1, 2**63 - 1) | st.uuids() | st.dates() | moments
statuses: Counter[int] = Counter()
Lists = list[tuple[Survey, str, dict[str, Any]]]


@pytest.fixture(scope="module")
async def lists(house: House) -> Lists:
    """Every operation that takes a cursor: its service, address, and the other parameters that it needs."""
    found: Lists = []
    for service in SERVICES:
        said = await survey(house, service)
        for path, methods in said.document["paths"].items():
            parameters = methods.get("get", {}).get("parameters", ())
            if not any(each["name"] == "cursor" for each in parameters):
                continue
            values = {each["name"]: surveys.example(said, f"GET {path}", each["name"]) for each in parameters}
            needed = {
                each["name"]: values[each["name"]]
                for each in parameters
                if each["in"] == "query" and each["required"]
            }
            found.append((said, path.format(**values), needed))
    assert len(found) > 20
    return found


@tries(200)
@given(
    chance=st.randoms(use_true_random=False),
    who=st.sampled_from((*PARTNERS, STAFF)),
    made=st.none() | st.none() | st.lists(parts, min_size=1, max_size=5) | st.text(max_size=60),
)
@example(chance=random.Random(1), who="alpha", made=[UUID(int=2**128 - 1)])
@example(chance=random.Random(2), who="alpha", made=["9999-12-31"] * 4)
@example(chance=random.Random(3), who="bravo", made=[datetime(1, 1, 1, tzinfo=UTC), UUID(int=0)])
async def test_no_cursor_opens_what_is_not_the_callers(
    house: House, lists: Lists, chance: random.Random, who: str, made: list[Any] | str | None
) -> None:
    said, path, query = chance.choice(lists)
    cursor = (
        made
        if isinstance(made, str)
        else encode_cursor(made)
        if made
        else await given_to(house, lists, chance, path)
    )
    answer = await house.ask(said.service, "GET", path, who=who, params=query | {"cursor": cursor})
    statuses[answer.status_code] += 1
    assert answer.status_code in (200, 400, 403, 404, 422), answer.text
    assert answer.is_success or answer.headers["content-type"] == MEDIA_TYPE
    for other in PARTNERS:
        if who not in (other, STAFF):
            assert not [each for each in house.owned[other] if each in answer.text and each not in path]


async def given_to(house: House, lists: Lists, chance: random.Random, path: str) -> str:
    """A cursor that somebody was given, mostly for this list, sometimes with one letter changed."""
    if chance.random() < 0.3:
        path = chance.choice(lists)[1]
    said, _, query = next(each for each in lists if each[1] == path)
    page = await house.ask(
        said.service, "GET", path, who=chance.choice((*PARTNERS, STAFF)), params=query | {"limit": 1}
    )
    cursor = str(page.json().get("next_cursor") or encode_cursor([UUID(int=0)]))
    if chance.random() < 0.5:
        return cursor
    at = chance.randrange(len(cursor))
    return cursor[:at] + chance.choice("Aa0_-") + cursor[at + 1 :]


@pytest.fixture(scope="module", autouse=True)
def _told(tell: Callable[[str], None], lists: Lists) -> Iterator[None]:
    yield
    told = ", ".join(f"{n} × {status}" for status, n in sorted(statuses.items()))
    tell(f"fuzz, cursors of others: {told} from {len(lists)} lists, nothing of the other partner's")
