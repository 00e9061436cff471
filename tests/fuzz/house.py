"""All five services as real processes on a real PostgreSQL, without a broker, and the callers that they know.

What Kafka would carry is carried here, through the product's own jobs and polls, so everything that one service
tells another arrives. Tokens are made by partner-svc, and every service verifies them with keys it was told of.
"""

import asyncio
import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from pydantic import SecretStr

from channel_kit.database import WORKER, Database, Write
from channel_kit.feed import Feed
from channel_kit.jobs import Job
from channel_kit.local.server import bond, free_port
from channel_kit.poll import Record
from channel_kit.service import Runtime, Service
from channel_kit.settings import ServiceSettings
from channel_kit.testing.plugin import SECRET_KEY, database_urls
from incentive_svc.__main__ import SERVICE as INCENTIVE
from insight_svc.__main__ import SERVICE as INSIGHT
from inventory_svc.service import SERVICE as INVENTORY
from order_svc.service import SERVICE as ORDER
from partner_svc.service import SERVICE as PARTNER

# partner-svc last: whoever may write there may also revoke the clients that the others are asked with.
SERVICES = {each.name: each for each in (INSIGHT, INCENTIVE, ORDER, INVENTORY, PARTNER)}
PARTNERS = ("alpha", "bravo")
STAFF = "staff"
TOKEN_SECONDS = 780
START_SECONDS = 120
STOP_SECONDS = 20
Make = Callable[[Service], Awaitable[Database]]


@dataclass
class Member:
    """One service: its process, its database as a worker sees it, and the loops that a worker would run."""

    name: str
    database: Database
    url: str
    log: Path
    process: "subprocess.Popen[bytes]"
    jobs: list[Job] = field(default_factory=list)
    feeds: list[Feed] = field(default_factory=list)

    async def ready(self, http: httpx.AsyncClient) -> None:
        """Returns once it answers; fails with what it logged when it ends or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                if (await http.get(f"{self.url}/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.2)
        raise AssertionError(f"{self.name} did not start:\n{self.said()}")

    def said(self, characters: int = 4_000) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-characters:]


class House:
    """The members, the credentials of their callers, what was sent to furnish them, and whose ids those are."""

    def __init__(self, members: dict[str, Member], http: httpx.AsyncClient) -> None:
        self.members, self.http = members, http
        self.credentials: dict[str, tuple[str, str]] = {}
        self.sent: list[tuple[str, str, str, Any]] = []
        self.owned: dict[str, set[str]] = {who: set() for who in PARTNERS}
        self._tokens: dict[str, tuple[str, float]] = {}

    def token(self, who: str) -> str:
        """An access token of `who`, with two minutes of its life left. Not async: the fuzzer's thread asks, too."""
        token, made = self._tokens.get(who, ("", -float("inf")))
        if time.monotonic() - made > TOKEN_SECONDS:
            url = f"{self.members['partner'].url}/v1/tokens"
            form = {"grant_type": "client_credentials"}
            answer = httpx.post(url, data=form, auth=self.credentials[who], timeout=30)
            assert answer.status_code == 200, (who, answer.text)
            token = str(answer.json()["access_token"])
            self._tokens[who] = token, time.monotonic()
        return token

    async def ask(
        self, service: str, method: str, path: str, *, who: str = STAFF, **options: Any
    ) -> httpx.Response:
        """One request of `who`, under an Idempotency-Key of its own."""
        headers = {"authorization": f"Bearer {self.token(who)}", "idempotency-key": uuid4().hex}
        headers |= options.pop("headers", {})
        return await self.http.request(method, self.members[service].url + path, headers=headers, **options)

    async def call(self, service: str, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """The JSON of a request that must succeed; a body is kept as an example of one."""
        if body is not None:
            options["json"] = body
            self.sent.append((service, method, path, body))
        answer = await self.ask(service, method, path, **options)
        assert answer.is_success, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    async def carry(self) -> None:
        """Does what all workers would, and carries what they announce to whoever listens, until all is quiet."""
        moved = 1
        while moved:
            moved = 0
            for member in self.members.values():
                for job in member.jobs:
                    while done := await job._run():
                        moved += done
                records = await member.database.transact(WORKER, _take)
                moved += len(records)
                for listener in self.members.values():
                    for feed in listener.feeds:
                        if mine := [record for record in records if record.topic == feed.topic.name]:
                            await feed._poll.settle(listener.database, mine, _nowhere)


async def _take(tx: Write) -> list[Record]:
    """What waits to be published, in its order; from now on it no longer waits."""
    rows = await tx.rows(
        """
        with taken as (delete from outbox_pending returning id)
        select o.id, o.topic, o.type, o.payload::text as payload from taken join outbox o using (id) order by o.id
        """
    )
    return [
        Record(row.topic, 0, row.id, row.payload.encode(), {"ce_type": row.type.encode()}) for row in rows
    ]


async def _nowhere(tx: Write) -> None:
    """These records come from no broker, so there is no position to keep."""


@asynccontextmanager
async def opened(make: Make, postgres: str, folder: Path) -> AsyncIterator[House]:
    """The house with its administrator and nothing in it; its processes are ended afterwards."""
    members: dict[str, Member] = {}
    admin = ("fuzz-admin", base64.urlsafe_b64encode(os.urandom(32)).decode())
    try:
        async with httpx.AsyncClient(timeout=30) as http:
            for service in SERVICES.values():
                members[service.name] = await _start(service, make, postgres, folder, admin)
            await asyncio.gather(*(member.ready(http) for member in members.values()))
            house = House(members, http)
            house.credentials[STAFF] = admin
            await house.carry()  # partner-svc makes its signing key, and everybody learns of it
            yield house
    finally:
        for member in members.values():
            member.process.send_signal(signal.SIGTERM)
        for member in members.values():
            try:
                member.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                member.process.kill()
                member.process.wait()


async def _start(service: Service, make: Make, postgres: str, folder: Path, admin: tuple[str, str]) -> Member:
    name, database, port = service.name, await make(service), free_port()
    async with database.read(WORKER) as tx:
        urls = database_urls(postgres, name, await tx.value("select current_database()::text"))
    client_id, secret = admin
    settings = ServiceSettings(
        secret_key=SecretStr(SECRET_KEY), admin_client_id=client_id, admin_client_secret=SecretStr(secret)
    )
    runtime = Runtime(settings, database)
    await service.after_migrate(runtime)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("QUDAO_")},
        "QUDAO_API_DATABASE_URL": urls["api_database_url"].get_secret_value(),
        "QUDAO_SECRET_KEY": SECRET_KEY,
        "QUDAO_HTTP_PORT": str(port),
        "QUDAO_LOG_JSON": "false",
        "QUDAO_POOL_SIZE": "4",
    }
    log = folder / f"{name}.log"
    member = Member(name, database, f"http://127.0.0.1:{port}", log, _spawn(name, environment, log))
    for loop in service.worker(runtime):
        if isinstance(loop, Feed):
            member.feeds.append(loop)
        elif isinstance(loop, Job):
            member.jobs.append(loop)
    return member


def _spawn(name: str, environment: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", f"{name}_svc", "api"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=bond(signal.SIGKILL),
        )
