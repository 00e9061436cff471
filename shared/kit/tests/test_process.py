"""A service as a real process: what Kubernetes asks it, how it ends, and migrations that meet."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from channel_kit import migrations
from channel_kit.database import OWNER, WORKER, Database
from channel_kit.local.server import free_port
from channel_kit.service import Service
from channel_kit.settings import ServiceSettings
from channel_kit.testing.plugin import make_database
from channel_kit.testing.processes import Child, running
from channel_kit.testing.waiting import until

pytestmark = pytest.mark.timeout(180)
TINY = Path(__file__).parent / "tiny_svc.py"


@pytest.fixture
def environment(kit_service: Service) -> dict[str, str]:
    return {
        "TINY_MIGRATIONS": str(kit_service.migrations),
        "TINY_TOPIC": "channel.partner",
        "TINY_CONSUMER": "tiny.partner",
    }


@pytest.fixture
def settings(kit_database: Database, kafka: str) -> ServiceSettings:
    return kit_database.settings.model_copy(update={"kafka": kafka, "graceful_seconds": 10, "log_json": True})


@pytest.fixture
async def serving(settings: ServiceSettings, environment: dict[str, str]) -> AsyncIterator[Child]:
    async with running([TINY, "serve"], settings, **environment) as child:
        await child.ready()
        yield child


async def test_what_is_asked_from_outside(serving: Child) -> None:
    alive, ready = await serving.get("/healthz"), await serving.get("/readyz")
    assert (alive.status_code, alive.text) == (200, "alive\n")
    assert (ready.status_code, ready.text) == (200, "ready\n")
    assert (await serving.post("/announce")).json() == {"announced": 1}
    metrics = await serving.get("/metrics")
    for name in ("qudao_outbox_pending", "qudao_relay_published_total", "qudao_feed_parked"):
        assert name in metrics.text
    assert (await serving.get("/nowhere")).status_code == 404
    assert (await serving.get("/v1/admin/status")).status_code == 401


async def test_sigterm_drains_within_its_grace(serving: Child, kit_database: Database) -> None:
    in_flight = asyncio.create_task(serving.get("/slow?seconds=2"))
    await serving.post("/announce")
    await asyncio.sleep(0.5)
    started = time.monotonic()
    serving.send(signal.SIGTERM)
    answer = await in_flight
    assert answer.status_code == 200, "the request in flight is answered"
    assert await serving.ended() == 0
    assert time.monotonic() - started < 12
    async with kit_database.read(WORKER) as tx:
        assert await tx.value("select count(*) from outbox_pending") == 0
    assert "did not end in order" not in serving.said


async def test_requests_are_taken_until_routers_have_learned_of_the_end(
    settings: ServiceSettings, environment: dict[str, str]
) -> None:
    async with running([TINY, "api"], settings, **environment, QUDAO_DRAIN_SECONDS="2") as child:
        await child.ready()
        child.send(signal.SIGTERM)
        until_then = time.monotonic() + 1.2
        while time.monotonic() < until_then:
            assert (await child.get("/slow?seconds=0.05")).status_code == 200
        answer = await child.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "draining\n")
        assert await child.ended() == 0


async def test_a_request_that_outlasts_the_grace_does_not_hold_the_process(
    settings: ServiceSettings, environment: dict[str, str]
) -> None:
    brief = settings.model_copy(update={"graceful_seconds": 1})
    async with running([TINY, "serve"], brief, **environment) as child:
        await child.ready()
        endless = asyncio.create_task(child.get("/slow?seconds=60"))
        await asyncio.sleep(0.5)
        child.send(signal.SIGTERM)
        await child.ended(12)
        with pytest.raises((httpx.TransportError, AssertionError)):
            assert (await endless).status_code == 200


async def test_a_loop_that_fails_takes_the_process_with_it(serving: Child, kit_database: Database) -> None:
    async with kit_database.write(OWNER) as tx:
        await tx.execute("revoke all on outbox_pending from kit_worker")
    assert await serving.ended() == 1
    faults = [json.loads(line) for line in serving.said.splitlines() if line.startswith("{")]
    ended = [line for line in faults if line["event"] == "a part of this process did not end in order"]
    assert [line["part"] for line in ended] == ["relay"]
    assert "permission denied for table outbox_pending" in ended[0]["exception"]


async def test_a_port_that_is_taken_ends_the_process_in_order(
    settings: ServiceSettings, environment: dict[str, str], serving: Child
) -> None:
    async with running([TINY, "serve"], settings, **environment, QUDAO_HTTP_PORT=str(serving.port)) as child:
        assert await child.ended() == 1
        assert "address already in use" in child.said


async def test_a_worker_answers_its_probes_and_nothing_else(
    settings: ServiceSettings, environment: dict[str, str]
) -> None:
    async with running([TINY, "worker"], settings, **environment) as child:
        await child.ready()
        assert (await child.get("/healthz")).status_code == 200
        assert (await child.get("/slow?seconds=0")).status_code == 404
        child.send(signal.SIGTERM)
        assert await child.ended() == 0


async def test_an_absent_database_and_broker_are_not_ready_but_alive(
    settings: ServiceSettings, environment: dict[str, str]
) -> None:
    nowhere = {
        name: f"postgresql+asyncpg://kit_api:x@127.0.0.1:{free_port()}/nowhere"
        for name in ("QUDAO_API_DATABASE_URL", "QUDAO_WORKER_DATABASE_URL", "QUDAO_OWNER_DATABASE_URL")
    }
    bootstrap = f"127.0.0.1:{free_port()}"
    async with running([TINY, "serve"], settings, **environment, **nowhere, QUDAO_KAFKA=bootstrap) as child:

        async def complains() -> bool:
            return "trying again" in child.said

        await until(complains)
        assert (await child.get("/healthz")).status_code == 200
        assert (await child.get("/readyz")).status_code == 503
        child.send(signal.SIGTERM)
        assert await child.ended() == 0


async def test_readiness_is_about_what_this_release_needs(serving: Child, kit_database: Database) -> None:
    async with kit_database.write(OWNER) as tx:
        await tx.execute("update alembic_version set version_num = '0002_of_a_later_release'")
    assert (await serving.get("/readyz")).status_code == 200, "a later release only expands"
    async with kit_database.write(OWNER) as tx:
        await tx.execute("delete from alembic_version")
    answer = await serving.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "the schema is at None, this code needs 0001\n")


# -- migrations --------------------------------------------------------------------------------------------


@pytest.fixture
async def bare(postgres: str, kit_service: Service) -> ServiceSettings:
    """A provisioned database without a schema."""
    name = f"qudao_bare_{os.urandom(4).hex()}"
    made = await make_database(postgres, kit_service, name)
    admin = await asyncpg.connect(postgres)
    await admin.execute(f'drop database "{name}" with (force)')
    await admin.execute(f'create database "{name}" owner kit_owner')
    await admin.close()
    inside = await asyncpg.connect(postgres.rsplit("/", 1)[0] + f"/{name}")
    await inside.execute("alter schema public owner to kit_owner")
    await inside.close()
    return made


async def test_migrations_that_meet_run_once(
    bare: ServiceSettings, environment: dict[str, str], kit_service: Service
) -> None:
    async with (
        running([TINY, "migrate"], bare, **environment) as one,
        running([TINY, "migrate"], bare, **environment) as two,
        running([TINY, "migrate"], bare, **environment) as three,
    ):
        assert [await child.ended() for child in (one, two, three)] == [0, 0, 0], one.said + two.said
    async with running([TINY, "migrate"], bare, **environment) as again:
        assert await again.ended() == 0
    database = Database("kit", bare)
    async with database.read(WORKER) as tx:
        assert await migrations.current(tx) == migrations.head(kit_service) == "0001"
    await database.close()


async def test_migrating_needs_the_owner(settings: ServiceSettings, environment: dict[str, str]) -> None:
    poor = settings.model_copy(update={"owner_database_url": None})
    async with running([TINY, "migrate"], poor, **environment) as child:
        assert await child.ended() == 2
        assert "QUDAO_OWNER_DATABASE_URL is not set" in child.said


async def test_a_migration_does_not_queue_the_traffic_behind_itself(
    kit_database: Database, tmp_path: Path
) -> None:
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "0001.py").write_text(
        'revision, down_revision = "0001", None\ndef upgrade(): ...\n'
    )
    (tmp_path / "versions" / "0002.py").write_text(
        'from alembic import op\nrevision, down_revision = "0002", "0001"\n'
        'def upgrade(): op.execute("alter table effect add column more int")\n'
    )
    later = Service("kit", tmp_path, app=lambda runtime: None, worker=lambda runtime: ())  # type: ignore[arg-type, return-value]
    url = kit_database.settings.owner_database_url
    assert url is not None
    async with kit_database.read(WORKER) as tx:
        await tx.rows("select * from effect")
        with pytest.raises(Exception, match="lock timeout"):
            await migrations.upgrade(later, url.get_secret_value())
    await migrations.upgrade(later, url.get_secret_value())
    async with kit_database.read(WORKER) as tx:
        assert await migrations.current(tx) == "0002"


async def test_an_unknown_role_says_what_there_is(
    settings: ServiceSettings, environment: dict[str, str]
) -> None:
    async with running([TINY, "dance"], settings, **environment) as child:
        assert await child.ended() == 1
        assert "api|worker|serve|migrate" in child.said
