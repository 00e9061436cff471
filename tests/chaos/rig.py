"""The one owner of every process of a run: starts them, knows them, kills and stops them, starts them again.

A real stack as `qudao up` would make it, but with API and worker of each service apart, and with a `Proxy` before
PostgreSQL and before Kafka; only services go through those, the rig itself asks directly. What was killed is started
again at once by the supervisor of the command line, which also asks each service whether it is stuck, as an
orchestrator does. Touches no process that it did not start.
"""

import asyncio
import os
import random
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import asyncpg
import psutil
from rich.console import Console

from channel_kit.local.kafka import LocalKafka
from channel_kit.local.postgres import LocalPostgres
from channel_kit.local.server import free_port, port_is_free
from channel_kit.provision import provision
from channel_kit.topics import create_topics
from qudao.stack import DEFAULT_PORTS, ROLES, SERVICES, Stack, database_name, service_command
from qudao.supervisor import RUN_VARIABLE, Child, Supervisor

from .proxy import Proxy
from .schedule import ROLES as PARTS

_GRACE_SECONDS = 5


class ProxiedKafka(LocalKafka):
    """A broker with a second listener, under the address of the proxy before it."""

    def __init__(self, data: Path, port: int, behind: int) -> None:
        super().__init__(data, port)
        self.behind = behind  # the second listener's own port
        self.proxied = 0  # where services find it

    def prepare(self) -> None:
        super().prepare()
        changed = {"listeners": self.behind, "advertised.listeners": self.proxied}
        file = self.data / "server.properties"
        lines = []
        for line in file.read_text().splitlines():
            name, _, value = line.partition("=")
            if name in changed:
                value += f",SERVICES://127.0.0.1:{changed[name]}"
            if name == "listener.security.protocol.map":
                value += ",SERVICES:PLAINTEXT"
            lines.append(f"{name}={value}\n")
        file.write_text("".join(lines))


class Rig:
    """One stack in `folder`. `stack` holds the direct addresses."""

    def __init__(self, folder: Path, *, stable_members: bool) -> None:
        self.folder, self._stable = folder, stable_members
        self._log = (folder / "processes.log").open("w")
        self._supervisor = Supervisor(folder / "run.json", Console(file=self._log, width=240))
        self.stack, self._kafka, self._postgres = _prepared(folder / "data")
        self.postgres = Proxy("postgres", self._postgres.port, speaks_postgres=True)
        self.kafka = Proxy("kafka", self._kafka.behind)
        self._ports = {f"{service}-api": self.stack.ports[service] for service in SERVICES}
        self._ports |= {f"{service}-worker": free_port() for service in SERVICES}
        self._stopped: set[psutil.Process] = set()
        self._children: dict[str, Child] = {}

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self._children)

    @property
    def proxies(self) -> dict[str, Proxy]:
        return {"postgres": self.postgres, "kafka": self.kafka}

    # -- life ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Everything, from empty folders; returns when every process is ready."""
        await self.postgres.start()
        await self.kafka.start()
        self._kafka.proxied = self.kafka.port
        servers = {child.name: child for child in self.stack.servers()}
        self._children |= servers
        await asyncio.gather(self._database(servers["postgres"]), self._broker(servers["kafka"]))
        services = [self._service(service, role) for role in PARTS for service in SERVICES]
        self._children |= {child.name: child for child in services}
        await self._supervisor.start(services)

    async def stop(self) -> None:
        """Ends everything at once; what lies in the folder stays."""
        self.resume()
        self._supervisor.kill()
        await self._supervisor.stop()
        for proxy in self.proxies.values():
            await proxy.stop()
        self._log.close()

    async def _database(self, child: Child) -> None:
        await self._supervisor.start([child])
        for service in SERVICES:
            words = {f"{role}_password": word for role, word in self.stack.passwords[service].items()}
            await provision(self.stack.admin_url, service, database=database_name(service), **words)
        slots = asyncio.Semaphore(2)
        await asyncio.gather(*(self._migrate(service, slots) for service in SERVICES))

    async def _broker(self, child: Child) -> None:
        await self._supervisor.start([child])
        await create_topics(self.stack.kafka)

    async def _migrate(self, service: str, slots: asyncio.Semaphore) -> None:
        async with slots:
            process = await asyncio.create_subprocess_exec(
                *service_command(service, "migrate"),
                env={**self.stack.environment(service), RUN_VARIABLE: str(self.folder / "run.json")},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            said, _ = await process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"{service} could not migrate:\n{said.decode(errors='replace')[-3000:]}")

    def _service(self, service: str, role: str) -> Child:
        name = f"{service}-{role}"
        template = next(child for child in self.stack.services() if child.name == service)
        port = self._ports[name]
        probes = replace(self.stack, ports={**self.stack.ports, service: port}).services()
        asked = next(child for child in probes if child.name == service)
        return replace(
            template,
            name=name,
            argv=lambda: service_command(service, role),
            env=self._environment(service, port),
            ready=asked.ready,
            alive=asked.alive,
            port=port,
        )

    def _environment(self, service: str, port: int) -> dict[str, str]:
        """What the stack says, with the proxies in the places of the servers."""
        found = self.stack.environment(service)
        direct, proxied = f":{self._postgres.port}/", f":{self.postgres.port}/"
        for role in ROLES:
            name = f"QUDAO_{role.upper()}_DATABASE_URL"
            found[name] = found[name].replace(direct, proxied)
        found["QUDAO_KAFKA"] = f"127.0.0.1:{self.kafka.port}"
        found["QUDAO_HTTP_PORT"] = str(port)
        if not self._stable:
            found.pop("QUDAO_INSTANCE_ID", None)
        return found

    # -- what is there -------------------------------------------------------------------------------------

    def pid(self, kind: str) -> int | None:
        return self._supervisor.pids().get(kind)

    async def is_ready(self, kind: str) -> bool:
        """Whether the process of this kind says that it can work."""
        return self.pid(kind) is not None and await asyncio.to_thread(self._children[kind].ready)

    def database_url(self, service: str) -> str:
        """The owner's, directly."""
        return self.stack.database_url(service, "owner").replace("+asyncpg", "")

    @asynccontextmanager
    async def database(self, service: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        connection = await asyncpg.connect(self.database_url(service), timeout=3, command_timeout=10)
        try:
            yield connection
        finally:
            with suppress(Exception):  # it may be gone by now
                await asyncio.wait_for(connection.close(), 2)

    # -- faults --------------------------------------------------------------------------------------------

    def kill(self, kind: str) -> bool:
        """SIGKILL; False when there is no such process at this moment."""
        pid = self.pid(kind)
        if pid is None:
            return False
        os.kill(pid, signal.SIGKILL)
        return True

    def pause(self, kind: str, part: str = "") -> bool:
        """SIGSTOP until `resume`. PostgreSQL is many processes: all of them, or `one backend`."""
        pid = self.pid(kind)
        if pid is None:
            return False
        process = psutil.Process(pid)
        group = [process]
        if kind == "postgres":
            group += process.children(recursive=True)
        if part == "one backend":
            backends = [each for each in group if _is_client_backend(each)]
            group = [random.choice(backends)] if backends else group
        for each in group:
            with suppress(psutil.NoSuchProcess):
                each.suspend()
                self._stopped.add(each)
        return True

    def resume(self) -> None:
        """SIGCONT for all that was stopped."""
        for each in self._stopped:
            with suppress(psutil.NoSuchProcess):
                each.resume()
        self._stopped.clear()


def _is_client_backend(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any(f"{service}_" in " ".join(process.cmdline()) for service in SERVICES)
    return False


def _prepared(data: Path) -> tuple[Stack, ProxiedKafka, LocalPostgres]:
    """A new stack on ports of its own, with servers of its own whatever our environment names."""
    data.mkdir(parents=True, mode=0o700)
    Stack.prepare(data)
    taken = _ports(len(DEFAULT_PORTS) + 1)
    ports = {name: next(taken) for name in DEFAULT_PORTS}
    broker = ProxiedKafka(data / "kafka", ports["kafka"], next(taken))
    database = LocalPostgres(data / "postgres", ports["postgres"])
    stack = replace(
        Stack.open(data),
        ports=ports,
        kafka=broker.bootstrap,
        kafka_server=broker,
        postgres_server=database,
    )
    return stack, broker, database


def _ports(count: int) -> Iterator[int]:
    """Free ones beside the usual ones and those that clients are given."""
    free = (port for port in random.sample(range(15_000, 32_000), 2_000) if port_is_free(port))
    return iter([next(free) for _ in range(count)])
