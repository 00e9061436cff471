"""The loop, thin, on a database and a broker that somebody else runs: `QUDAO_POSTGRES` and `QUDAO_KAFKA`.

From containers where a Docker engine answers that has the images named by `QUDAO_TEST_POSTGRES_IMAGE` and
`QUDAO_TEST_KAFKA_IMAGE` (configured as the official `postgres` and `apache/kafka` are), else from the wheel and
Maven. Images that are named and cannot be had fail under CI. The output says which servers were used.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import docker  # type: ignore[import-untyped]
import pytest
from aiokafka.errors import KafkaError
from docker.errors import DockerException  # type: ignore[import-untyped]
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from channel_kit.local.kafka import LocalKafka
from channel_kit.local.postgres import LocalPostgres
from channel_kit.local.server import free_port, running
from channel_kit.topics import cluster_id

from . import shops
from .deployment import deployed, new_id, until
from .letters import shopify_order

SETTINGS = ("QUDAO_TEST_POSTGRES_IMAGE", "QUDAO_TEST_KAFKA_IMAGE")
KAFKA = {
    "KAFKA_NODE_ID": "1",
    "KAFKA_PROCESS_ROLES": "broker,controller",
    "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
    "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
}


@dataclass(frozen=True)
class Servers:
    """Where they are, and who runs them."""

    postgres: str
    kafka: str
    provider: str


def _images() -> tuple[str, str] | None:
    """The named images, if an engine answers that has both; None = the local servers are to be used."""
    postgres, kafka = (os.environ.get(name, "") for name in SETTINGS)
    if not (postgres and kafka):
        return None
    try:
        engine = docker.from_env(timeout=5)
        for image in (postgres, kafka):
            engine.images.get(image)
    except DockerException as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{' and '.join(SETTINGS)} are set and cannot be had: {missing}")
        return None
    return postgres, kafka


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    with ExitStack() as exits:
        if images := _images():
            yield _in_containers(exits, *images)
            return
        postgres, kafka = LocalPostgres(tmp_path / "postgres"), LocalKafka(tmp_path / "kafka")
        exits.enter_context(running(postgres, tmp_path / "postgres.log"))
        exits.enter_context(running(kafka, tmp_path / "kafka.log"))
        yield Servers(postgres.admin_url, kafka.bootstrap, "the wheel and Maven")


def _in_containers(exits: ExitStack, postgres_image: str, kafka_image: str) -> Servers:
    testcontainers_config.ryuk_disabled = True  # its image is not among those named; the exits clean up
    postgres = exits.enter_context(
        PostgresContainer(
            postgres_image, username="postgres", password="postgres", dbname="postgres", driver=None
        )
    )
    # A broker tells clients where it is, so its port has to be known before it starts.
    port = free_port()
    kafka = DockerContainer(kafka_image).with_bind_ports(9092, port)
    for name, value in {**KAFKA, "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}"}.items():
        kafka.with_env(name, value)
    exits.enter_context(kafka)
    return Servers(postgres.get_connection_url(), f"127.0.0.1:{port}", f"{postgres_image} and {kafka_image}")


async def test_the_loop_runs_on_servers_of_others(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Callable[[str], None]
) -> None:
    named = {"QUDAO_POSTGRES": servers.postgres, "QUDAO_KAFKA": servers.kafka}
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    await until(lambda: _answers(servers.kafka), 60)
    async with deployed(tmp_path / "data", tmp_path / "up.log", **named) as stack:
        assert set(stack.pids()) == {"partner", "order", "inventory", "incentive", "insight"}
        sold, order_id = await shops.trade(stack), new_id()
        await sold.shop.sent(shopify_order(order_id, sold.sku), "orders/create")
        await sold.agreed(order_id, 30_973, 949)
        await stack.audit_clean()
    tell(f"servers of others: PostgreSQL and Kafka from {servers.provider}")


async def _answers(bootstrap: str) -> bool:
    """Whether the broker is there: a container is started long before what runs in it."""
    try:
        return bool(await cluster_id(bootstrap))
    except (KafkaError, TimeoutError):
        return False


def test_without_named_images_the_local_servers_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    assert _images() is None


def test_named_images_that_cannot_be_had_fail_under_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{free_port()}")
    for name in SETTINGS:
        monkeypatch.setenv(name, "none:such")
    monkeypatch.delenv("CI", raising=False)
    assert _images() is None
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="cannot be had"):
        _images()
