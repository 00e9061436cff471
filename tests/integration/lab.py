"""A stack whose processes the test starts one by one, so that nobody restarts what a test kills.

Its own PostgreSQL and Kafka, the same databases, roles, ports and environment as `qudao up` would give; only the
supervisor is missing. Used where a process must run with a failpoint, or must stay away for a while.
"""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from channel_kit.local.server import running
from channel_kit.provision import provision
from channel_kit.topics import create_topics
from qudao.stack import SERVICES, Stack, database_name, service_command

from .deployment import Deployment, Member, opened, until


class Lab(Deployment):
    """The services are `members`; each is started by the test and ended with the lab."""

    def __init__(self, stack: Stack, http: httpx.AsyncClient, folder: Path) -> None:
        super().__init__(stack, http)
        self.members = {name: Member(stack, name, "serve", folder / f"{name}.log") for name in SERVICES}

    async def start(self, *names: str, **environment: str) -> None:
        """Starts services and waits until they say that they are ready."""
        for name in names:
            self.members[name].start(**environment)
        for name in names:
            await self.ready(name)

    async def ready(self, name: str) -> None:
        await self.members[name].ready(self.http)

    def stop(self) -> None:
        """Ends every service that runs, all at the same time."""
        running = [member for member in self.members.values() if member.runs()]
        for member in running:
            member.send(signal.SIGKILL)
        for member in running:
            member.end(signal.SIGKILL)

    async def insist(self, service: str, method: str, path: str, body: Any = None) -> Any:
        """A command, sent again under the same key until the service is there to answer it."""
        headers = {"authorization": f"Bearer {await self.token()}", "idempotency-key": uuid4().hex}
        answers: list[httpx.Response] = []

        async def attempt() -> bool:
            try:
                answer = await self.http.request(
                    method, self.stack.url(service) + path, headers=headers, json={} if body is None else body
                )
            except httpx.TransportError:
                return False
            answers.append(answer)
            assert answer.is_success or answer.status_code in (409, 502, 503, 504), answer.text
            return answer.is_success

        await until(attempt, 120, lambda: answers[-1:])
        return answers[-1].json()


@asynccontextmanager
async def lab(folder: Path) -> AsyncIterator[Lab]:
    """Database and broker are up and prepared; no service runs yet."""
    stack = opened(folder / "data", prepare=True)
    async with AsyncExitStack() as exits:
        assert stack.postgres_server is not None
        assert stack.kafka_server is not None
        exits.enter_context(running(stack.postgres_server, folder / "postgres.log"))
        exits.enter_context(running(stack.kafka_server, folder / "kafka.log"))
        for service in SERVICES:
            passwords = {f"{role}_password": word for role, word in stack.passwords[service].items()}
            await provision(stack.admin_url, service, database=database_name(service), **passwords)
        await asyncio.gather(create_topics(stack.kafka), *(_migrate(stack, service) for service in SERVICES))
        http = await exits.enter_async_context(httpx.AsyncClient(timeout=30))
        made = Lab(stack, http, folder)
        try:
            yield made
        finally:
            made.stop()


async def _migrate(stack: Stack, service: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *service_command(service, "migrate"),
        env=stack.environment(service),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode(errors="replace")
