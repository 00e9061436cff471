"""Bulk files: rows read, judged one by one, and taken in by portions.

Each portion is one transaction, so what was taken in before a fault stays; every import compares with what is
there, so sending the same file again is unchanged. Called by the routes of each noun that can be imported.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from fastapi import Request

from channel_kit.auth import Caller
from channel_kit.database import Write
from channel_kit.files import ImportReport, Outcome, RowVerdict, read_table
from channel_kit.http import database
from inventory_svc.rows import BadRow

PORTION = 500

T = TypeVar("T")


class Verdict(NamedTuple):
    """What became of one thing."""

    outcome: Outcome
    reason: str | None = None


async def take_in(
    request: Request,
    caller: Caller,
    raw: bytes,
    *,
    required: Sequence[str],
    optional: Sequence[str] = (),
    read: Callable[[Mapping[str, str]], T],
    key: Callable[[T], Hashable],
    save: Callable[[Write, Sequence[T]], Awaitable[Sequence[Verdict]]],
) -> ImportReport:
    """Reads a CSV file and saves its rows. A row that `read` refuses, or whose key came before, is refused alone."""
    table = await asyncio.to_thread(read_table, raw, required=required, optional=optional)
    verdicts: list[RowVerdict] = []
    first: dict[Hashable, int] = {}
    things: list[tuple[int, T]] = []
    for line, row in table.numbered():
        try:
            thing = read(row)
            if first.setdefault(key(thing), line) != line:
                raise BadRow(f"line {first[key(thing)]} says it already")
            things.append((line, thing))
        except BadRow as error:
            verdicts.append(RowVerdict(line=line, outcome="refused", reason=str(error)))
    for at in range(0, len(things), PORTION):
        portion = things[at : at + PORTION]

        async def save_portion(tx: Write, portion: list[tuple[int, T]] = portion) -> Sequence[Verdict]:
            return await save(tx, [thing for _, thing in portion])

        outcomes = await database(request).transact(caller.actor, save_portion)
        verdicts += [
            RowVerdict(line=line, outcome=verdict.outcome, reason=verdict.reason)
            for (line, _), verdict in zip(portion, outcomes, strict=True)
        ]
    return ImportReport.of(verdicts)
