"""The only door to PostgreSQL, and the only place that commits or rolls back.

`read` and `write` open one transaction each and yield different types, so a function's signature says whether
it may change anything. Role and partner context are set before the first statement of the caller; row level
security does the rest. Statements go through `exec_driver_sql` on the AsyncConnection: batches as arrays,
`$1` style. The driver's own connection is never touched (SQLAlchemy sends BEGIN lazily; a statement issued
there first would autocommit).
"""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar
from uuid import UUID

import asyncpg
import structlog
from sqlalchemy import Connection, Row
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from channel_kit.settings import ServiceSettings

T = TypeVar("T")
log = structlog.get_logger(__name__)

RETRIES_MAX = 5
CONNECTIONS_TRIED = 3
# A plan made on an empty table turns linear later; every statement is planned with its values instead.
SESSION = {
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "30s",
}


@dataclass(frozen=True, slots=True)
class Actor:
    """On whose behalf a transaction runs. `partner` sees its own rows only; `worker` is a process of ours."""

    kind: Literal["worker", "staff", "partner", "owner"]
    partner_id: UUID | None = None

    @classmethod
    def partner(cls, partner_id: UUID) -> Self:
        return cls("partner", partner_id)


WORKER = Actor("worker")
STAFF = Actor("staff")
OWNER = Actor("owner")


class StaleWrite(Exception):
    """A rival changed what this transaction had decided on; `transact` runs it again."""


class Read:
    """One open transaction that reads. Arguments are positional; a Python list is an SQL array."""

    def __init__(self, connection: AsyncConnection, service: str) -> None:
        self.connection = connection
        self.service = service

    async def rows(self, sql: str, *args: Any) -> list[Row[Any]]:
        return list((await self.connection.exec_driver_sql(sql, args)).all())

    async def row(self, sql: str, *args: Any) -> Row[Any] | None:
        return (await self.connection.exec_driver_sql(sql, args)).first()

    async def value(self, sql: str, *args: Any) -> Any:
        row = (await self.connection.exec_driver_sql(sql, args)).first()
        return None if row is None else row[0]


class Write(Read):
    """One open transaction that changes things; committed by the context manager that made it."""

    def __init__(self, connection: AsyncConnection, service: str) -> None:
        super().__init__(connection, service)
        self._after: list[Callable[[], None]] = []

    async def execute(self, sql: str, *args: Any) -> int:
        """Runs a statement without a result set; returns the number of rows it touched."""
        return (await self.connection.exec_driver_sql(sql, args)).rowcount

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        async with self.connection.begin_nested():
            yield

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Runs `callback` once after COMMIT, in this process only; for wake-ups, never for effects."""
        if callback not in self._after:
            self._after.append(callback)

    def committed(self) -> None:
        for callback in self._after:
            callback()


class Database:
    """The pools of one process. `service` is the prefix of the database roles (`order` → `order_staff` …)."""

    def __init__(self, service: str, settings: ServiceSettings) -> None:
        self.service = service
        self.settings = settings
        self._urls = {
            "api": settings.api_database_url,
            "worker": settings.worker_database_url,
            "owner": settings.owner_database_url,
        }
        self._engines: dict[str, AsyncEngine] = {}

    def _engine(self, role: str) -> AsyncEngine:
        if role not in self._engines:
            url = self._urls[role]
            if url is None:
                raise RuntimeError(f"QUDAO_{role.upper()}_DATABASE_URL is not set and this process needs it")
            self._engines[role] = create_async_engine(
                url.get_secret_value(),
                pool_size=self.settings.pool_size,
                max_overflow=0,
                hide_parameters=True,  # what people send stays out of logs
                pool_timeout=10,
                pool_pre_ping=False,  # a dead connection is found by its first statement and retried there
                connect_args={
                    "server_settings": {**SESSION, "application_name": f"{self.service}-{role}"},
                    "timeout": 5,
                    "command_timeout": 35,
                    "prepared_statement_cache_size": 500,
                },
            )
        return self._engines[role]

    @staticmethod
    def _login(actor: Actor) -> str:
        return actor.kind if actor.kind in ("worker", "owner") else "api"

    @asynccontextmanager
    async def _begin(self, actor: Actor) -> AsyncIterator[AsyncConnection]:
        """An open transaction in the actor's role; the settings end with it.

        Taking the role is also what shows that a pooled connection has died with its server. Nothing of the
        caller's has run by then, so another connection is tried: the pool drops all that are as old.
        """
        for attempt in range(1, CONNECTIONS_TRIED + 1):
            connection = await self._engine(self._login(actor)).connect()
            try:
                transaction = await connection.begin()
                if actor.kind in ("staff", "partner"):
                    await connection.exec_driver_sql(
                        "select set_config('role', $1, true), set_config('app.partner', $2, true)",
                        (f"{self.service}_{actor.kind}", str(actor.partner_id or "")),
                    )
                break
            except BaseException as error:
                await _close(connection)
                dead = isinstance(error, DBAPIError) and error.connection_invalidated
                if not dead or attempt == CONNECTIONS_TRIED:
                    raise
        try:
            yield connection
            await transaction.commit()
        finally:
            await _close(connection)  # rolls back what was not committed

    @asynccontextmanager
    async def read(self, actor: Actor) -> AsyncIterator[Read]:
        async with self._begin(actor) as connection:
            yield Read(connection, self.service)

    @asynccontextmanager
    async def write(self, actor: Actor) -> AsyncIterator[Write]:
        """Commits when the block ends, rolls back when it raises; wake-ups run after the commit."""
        async with self._begin(actor) as connection:
            tx = Write(connection, self.service)
            yield tx
        tx.committed()

    async def transact(self, actor: Actor, run: Callable[[Write], Awaitable[T]]) -> T:
        """Runs `run` in a transaction and again (≤ 5 times) after a deadlock, a serialisation failure or a
        lost race; anything else is raised."""
        for attempt in range(RETRIES_MAX + 1):
            try:
                async with self.write(actor) as tx:
                    return await run(tx)
            except (DBAPIError, StaleWrite) as error:
                if attempt == RETRIES_MAX or not (isinstance(error, StaleWrite) or is_rivalry(error)):
                    raise
                await asyncio.sleep(random.uniform(0.002, 0.02) * 2**attempt)  # noqa: S311  jitter, not a secret
        raise AssertionError("unreachable")

    async def close(self) -> None:
        for engine in self._engines.values():
            await engine.dispose()


async def migrate(owner_url: str, run: Callable[[Connection], None]) -> None:
    """Runs `run`, which is not async, in one transaction of the owner, without the limits of a service's session."""
    engine = create_async_engine(owner_url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(run)
    finally:
        await engine.dispose()


async def _close(connection: AsyncConnection) -> None:
    """Gives the connection back even to a caller that is being cancelled."""
    await asyncio.shield(asyncio.create_task(connection.close()))


def sqlstate(error: BaseException) -> str | None:
    """The five-character SQLSTATE behind a driver error, None where there is none."""
    code = getattr(_driver_error(error), "sqlstate", None)
    return code if isinstance(code, str) else None


def is_rivalry(error: BaseException) -> bool:
    """Deadlock, serialisation failure or a plan that a migration made stale: the same work may simply be
    tried again."""
    return sqlstate(error) in ("40001", "40P01") or isinstance(
        _driver_error(error), asyncpg.InvalidCachedStatementError
    )


def is_timeout(error: BaseException) -> bool:
    """A statement took too long. Waiting may help, and so may doing less at once."""
    return sqlstate(error) == "57014"


_AWAY = ("08", "53", "57", "58")  # connection, resources, operator intervention, system error
# asyncpg's own words for a connection that is gone; its other interface errors are faults of the caller.
_GONE = ("connection is closed", "connection was closed", "connection has been released", "not connected")


def is_away(error: BaseException) -> bool:
    """The database cannot be worked with now, whatever the statement: retry in place, never park.

    A statement's own fault (a bad value, a broken constraint, a missing right) is never this.
    """
    if isinstance(error, StaleWrite) or is_rivalry(error):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    state = sqlstate(error)
    if state is not None:
        # 55P03: a lock was not to be had in time; 25006: read-only while a standby is promoted.
        return state[:2] in _AWAY or state in ("55P03", "25006")
    if isinstance(error, PoolTimeout | TimeoutError):
        return True
    driver = _driver_error(error)
    if isinstance(driver, OSError):
        # Names that do not resolve, refused and broken connections; files are somebody else's affair.
        return type(driver) is OSError or isinstance(driver, ConnectionError | socket.gaierror | TimeoutError)
    if isinstance(driver, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return any(word in str(driver) for word in _GONE)
    return False


def _driver_error(error: BaseException) -> BaseException:
    """asyncpg's own error behind SQLAlchemy's two wrappings of it; the error itself where there is none."""
    if not isinstance(error, DBAPIError):
        return error
    return getattr(error.orig, "__cause__", None) or error.orig or error
