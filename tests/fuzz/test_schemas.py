"""Every operation of every service under schemathesis: nothing is answered with a fault, or other than documented.

Examples, every boundary of the document, random data sound and unsound, and chains; as staff, as two partners, and
without or with a false token. What a run covered is told at its end.
"""

from collections.abc import Callable

import pytest

from .budget import FACTOR
from .engine import Budget, Report, fuzz
from .house import SERVICES, House
from .survey import survey

OVERLAP = (
    "another documented path fits the same address too, and Allow names its methods, which are answered there"
)
TOLERATED = {
    ("allow_header_conformance", operation): OVERLAP
    for operation in (
        "POST /v1/plans/preview",
        "POST /v1/deliveries/reprocess",
        "POST /v1/items/import",
        "POST /v1/stock/import",
        "PATCH /v1/stock/levels/{stock_id}",
        "POST /v1/partners/import",
        "POST /v1/shops/{platform}/{shop_id}/bindings",
        "POST /v1/shops/{platform}/{shop_id}/bindings/close",
    )
}
"""Findings of schemathesis that are none, by check and operation."""

WITHOUT_SUCCESS = {
    "POST /v1/admin/feeds/{consumer}/replay": "a feed that does not run has no position to go back from"
}


@pytest.mark.parametrize("service", SERVICES)
async def test_no_operation_answers_other_than_documented(
    house: House, service: str, tell: Callable[[str], None]
) -> None:
    found = await survey(house, service)
    report = fuzz(house, found, Budget(examples=6 * FACTOR, chains=16 * FACTOR, steps=6))
    for failure in list(report.failures):
        if failure[:2] in TOLERATED:
            report.tolerated[failure] = report.failures.pop(failure)
    tell(report.line())
    assert report.failures == {}, _told(report, house)
    assert max(report.statuses) < 500, report.statuses
    assert report.reached == set(found.operations)
    assert set(found.operations) - report.succeeded <= set(WITHOUT_SUCCESS)
    assert all(report.callers[who] for who in ("staff", "alpha", "bravo", "nobody"))


def _told(report: Report, house: House) -> str:
    told = [f"{check}, {where}: {what}\n{how}" for (check, where, what), how in report.failures.items()]
    return "\n\n".join([*told, house.members[report.service].said()])
