"""PostgreSQL and Kafka in containers, for machines whose Docker engine has their images.

Owns how the two are configured, started, recognised as ready and removed, by the conventions of the official
images. Both listen on 127.0.0.1 of this machine only. Imported by `channel_kit.testing.plugin` and only when
`channel_kit.testing.providers` chose a container: testcontainers is a dependency of development alone.
"""

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from channel_kit.local.server import free_port
from channel_kit.testing.providers import hindrance

READY_SECONDS_MAX = 90
_HOST = "127.0.0.1"
# The server that the image prepares its data with says "ready" too, but listens to no network.
_POSTGRES_READY = re.compile(r"listening on IPv4 address.*ready to accept connections", re.DOTALL)
_KAFKA_READY = re.compile(r"Kafka Server started")

_POSTGRES_SETTINGS = {"max_connections": "200", "timezone": "UTC", "fsync": "off", "full_page_writes": "off"}
# The order of text must not depend on the C library of an image.
_INITDB = "--encoding=UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8"

# Small and quick to start; the compiler stops at its first tier.
_KAFKA_JVM = {
    "KAFKA_HEAP_OPTS": "-Xms64m -Xmx256m",
    "KAFKA_JVM_PERFORMANCE_OPTS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
}
_KAFKA_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "controller.quorum.voters": "1@127.0.0.1:19093",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "log.retention.ms": "-1",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
}


@contextmanager
def postgres(image: str) -> Iterator[str]:
    """Admin URL of a fresh server, which is gone afterwards. Like the local one of the tests it syncs nothing."""
    port, password = free_port(), secrets.token_urlsafe(24)
    container = (
        DockerContainer(image)
        .with_envs(POSTGRES_USER="postgres", POSTGRES_PASSWORD=password, POSTGRES_INITDB_ARGS=_INITDB)
        .with_command([part for pair in _POSTGRES_SETTINGS.items() for part in ("-c", "=".join(pair))])
        .with_kwargs(shm_size="256m")  # parallel queries share memory there, and Docker's 64 MB are few
    )
    with _running(container, {5432: port}, _POSTGRES_READY):
        yield f"postgresql://postgres:{password}@{_HOST}:{port}/postgres"


@contextmanager
def kafka(image: str) -> Iterator[str]:
    """Bootstrap address of a fresh broker, which is gone afterwards."""
    # One number inside and outside, so that the broker too reaches itself at what it advertises.
    port = free_port()
    settings = {
        **_KAFKA_SETTINGS,
        "listeners": f"PLAINTEXT://0.0.0.0:{port},CONTROLLER://127.0.0.1:19093",
        "advertised.listeners": f"PLAINTEXT://{_HOST}:{port}",
    }
    variables = {f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in settings.items()}
    container = DockerContainer(image).with_envs(**_KAFKA_JVM, **variables)
    with _running(container, {port: port}, _KAFKA_READY):
        yield f"{_HOST}:{port}"


@contextmanager
def _running(
    container: DockerContainer, ports: Mapping[int, int], ready: "re.Pattern[str]"
) -> Iterator[None]:
    """Start it with `ports` (inside: outside) bound to this machine, wait for its word, remove it in the end."""
    if hindrance(testcontainers_config.ryuk_image):
        # The reaper, which removes what a killed run left, is an image of its own and would be pulled.
        testcontainers_config.ryuk_disabled = True
    # Its own method binds a port to every address of the machine.
    container.ports.update(
        {f"{inside}/tcp": cast("Any", (_HOST, outside)) for inside, outside in ports.items()}
    )
    wait = LogMessageWaitStrategy(ready).with_startup_timeout(READY_SECONDS_MAX).with_poll_interval(0.1)
    with container.waiting_for(wait):
        yield
