"""The only door to PostgreSQL, and the only place that commits or rolls back.

`read` and `write` open one transaction each and yield different types, so a function's signature says whether
it may change anything. Role and partner context are set before the first statement of the caller; row level
security does the rest. SQLAlchemy keeps the pools; every statement of a transaction, BEGIN and COMMIT too, goes
straight to the driver in `$1` style, batches as arrays. Nothing is ever executed through SQLAlchemy's own
connection: it would begin a transaction of its own, lazily, and it doubles what a small statement costs.
"""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias, TypeVar, cast
from uuid import UUID

import asyncpg
import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from channel_kit.settings import ServiceSettings

T = TypeVar("T")
log = structlog.get_logger(__name__)

RETRIES_MAX = 5
# A plan made on an empty table turns linear later; every statement is planned with its values instead.
SESSION = {
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "30s",
}
# A worker's statements are few and always the same, a batch by ids: one plan each will do, as long as a table that was
# small when it was made cannot make reading all of it look cheap. It also spares the check of a foreign key from being
# planned for every row.
ONE_PLAN = {"plan_cache_mode": "auto", "enable_seqscan": "off"}


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


class Row(asyncpg.Record):
    """One row: columns by name as attributes, by position, and as the mapping that `**row` wants."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


Driver: TypeAlias = "asyncpg.Connection[Row]"


class Read:
    """One open transaction that reads. Arguments are positional; a Python list is an SQL array."""

    def __init__(self, driver: Driver, service: str) -> None:
        self.driver = driver
        self.service = service

    async def rows(self, sql: str, *args: Any) -> list[Row]:
        return await self.driver.fetch(sql, *args)

    async def row(self, sql: str, *args: Any) -> Row | None:
        return await self.driver.fetchrow(sql, *args)

    async def value(self, sql: str, *args: Any) -> Any:
        return await self.driver.fetchval(sql, *args)


class Write(Read):
    """One open transaction that changes things; committed by the context manager that made it."""

    def __init__(self, driver: Driver, service: str) -> None:
        super().__init__(driver, service)
        self._after: list[Callable[[], None]] = []

    async def execute(self, sql: str, *args: Any) -> int:
        """Runs a statement without a result set; returns the number of rows it touched."""
        verdict = await self.driver.execute(sql, *args)
        count = verdict.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A part that can fail alone: an exception undoes it and goes on to the caller."""
        await self.driver.execute("savepoint part")  # an inner one hides an outer one of the same name
        try:
            yield
        except BaseException:
            if not self.driver.is_closed():
                await asyncio.shield(
                    self.driver.execute("rollback to savepoint part; release savepoint part")
                )
            raise
        await self.driver.execute("release savepoint part")

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
            "staff": settings.api_database_url,
            "worker": settings.worker_database_url,
            "owner": settings.owner_database_url,
        }
        self._engines: dict[str, AsyncEngine] = {}
        self._alone: tuple[AsyncConnection, Driver] | None = None
        self._alone_turn = asyncio.Lock()

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
                    "server_settings": self._session(role),
                    "timeout": 5,
                    "command_timeout": 35,
                    "statement_cache_size": 500,
                    "record_class": Row,
                },
            )
        return self._engines[role]

    def _session(self, role: str) -> dict[str, str]:
        named = {**SESSION, "application_name": f"{self.service}-{role}"}
        if role == "staff":
            return {**named, **ONE_PLAN, "role": f"{self.service}_staff"}
        return {**named, **ONE_PLAN} if role == "worker" else named

    @staticmethod
    def _login(actor: Actor) -> str:
        return actor.kind if actor.kind in ("worker", "owner") else "api"

    def _opening(self, actor: Actor) -> str:
        """BEGIN and the actor's role in one round trip; the settings end with the transaction."""
        if actor.kind not in ("staff", "partner"):
            return "BEGIN"
        return (
            f"BEGIN; select set_config('role', '{self.service}_{actor.kind}', true), "
            f"set_config('app.partner', '{actor.partner_id or ''}', true)"
        )

    async def _open(self, actor: Actor) -> tuple[AsyncConnection, Driver]:
        """A pooled connection on which the actor's transaction has begun.

        Opening it is also what shows that a pooled connection has died with its server. Nothing of the caller's
        has run by then, so the next one is tried; each that is dead leaves the pool, and at last the server
        itself says whether it is there.
        """
        engine, left = self._engine(self._login(actor)), self.settings.pool_size
        while True:
            connection = await engine.connect()
            driver = cast("Driver", (await connection.get_raw_connection()).driver_connection)
            try:
                await driver.execute(self._opening(actor))
                return connection, driver
            except BaseException:
                await _give_back(connection, driver)
                if not driver.is_closed() or not left:
                    raise
                left -= 1

    @asynccontextmanager
    async def _begin(self, actor: Actor) -> AsyncIterator[Driver]:
        connection, driver = await self._open(actor)
        try:
            yield driver
            if await driver.execute("COMMIT") != "COMMIT":
                # A statement had failed and its error was not passed on: PostgreSQL rolled back instead.
                raise RuntimeError("the transaction was aborted by an error that its owner kept to itself")
        finally:
            await _give_back(connection, driver)

    @asynccontextmanager
    async def staff_alone(self) -> AsyncIterator[Write]:
        """For one statement of the staff's that is a transaction by itself: committed when it returns.

        Beginning, taking the role, committing and the way through the pool cost more than a small batch's own
        statement. So one connection is kept that has the role from its start; its users take turns. After any
        error it is given up: nobody should have to know what state it is in.
        """
        async with self._alone_turn:
            if self._alone is None or self._alone[1].is_closed():
                await self._part()
                connection = await self._engine("staff").connect()
                driver = cast("Driver", (await connection.get_raw_connection()).driver_connection)
                self._alone = (connection, driver)
            driver = self._alone[1]
            tx = Write(driver, self.service)
            try:
                yield tx
            except BaseException:
                driver.terminate()
                raise
            tx.committed()

    async def _part(self) -> None:
        kept, self._alone = self._alone, None
        if kept is not None:
            await _give_back(*kept)

    @asynccontextmanager
    async def read(self, actor: Actor) -> AsyncIterator[Read]:
        async with self._begin(actor) as driver:
            yield Read(driver, self.service)

    @asynccontextmanager
    async def write(self, actor: Actor) -> AsyncIterator[Write]:
        """Commits when the block ends, rolls back when it raises; wake-ups run after the commit."""
        async with self._begin(actor) as driver:
            tx = Write(driver, self.service)
            yield tx
        tx.committed()

    async def transact(self, actor: Actor, run: Callable[[Write], Awaitable[T]]) -> T:
        """Runs `run` in a transaction and again (≤ 5 times) after a deadlock, a serialisation failure or a
        lost race; anything else is raised."""
        for attempt in range(RETRIES_MAX + 1):
            try:
                async with self.write(actor) as tx:
                    return await run(tx)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, StaleWrite) as error:
                if attempt == RETRIES_MAX or not (isinstance(error, StaleWrite) or is_rivalry(error)):
                    raise
                await asyncio.sleep(random.uniform(0.002, 0.02) * 2**attempt)  # noqa: S311  jitter, not a secret
        raise AssertionError("unreachable")

    async def close(self) -> None:
        await self._part()
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


async def _give_back(connection: AsyncConnection, driver: Driver) -> None:
    """Ends what was not committed and gives the connection back, even while the caller is being cancelled."""

    async def give_back() -> None:
        try:
            if not driver.is_closed() and driver.is_in_transaction():
                await driver.execute("ROLLBACK")
        except Exception:
            driver.terminate()  # whatever state it is in, nobody else gets it
        if driver.is_closed():
            await connection.invalidate()
        await connection.close()

    await asyncio.shield(asyncio.create_task(give_back()))


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
_GONE = (
    "connection is closed",
    "connection was closed",
    "connection has been released",
    "not connected",
    "another operation (2) is in progress",  # the server said goodbye between two statements
)


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
