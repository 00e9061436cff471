"""The drain without Python: the very statements and arguments that the product issues, taped once and played again.

`Tape` is a Database whose transactions are written down while they run. `play` sends them to another database that
was prepared with the same rows, through asyncpg directly, in the same transactions: what is left of the drain when
nothing is decided. Called by `bench.paths.drain` only.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

import asyncpg

from channel_kit.database import SESSION, Actor, Database, Driver, Write


class Call(NamedTuple):
    """One statement with its arguments; `reads` when rows were asked for."""

    sql: str
    args: tuple[Any, ...]
    reads: bool


class _Taped:
    """The driver's connection, with every statement written down."""

    def __init__(self, driver: Driver, calls: list[Call]) -> None:
        self._driver, self._calls = driver, calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    async def execute(self, sql: str, *args: Any) -> Any:
        self._calls.append(Call(sql, args, reads=False))
        return await self._driver.execute(sql, *args)

    async def fetch(self, sql: str, *args: Any) -> Any:
        self._calls.append(Call(sql, args, reads=True))
        return await self._driver.fetch(sql, *args)

    async def fetchrow(self, sql: str, *args: Any) -> Any:
        self._calls.append(Call(sql, args, reads=True))
        return await self._driver.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: Any) -> Any:
        self._calls.append(Call(sql, args, reads=True))
        return await self._driver.fetchval(sql, *args)


class Tape(Database):
    """A Database that keeps the statements of each committed write, transaction by transaction."""

    def __init__(self, database: Database) -> None:
        super().__init__(database.service, database.settings)
        self.transactions: list[list[Call]] = []

    @asynccontextmanager
    async def write(self, actor: Actor) -> AsyncIterator[Write]:
        """As the product's, with a driver that listens."""
        calls: list[Call] = []
        async with super().write(actor) as tx:
            tx.driver = cast("Driver", _Taped(tx.driver, calls))
            yield tx
        self.transactions.append(calls)


async def connect(database: Database) -> Any:
    """A connection of the service's worker with the settings that the product's own have."""
    url = database.settings.worker_database_url
    if url is None:
        raise ValueError("the database has no address for its worker")
    address = url.get_secret_value().replace("+asyncpg", "")
    return await asyncpg.connect(address, server_settings=SESSION, statement_cache_size=500)


async def play(connection: Any, transactions: list[list[Call]]) -> None:
    """Every transaction again, statement by statement."""
    for calls in transactions:
        async with connection.transaction():
            for sql, args, reads in calls:
                await (connection.fetch if reads else connection.execute)(sql, *args)
