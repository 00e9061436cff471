"""Statements that stores word and actions run: several of them in one round trip.

A batch writes five tables or more, and for a lone request the way to the server and back costs more than the rows do.
Stores return what they would write as a `Statement`; `together` makes one statement of all of a batch.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from channel_kit.database import Write


class Statement(NamedTuple):
    """One INSERT, UPDATE or DELETE without WITH and RETURNING, and its arguments. The text is a constant of its store."""

    sql: str
    args: Sequence[Any]


async def together(tx: Write, statements: Sequence[Statement]) -> int:
    """Runs all of them as one statement; returns how many rows the last one touched.

    None sees what another writes, so they must not build on each other. Foreign keys are checked at the end.
    """
    if not statements:
        return 0
    sql = _joined(tuple([each.sql for each in statements]), tuple([len(each.args) for each in statements]))
    (row,) = await tx.rows(sql, *[arg for each in statements for arg in each.args])
    touched: int = row[0]
    return touched


# Texts are constants, so there are as many joined ones as ways to combine them.
@lru_cache(maxsize=256)
def _joined(texts: tuple[str, ...], counts: tuple[int, ...]) -> str:
    parts = [_renumbered(text, sum(counts[:n])) for n, text in enumerate(texts)]
    parts[-1] += " returning 1"
    named = ", ".join(f"part_{n} as ({text})" for n, text in enumerate(parts))
    return f"with {named} select (select count(*) from part_{len(parts) - 1}), {_KEYS_CHECKED_BY_ONE_PLAN}"  # noqa: S608


# A foreign key is checked by a query of its own for each row. The session's `force_custom_plan` would have each of
# them planned anew, which takes longer than all else that is done for the row; and a plan that is kept must not have
# been made for a table so small that reading all of it looked cheap. Both settings end with the transaction, which has
# little to read once it has written.
_KEYS_CHECKED_BY_ONE_PLAN = (
    "set_config('plan_cache_mode', 'auto', true), set_config('enable_seqscan', 'off', true)"
)


def _renumbered(text: str, by: int) -> str:
    return re.sub(r"\$(\d+)", lambda found: f"${int(found[1]) + by}", text)
