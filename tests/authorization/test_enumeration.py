"""Time tells nothing either: what is A's takes B as long to be refused as what does not exist.

Asked in turns, so that whatever else the machine does meets both alike. A difference that is real shows in every
round; one round without it is enough.
"""

import statistics
import time

import pytest

from .conftest import Judge
from .house import House
from .operations import OPEN_TO_PARTNERS, SERVICES, B, Operation
from .test_two_partners import absent, given_of

CALLS, ROUNDS = 500, 6
WITHIN = 0.10


async def apart(house: House, operation: Operation, name: str) -> float:
    """By how much the medians of both differ over `CALLS` calls of each, 1,000 in all, as a share of the smaller."""
    request = {"Authorization": f"Bearer {house.token(*operation.scopes, partner=B)}"}
    took: tuple[list[float], list[float]] = ([], [])
    for n in range(CALLS):
        for which in (n % 2, 1 - n % 2):
            given = absent(operation, name) if which else given_of(operation)
            started = time.perf_counter()
            answer = await house.send(operation, given, list(request.items()))
            took[which].append(time.perf_counter() - started)
            assert answer.status_code == 404
    foreign, nothing = map(statistics.median, took)
    return abs(foreign - nothing) / min(foreign, nothing)


@pytest.mark.parametrize(
    "house", [name for name in SERVICES if name != "insight"], indirect=True
)  # nothing by id
async def test_refusals_take_as_long_for_what_is_anothers(house: House, judged: Judge) -> None:
    asked = [
        each for each in house.operations if OPEN_TO_PARTNERS.get(each.name) is not None and each.in_path
    ]
    # One read of each thing; what changes it is refused by the same look.
    for operation in {each.in_path[-1]: each for each in reversed(asked) if not each.writes}.values():
        name = next(each for each in operation.in_path if each not in ("platform", "period_start"))
        shares: list[float] = []
        while len(shares) < ROUNDS and not (shares and shares[-1] <= WITHIN):
            shares.append(await apart(house, operation, name))
        judged(house.name, "partner B: how long it takes", shares[-1] <= WITHIN)
        assert shares[-1] <= WITHIN, (operation.name, shares)
