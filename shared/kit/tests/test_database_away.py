"""Which faults mean "wait" and which mean "this is wrong", against a server that is really killed and restarted."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from channel_kit.database import OWNER, STAFF, WORKER, Database, StaleWrite, Write, is_away
from channel_kit.local.postgres import LocalPostgres
from channel_kit.local.server import spawn, stop, wait_ready
from channel_kit.poll import Poll
from channel_kit.service import Service
from channel_kit.settings import ServiceSettings
from channel_kit.testing.bench import insert_effects, nowhere
from channel_kit.testing.events import partner_event, records
from channel_kit.testing.plugin import make_database

pytestmark = pytest.mark.timeout(180)


class Server:
    """A PostgreSQL of this module's own, to kill."""

    def __init__(self, folder: Path) -> None:
        self._postgres = LocalPostgres(folder / "data")
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self._postgres.admin_url

    @property
    def port(self) -> int:
        return self._postgres.port

    def start(self) -> None:
        self._postgres.prepare()
        with self._log.open("ab") as output:
            self._process = spawn(self._postgres, output)
        wait_ready(self._postgres, self._process, self._log, 60)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)

    def stop(self) -> None:
        if self._process is not None:
            stop(self._postgres, self._process)


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    server = Server(tmp_path_factory.mktemp("away"))
    await asyncio.to_thread(server._postgres.prepare)
    server.start()  # from this thread: a child ends with the thread that made it
    yield server
    server.stop()


@pytest.fixture(scope="module")
async def settings(server: Server, kit_service: Service) -> ServiceSettings:
    return await make_database(server.url, kit_service, "qudao_kit")


@pytest.fixture
async def database(settings: ServiceSettings) -> AsyncIterator[Database]:
    database = Database("kit", settings)
    async with database.write(OWNER) as tx:
        await tx.execute("truncate effect")
    yield database
    await database.close()


async def failure(run: Callable[[], Awaitable[Any]]) -> Exception:
    """What `run` raises."""
    try:
        await run()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


async def one(database: Database) -> Any:
    async with database.read(WORKER) as tx:
        return await tx.value("select 1")


async def until_back(database: Database) -> int:
    """Tries until the database answers, as every loop does; returns how often it did not. Anything that does not
    look like absence is raised."""
    for failures in range(100):
        try:
            await one(database)
            return failures
        except Exception as error:
            if not is_away(error):
                raise
            await asyncio.sleep(0.05)
    raise AssertionError("it never came back")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
async def test_a_restart_is_absence_and_pooled_connections_recover(
    server: Server, database: Database, number: signal.Signals
) -> None:
    await asyncio.gather(*(one(database) for _ in range(5)))  # five pooled connections that will be dead
    sleeping = asyncio.create_task(failure(lambda: _sleep(database)))
    await asyncio.sleep(0.2)
    server.kill(number)
    assert is_away(await asyncio.wait_for(sleeping, 10)), "in the middle of a statement"
    refused = await failure(lambda: one(database))
    assert is_away(refused), repr(refused)
    server.start()
    assert await until_back(database) <= 5
    assert await asyncio.gather(*(one(database) for _ in range(5))) == [1] * 5


async def _sleep(database: Database) -> None:
    async with database.write(WORKER) as tx:
        await tx.execute("insert into effect values (1, gen_random_uuid(), null)")
        await tx.rows("select pg_sleep(30)")


async def test_the_first_request_after_a_restart_is_answered(database: Database, server: Server) -> None:
    async with database.read(STAFF) as tx, database.read(STAFF) as other:
        assert (await tx.value("select 1"), await other.value("select 2")) == (1, 2)
    server.kill()
    server.start()
    async with database.read(STAFF) as tx:
        assert await tx.value("select 1") == 1


async def test_a_terminated_backend_is_absence(database: Database) -> None:
    async def suicide() -> None:
        async with database.write(WORKER) as tx:
            await tx.rows("select pg_terminate_backend(pg_backend_pid())")

    assert is_away(await failure(suicide))
    assert await one(database) == 1


async def test_an_exhausted_pool_is_absence(settings: ServiceSettings) -> None:
    database = Database("kit", settings.model_copy(update={"pool_size": 1}))
    database._engine("worker").pool._timeout = 0.1  # type: ignore[attr-defined]
    async with database.read(WORKER) as tx:
        await tx.value("select 1")
        assert is_away(await failure(lambda: one(database)))
    await database.close()


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-host.invalid:5432"])
async def test_an_unreachable_server_is_absence(settings: ServiceSettings, host: str) -> None:
    url = SecretStr(f"postgresql+asyncpg://kit_worker:x@{host}/qudao_kit")
    database = Database("kit", settings.model_copy(update={"worker_database_url": url}))
    assert is_away(await failure(lambda: one(database)))
    await database.close()


async def test_a_wrong_password_is_a_fault_of_ours(settings: ServiceSettings, server: Server) -> None:
    url = SecretStr(f"postgresql+asyncpg://kit_worker:x@127.0.0.1:{server.port}/qudao_kit")
    database = Database("kit", settings.model_copy(update={"worker_database_url": url}))
    assert not is_away(await failure(lambda: one(database)))
    await database.close()


WRONG: list[tuple[str, tuple[Any, ...]]] = [
    ("insert into effect (n) values ($1)", (2**70,)),
    ("insert into effect (n) values ($1)", ("text",)),
    ("insert into effect (n, aggregate_id) values (1, $1)", ("no uuid",)),
    ("select $1::text", ("\x00",)),
    ("select $1::text", ("\ud800",)),
    ("insert into effect values (null, null, null)", ()),
    ("select no_such_column from effect", ()),
    ("select 1 / 0", ()),
    ("select $1::int", ()),
    ("select 1", (1,)),
    ("select nonsense", ()),
    ("delete from outbox", ()),
]


@pytest.mark.parametrize(("sql", "args"), WRONG)
async def test_a_wrong_statement_is_a_fault_of_ours(
    database: Database, sql: str, args: tuple[Any, ...]
) -> None:
    async def run() -> None:
        async with database.write(WORKER) as tx:
            await tx.rows(sql, *args)

    assert not is_away(await failure(run))


@pytest.mark.parametrize(
    "error", [FileNotFoundError(), ValueError(), KeyError(), PermissionError(), EOFError()]
)
def test_faults_of_a_handler_are_ours(error: Exception) -> None:
    assert not is_away(error)


@pytest.mark.parametrize("error", [StaleWrite(), TimeoutError(), ConnectionResetError(), OSError("connect")])
def test_lost_races_and_sockets_are_waited_out(error: Exception) -> None:
    assert is_away(error)


async def test_a_lock_that_is_held_too_long_is_waited_out(database: Database) -> None:
    async with database.write(OWNER) as tx:
        await tx.execute("lock table outbox in access exclusive mode")

        async def waits() -> None:
            async with database.write(WORKER) as rival:
                await rival.execute("set local lock_timeout = '50ms'")
                await rival.rows("select 1 from outbox")

        assert is_away(await failure(waits))


async def test_a_plan_that_a_migration_made_stale_is_tried_again(database: Database) -> None:
    async with database.write(OWNER) as tx:
        await tx.execute("create table wide (a int)")
        await tx.execute("insert into wide values (1)")
        await tx.execute("grant select on wide to kit_worker")

    async def read(tx: Write) -> int:
        return len((await tx.rows("select * from wide"))[0])

    assert await database.transact(WORKER, read) == 1
    async with database.write(OWNER) as tx:
        await tx.execute("alter table wide add column b int")
    assert await database.transact(WORKER, read) == 2


async def test_a_cancelled_transaction_leaves_nothing_and_its_connection_is_not_used_again(
    settings: ServiceSettings,
) -> None:
    database = Database("kit", settings.model_copy(update={"pool_size": 1}))
    async with database.write(OWNER) as tx:
        await tx.execute("truncate effect")
    for _ in range(3):
        sleeping = asyncio.create_task(_sleep(database))
        await asyncio.sleep(0.2)
        sleeping.cancel()
        with suppress(asyncio.CancelledError):
            await sleeping
        async with database.read(WORKER) as tx:
            assert await tx.value("select count(*) from effect") == 0
    await database.close()


# -- the commit whose outcome nobody hears of --------------------------------------------------------------


class Cut:
    """A proxy before PostgreSQL that cuts the line once, when the client says COMMIT: before the server hears it, or
    after."""

    def __init__(self, port: int, after: bool) -> None:
        self._port, self._after = port, after
        self.left = 1

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        self._server.close()

    async def _serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        server, ask = await asyncio.open_connection("127.0.0.1", self._port)
        back = asyncio.create_task(self._pump(server, answer))
        while data := await client.read(65536):
            if self.left and b"COMMIT" in data:
                self.left -= 1
                back.cancel()
                if self._after:
                    ask.write(data)
                    await ask.drain()
                    await asyncio.wait_for(server.read(1), 5)  # it has committed
                break
            ask.write(data)
            await ask.drain()
        back.cancel()
        for writer in (ask, answer):
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


@pytest.mark.parametrize("after", [False, True], ids=["before-it-arrives", "after-it-was-done"])
async def test_an_ambiguous_commit_has_its_effect_once(
    settings: ServiceSettings, server: Server, database: Database, after: bool
) -> None:
    cut = Cut(server.port, after)
    port = await cut.start()
    url = SecretStr(f"postgresql+asyncpg://kit_worker:kit_worker@127.0.0.1:{port}/qudao_kit")
    through = Database("kit", settings.model_copy(update={"worker_database_url": url}))
    aggregate_id = uuid4()
    polled = records([partner_event(aggregate_id, version) for version in (1, 2, 3)])

    poll = Poll("test.ambiguous", insert_effects)
    assert is_away(await failure(lambda: poll.settle(through, polled, nowhere)))
    assert cut.left == 0
    async with database.read(WORKER) as tx:
        before = await tx.value("select count(*) from effect")
    assert before == (3 if after else 0), "what the sender could not know"
    await poll.settle(through, polled, nowhere)
    async with database.read(WORKER) as tx:
        assert await tx.value("select array_agg(n order by n) from effect") == [1, 2, 3]
    await through.close()
    await cut.stop()
