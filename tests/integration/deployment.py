"""A running stack as its operator sees it: processes to kill, HTTP to call, databases to look into, the audit.

The stack is a real `qudao up` in a process of its own (or one that `QUDAO_TEST_STACK` names, which then stays
up). Nothing here knows what is bought or sold; `shops` does. Waiting is always for a condition, never for a time.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import psutil
import pytest

from channel_kit.local.server import port_is_free
from qudao import audit as auditing
from qudao.equations import EQUATIONS, Finding
from qudao.stack import DEFAULT_PORTS, SERVICES, Stack
from qudao.supervisor import RUN_VARIABLE

START_SECONDS = 240.0
_SERVERS = ("QUDAO_KAFKA", "QUDAO_POSTGRES")
# Where something may differ although nothing happened: progress, and who asked for what when.
_PROGRESS = frozenset({"alembic_version", "feed_position", "operator_action"})
_CLOCKS = {"feed_freshness": "handled_at", "connection": "last_delivery_at"}


class NotAsExpected(AssertionError):
    """An answer with another status than the test asked for; the message holds the answer."""


class Deployment:
    """One stack. `http` belongs to the event loop of the tests; tokens are renewed by themselves."""

    def __init__(self, stack: Stack, http: httpx.AsyncClient, log: Path | None = None) -> None:
        self.stack, self.http, self.log = stack, http, log
        self._token, self._token_until = "", 0.0

    # -- HTTP ----------------------------------------------------------------------------------------------

    async def token(self, scopes: str | None = None) -> str:
        """The administrator's token, or one with these scopes only."""
        if scopes is None and time.monotonic() < self._token_until:
            return self._token
        admin = self.stack.admin
        answer = await self.http.post(
            self.stack.url("partner") + "/v1/tokens",
            data={"grant_type": "client_credentials", **({"scope": scopes} if scopes else {})},
            auth=(admin.client_id, admin.client_secret),
        )
        assert answer.status_code == 200, answer.text
        token = str(answer.json()["access_token"])
        if scopes is None:
            self._token, self._token_until = token, time.monotonic() + 600
        return token

    async def ask(self, service: str, method: str, path: str, **options: Any) -> httpx.Response:
        """One request with the administrator's token, an Idempotency-Key where none is given, and no opinion."""
        own = {"authorization": f"Bearer {await self.token()}", "idempotency-key": uuid4().hex}
        headers = {**own, **options.pop("headers", {})}
        return await self.http.request(method, self.stack.url(service) + path, headers=headers, **options)

    async def call(self, service: str, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """The JSON of a request that must succeed; one that is answered 503 is sent again, as the answer says."""
        options = {} if body is None else {"json": body}
        headers = {"idempotency-key": uuid4().hex}
        deadline = time.monotonic() + 20
        while True:
            answer = await self.ask(service, method, path, params=params, headers=headers, **options)
            if answer.is_success:
                return answer.json()
            if answer.status_code != 503 or time.monotonic() > deadline:
                raise NotAsExpected(f"{method} {answer.request.url} said {answer.status_code}: {answer.text}")
            await asyncio.sleep(0.2)

    async def get(self, service: str, path: str, **params: Any) -> Any:
        return await self.call(service, "GET", path, **params)

    async def pages(self, service: str, path: str, **params: Any) -> list[Any]:
        """Every item of a list."""
        items: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            page = await self.get(service, path, **params, **cursor, limit=200)
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            cursor = {"cursor": page["next_cursor"]}

    # -- databases -----------------------------------------------------------------------------------------

    def url(self, service: str, role: str = "owner") -> str:
        return self.stack.database_url(service, role).replace("+asyncpg", "")

    async def rows(self, service: str, sql: str, *args: Any) -> list[asyncpg.Record]:
        """A statement as the owner of a service's database."""
        connection = await asyncpg.connect(self.url(service))
        try:
            return list(await connection.fetch(sql, *args))
        finally:
            await connection.close()

    async def value(self, service: str, sql: str, *args: Any) -> Any:
        rows = await self.rows(service, sql, *args)
        return rows[0][0] if rows else None

    async def content(self, service: str) -> dict[str, tuple[int, str]]:
        """Rows and a digest of every table that effects show in; equal = nothing happened in between."""
        connection = await asyncpg.connect(self.url(service))
        try:
            names = await connection.fetch(
                "select tablename::text from pg_tables where schemaname = 'public' order by 1"
            )
            found: dict[str, tuple[int, str]] = {}
            for (name,) in names:
                if name not in _PROGRESS:
                    row = f"to_jsonb(t) - '{_CLOCKS.get(name, '')}'"
                    rows = await connection.fetch(
                        f"select count(*) as n, md5(coalesce(string_agg(r, '|' order by r), '')) as digest "  # noqa: S608
                        f"from (select ({row})::text as r from {name} t) rows"
                    )
                    found[name] = (rows[0]["n"], rows[0]["digest"])
            return found
        finally:
            await connection.close()

    async def contents(self) -> dict[str, dict[str, tuple[int, str]]]:
        return {service: await self.content(service) for service in SERVICES}

    async def taken_in(self, seconds: float = 60.0) -> None:
        """Waits until every delivery accepted so far is settled."""
        await until_equal(
            lambda: self.value("order", "select count(*) from delivery where status = 'new'"), 0, seconds
        )

    # -- the audit -----------------------------------------------------------------------------------------

    async def audit(self, seconds: float = 90.0) -> list[Finding]:
        """Waits until nothing is on its way, then checks every equation. Fails when it never becomes quiet."""
        async with auditing.connected(auditing.database_urls(self.stack)) as dbs:
            settled = await auditing.quiet(dbs, seconds)
            findings = [
                finding for equation in (*EQUATIONS, auditing.blocks) async for finding in equation(dbs)
            ]
        assert settled, "still on its way: " + _said(findings)
        return findings

    async def audit_clean(self, seconds: float = 90.0) -> None:
        """The audit finds nothing; otherwise the test fails with what it found."""
        findings = await self.audit(seconds)
        assert all(finding.holds for finding in findings), _said(findings)

    # -- processes -----------------------------------------------------------------------------------------

    def pids(self) -> dict[str, int]:
        """The processes of the stack that run at this moment, by name."""
        listed = json.loads((self.stack.data / "run.json").read_text())["children"]
        return {child["name"]: child["pid"] for child in listed}

    async def kill(self, name: str) -> int:
        """SIGKILL for one process; its number, once it is gone."""
        pid = await until(lambda: self.pids().get(name))
        process = psutil.Process(pid)
        process.kill()
        await asyncio.to_thread(psutil.wait_procs, [process], 10)
        return int(pid)

    async def back(self, name: str, killed: int, seconds: float = 60.0) -> None:
        """Waits until the supervisor has started it anew and it says that it is ready."""
        children = {child.name: child for child in (*self.stack.servers(), *self.stack.services())}
        await until(lambda: self.pids().get(name, killed) != killed, seconds)
        await until(lambda: asyncio.to_thread(children[name].ready), seconds)


class Member:
    """One process of a service that the test itself runs."""

    def __init__(self, stack: Stack, service: str, role: str, log: Path, **environment: str) -> None:
        self.service, self.log = service, log
        self.port = int(environment.get("QUDAO_HTTP_PORT", stack.ports[service]))
        self._command = [sys.executable, "-m", f"{service}_svc", role]
        self._environment = {**stack.environment(service), **environment}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Member":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGKILL)

    def start(self, **environment: str) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                env={**self._environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    async def ready(self, http: httpx.AsyncClient) -> None:
        """Waits until it says that it is ready."""

        async def answers() -> bool:
            try:
                return (await http.get(f"http://127.0.0.1:{self.port}/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        await until(answers, 120, self.said)

    def end(self, number: signal.Signals = signal.SIGTERM, seconds: float = 30.0) -> int:
        """Sends the signal and waits; the exit status, negative for the signal that ended it."""
        self.send(number)
        assert self.process is not None
        return self.process.wait(seconds)

    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    async def died(self, seconds: float, why: str) -> int:
        """The exit status, once it has ended by itself; `why` says what should have ended it."""
        process = self.process
        assert process is not None
        await until(lambda: process.poll() is not None, seconds, lambda: f"the end of {why}\n{self.said()}")
        return process.wait()

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


async def until(
    condition: Callable[[], Any], seconds: float = 30.0, said: Callable[[], object] | None = None
) -> Any:
    """The first true value of `condition` (which may be a coroutine function); fails after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = 0.02
    while True:
        found = condition()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {said() if said else condition}"
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.3)


async def until_equal(read: Callable[[], Awaitable[Any]], expected: Any, seconds: float = 30.0) -> None:
    """Waits until `read` gives what is expected; fails with what it gave last."""
    last: list[Any] = []

    async def equal() -> bool:
        last[:] = [await read()]
        return bool(last[0] == expected)

    await until(equal, seconds, lambda: f"{last} instead of {expected}")


def choose_ports(data: Path) -> None:
    """Gives a new stack ports of its own, beside the usual ones and those that clients are given, so that what
    else runs on this machine does not meet it while it starts."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    free = (port for port in random.sample(range(15_000, 32_000), 2_000) if port_is_free(port))
    (data / "stack.json").write_text(json.dumps({"ports": {name: next(free) for name in DEFAULT_PORTS}}))


def qudao(data: Path, *arguments: str, seconds: float = 240.0) -> "subprocess.CompletedProcess[str]":
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "qudao.main", *arguments]
    environment = {**environment_of_up(), "QUDAO_DATA": str(data)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds)


def environment_of_up(**changes: str) -> dict[str, str]:
    """Our environment without what would make a stack use servers that it may not kill."""
    named = {
        name: value for name, value in os.environ.items() if name not in ("QUDAO_KAFKA", "QUDAO_POSTGRES")
    }
    return {**named, "COLUMNS": "200", **changes}


@contextmanager
def running_up(
    data: Path, log: Path, *arguments: str, **environment: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """`qudao up` in `data` from its start until the test ends; nothing of it is left then. Output goes to `log`."""
    choose_ports(data)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "qudao.main", "up", "--data", str(data), *arguments],
            env=environment_of_up(**environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _end_all(data)


@asynccontextmanager
async def deployed(data: Path, log: Path, *arguments: str, **environment: str) -> AsyncIterator[Deployment]:
    """A stack that is up. What `up` said is part of the failure when it is not.

    `environment` may name servers for `up`; then ours must name the same ones.
    """
    with running_up(data, log, *arguments, **environment) as process:

        def is_up() -> bool:
            said = log.read_text(errors="replace")
            assert process.poll() is None, f"qudao up ended with {process.returncode}:\n{said[-6000:]}"
            return "Ctrl-C stops" in said

        await until(is_up, START_SECONDS, lambda: log.read_text(errors="replace")[-6000:])
        async with httpx.AsyncClient(timeout=30) as http:
            yield Deployment(Stack.open(data) if environment else opened(data), http, log)


def opened(data: Path, *, prepare: bool = False) -> Stack:
    """The stack of a folder with servers of its own, whatever our environment names."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _SERVERS:
            patch.delenv(name, raising=False)
        if not prepare:
            return Stack.open(data)
        choose_ports(data)
        return Stack.prepare(data)


def _end_all(data: Path) -> None:
    """Ends what belongs to this run by its own mark, in case `up` itself had to be killed."""
    mark, left = str(data.absolute() / "run.json"), []
    for process in psutil.process_iter():
        try:
            if process.environ().get(RUN_VARIABLE) == mark:
                left.append(process)
        except psutil.Error:
            continue
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=10)


def _said(findings: list[Finding]) -> str:
    broken = [finding for finding in findings if not finding.holds]
    return "\n".join(f"{f.equation} · {f.name}: {dict(f.figures)} {f.examples}" for f in broken) or "nothing"


def new_id() -> int:
    """A platform's own number that no test has used."""
    return 10**14 + uuid4().int % 10**14
