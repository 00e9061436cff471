"""What a batch is written as is what the database reads: every type, every awkward text, null apart from "null"."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channel_kit import arrays
from channel_kit.database import WORKER, Database

TYPES = ("uuid", "uuid", "text", "numeric", "bigint", "boolean", "timestamptz", "date", "bytea")
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
AWKWARD = st.sampled_from(
    ["null", "NULL", "", " ", "{}", "{a,b}", '"', "\\", '\\"', "a,b", "\n\r\t", "渠道", "'; --"]
)


def or_null(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


ROWS = st.lists(
    st.tuples(
        or_null(st.uuids()),
        or_null(st.uuids()),
        or_null(TEXTS | AWKWARD),
        or_null(st.decimals(-(10**13), 10**13, places=6)),
        or_null(st.integers(-(2**63), 2**63 - 1)),
        or_null(st.booleans()),
        or_null(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))),  # noqa: DTZ001  the strategy adds the zone
        or_null(st.dates()),
        or_null(st.binary(max_size=40)),
    ),
    max_size=30,
)  # fmt: skip


async def there_and_back(database: Database, rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    async with database.read(WORKER) as tx:
        sql = f"select * from {arrays.unnest(TYPES)}"  # noqa: S608  our own types
        return [tuple(row) for row in await tx.rows(sql, *arrays.columns(rows, TYPES))]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
async def test_rows_come_back_as_they_were(kit_database: Database, rows: list[tuple[Any, ...]]) -> None:
    assert await there_and_back(kit_database, rows) == rows


@pytest.mark.parametrize("size", [0, 1, 1_000])
async def test_any_number_of_rows(kit_database: Database, size: int) -> None:
    moment = datetime(2026, 5, 1, tzinfo=UTC)
    rows = [
        (
            UUID(int=n),
            None,
            f"S{n % 7}",
            Decimal(n),
            n,
            n % 2 == 0,
            moment + timedelta(n),
            date(2026, 5, 1),
            b"\x00\\",
        )
        for n in range(size)
    ]
    assert await there_and_back(kit_database, rows) == rows
