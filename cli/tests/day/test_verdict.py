"""The judge on answers with planted faults: each is told, and a day that arrived as sold is not complained of."""

from datetime import UTC, datetime
from typing import Any

import pytest

from qudao.day.catalog import FLAGSHIP
from qudao.day.moments import Day, Expected
from qudao.day.sales import Run
from qudao.day.stage import Stage
from qudao.day.verdict import Found, compare

KEY = ("shopify", FLAGSHIP.shop_id, "1")
SOLD = Expected(FLAGSHIP, "1", "completed", 19_000, 19_000, 9_000)
STAGE = Stage({"MINGCHUAN": "partner-of-the-shop"}, {})
AT = datetime(2026, 3, 2, tzinfo=UTC)
DAY = Day(Run(1, 1, AT), AT, (), (), (SOLD,), 0)


def as_sold(**changes: Any) -> Found:
    order = {
        "lifecycle": "completed",
        "currency": "CNY",
        "partner_id": "partner-of-the-shop",
        "channel": "online",
        "ordered_net_minor": 19_000,
        "paid_minor": 19_000,
        "refunded_minor": -9_000,
        "flags": [],
    }
    return {KEY: order | changes}


def test_order_that_stands_as_it_was_sold_is_no_deviation() -> None:
    assert list(compare(DAY, STAGE, as_sold())) == []


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({}, "is not there"),
        (as_sold() | {("pos", "till", "2"): {}}, "nobody sold it"),
        (as_sold(paid_minor=18_999), "paid_minor must be 19000 and is 18999"),
        (as_sold(refunded_minor=-18_000), "refunded_minor must be -9000 and is -18000"),
        (as_sold(partner_id=None), "partner_id must be partner-of-the-shop and is None"),
        (as_sold(lifecycle="open"), "lifecycle must be completed and is open"),
        (as_sold(flags=["unbound-shop", "cod"]), "still waits: unbound-shop"),
    ],
)
def test_fault_is_told(found: Found, told: str) -> None:
    (deviation,) = compare(DAY, STAGE, found)
    assert told in deviation
