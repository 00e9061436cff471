"""pytest fixtures that every package shares: real servers, migrated databases, and processes to kill.

PostgreSQL and Kafka are real and started once per run, in a container or from what the wheel and Maven provide,
or taken from `QUDAO_TEST_POSTGRES` / `QUDAO_KAFKA`; `channel_kit.testing.providers` chooses. A part that cannot
be had fails the run, in CI and elsewhere: a test that skips in silence is a defect.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import structlog
from pydantic import SecretStr

from channel_kit import migrations, telemetry
from channel_kit.database import Database
from channel_kit.provision import provision
from channel_kit.service import Service
from channel_kit.settings import ServiceSettings
from channel_kit.testing.providers import KAFKA, POSTGRES, chosen, told
from channel_kit.topics import create_topics

SECRET_KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="  # noqa: S105  32 bytes; tests only
POOLS_OPEN = 6
ServiceDatabase = Callable[[Service], Awaitable[Database]]


def pytest_configure() -> None:
    """Log lines as they are on a terminal, but quick to make: hundreds of planted failures are logged."""
    structlog.configure(processors=[structlog.processors.add_log_level, telemetry.console(colors=False)])


def pytest_report_header() -> list[str]:
    """Which servers this run is on."""
    return [told(POSTGRES), told(KAFKA)]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Admin URL of a real PostgreSQL server that lives as long as the test run."""
    choice = chosen(POSTGRES)
    if choice.provider == "address":
        yield choice.value
        return
    if choice.provider == "container":
        from channel_kit.testing import containers

        with containers.postgres(choice.value) as url:
            yield url
        return
    from channel_kit.local.postgres import LocalPostgres
    from channel_kit.local.server import running

    folder = tmp_path_factory.mktemp("postgres")

    class Throwaway(LocalPostgres):
        def command(self) -> list[str]:
            # Survives the kill of any process, not of the machine; that is what it need not.
            return [*super().command(), "-c", "fsync=off", "-c", "full_page_writes=off"]

    server = Throwaway(folder / "data")
    with running(server, folder / "log") as process:
        yield server.admin_url
        process.send_signal(signal.SIGQUIT)  # at once, without a checkpoint that nobody will read


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap address of a real Apache Kafka broker that lives as long as the test run."""
    choice = chosen(KAFKA)
    if choice.provider == "address":
        _make_topics(choice.value)
        yield choice.value
        return
    if choice.provider == "container":
        from channel_kit.testing import containers

        with containers.kafka(choice.value) as bootstrap:
            _make_topics(bootstrap)
            yield bootstrap
        return
    from channel_kit.local.kafka import LocalKafka
    from channel_kit.local.server import running

    folder = tmp_path_factory.mktemp("kafka")
    server = LocalKafka(folder / "data")
    with running(server, folder / "log") as process:
        _make_topics(server.bootstrap)
        yield server.bootstrap
        process.kill()


def _make_topics(bootstrap: str) -> None:
    # In a thread, since this one belongs to the event loop of the tests.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(create_topics(bootstrap))).result()


def database_urls(admin_url: str, service: str, database: str) -> dict[str, Any]:
    """The three URLs of a service's processes in the test cluster; role names double as passwords."""
    host = admin_url.rsplit("@", 1)[-1].rsplit("/", 1)[0]
    return {
        f"{role}_database_url": SecretStr(
            f"postgresql+asyncpg://{service}_{role}:{service}_{role}@{host}/{database}"
        )
        for role in ("owner", "api", "worker")
    }


async def make_database(admin_url: str, service: Service, database: str) -> ServiceSettings:
    """Provisions and migrates a database of that name; returns settings that point at it."""
    passwords = {f"{role}_password": f"{service.name}_{role}" for role in ("owner", "api", "worker")}
    await provision(admin_url, service.name, database=database, **passwords)
    settings = ServiceSettings(
        secret_key=SecretStr(SECRET_KEY), log_json=False, **database_urls(admin_url, service.name, database)
    )
    await upgrade(service, settings)
    return settings


async def upgrade(service: Service, settings: ServiceSettings) -> None:
    """Migrates the database of these settings."""
    if settings.owner_database_url is None:
        raise ValueError("migrations need the owner's URL")
    await migrations.upgrade(service, settings.owner_database_url.get_secret_value())


@pytest.fixture(scope="session")
async def service_database(postgres: str) -> AsyncIterator[ServiceDatabase]:
    """Call it with a Service: a fresh migrated Database of its own, gone at the end of the run.

    Databases are cloned from a migrated template per service, so a fresh one costs some 50 ms.
    """
    templates: dict[str, str] = {}
    opened: list[Database] = []
    names: list[str] = []

    async def make(service: Service) -> Database:
        if service.name not in templates:
            templates[service.name] = f"template_{service.name}_{uuid4().hex[:8]}"
            await make_database(postgres, service, templates[service.name])
        name = f"qudao_{service.name}_{uuid4().hex[:8]}"
        admin = await asyncpg.connect(postgres)
        try:
            await admin.execute(
                f'create database "{name}" template "{templates[service.name]}" owner "{service.name}_owner"'
            )
        finally:
            await admin.close()
        names.append(name)
        urls = database_urls(postgres, service.name, name)
        database = Database(
            service.name, ServiceSettings(secret_key=SecretStr(SECRET_KEY), pool_size=5, **urls)
        )
        opened.append(database)
        while len(opened) > POOLS_OPEN:
            # It connects again if it is used again; a whole run's pools are more than a server allows.
            await opened.pop(0).close()
        return database

    yield make
    for database in opened:
        await database.close()
    if chosen(POSTGRES).provider == "address":  # one that was started for this run is thrown away as a whole
        admin = await asyncpg.connect(postgres)
        for name in [*names, *templates.values()]:
            await admin.execute(f'drop database "{name}" with (force)')
        await admin.close()


@pytest.fixture(scope="session")
def kit_service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A service called `kit` that has only the kit's tables and one of its own, for tests of the mechanisms."""
    folder = tmp_path_factory.mktemp("migrations")
    (folder / "versions").mkdir()
    (folder / "versions" / "0001_kit.py").write_text(_KIT_MIGRATION)

    async def nothing(scope: object, receive: object, send: object) -> None:
        return None

    return Service("kit", Path(folder), app=lambda runtime: nothing, worker=lambda runtime: ())


@pytest.fixture
async def kit_database(service_database: ServiceDatabase, kit_service: Service) -> Database:
    """A fresh Database of the service `kit`; table `effect(n bigint, aggregate_id uuid, partner_id uuid)`."""
    return await service_database(kit_service)


@pytest.fixture
def stopping() -> asyncio.Event:
    return asyncio.Event()


_KIT_MIGRATION = """
from alembic import op
from channel_kit import tables

revision, down_revision = "0001", None


def upgrade() -> None:
    tables.create(op, "kit")
    op.execute("create table effect (n bigint not null, aggregate_id uuid not null, partner_id uuid)")
    tables.protect(op, "kit", "effect")
    every = "select, insert, update, delete"
    tables.grant(op, "kit", "effect", worker=every, staff=every, partner=every)
"""
