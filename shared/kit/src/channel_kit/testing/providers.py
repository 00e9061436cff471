"""Which PostgreSQL and which Kafka the tests run on, and why.

Owns the order of choice: the server whose address is given; a container, where a Docker engine answers that has
the image already; a server started on this machine. Asks the engine once per run and never pulls an image.
Starts nothing: `channel_kit.testing.plugin` does, and shows the choice in the header of the run.
"""

import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import Literal, NamedTuple

ENGINE_SECONDS_MAX = 5


class MissingServer(RuntimeError):
    """A server that the run was told to use cannot be had; the message says what is missing."""


class Wanted(NamedTuple):
    """A server that tests need, and the variables that say where it comes from."""

    name: str
    address_variable: str
    image_variable: str  # set to nothing = no container
    usual_image: str


class Facts(NamedTuple):
    """All that a choice depends on."""

    address: str
    image: str
    image_named: bool  # by its variable, rather than ours by default
    hindrance: str  # why no container of the image can be had; empty = it can
    ci: bool


class Choice(NamedTuple):
    provider: Literal["address", "container", "local"]
    value: str  # the address, the image, nothing
    why: str


POSTGRES = Wanted("PostgreSQL", "QUDAO_TEST_POSTGRES", "QUDAO_TEST_POSTGRES_IMAGE", "postgres:18")
KAFKA = Wanted("Kafka", "QUDAO_KAFKA", "QUDAO_TEST_KAFKA_IMAGE", "apache/kafka:4.1.0")


def choose(facts: Facts) -> Choice:
    """Raises `MissingServer` when CI names an image that cannot be run: another server is not what it asked for."""
    if facts.address:
        return Choice("address", facts.address, "its address is given")
    if not facts.image:
        return Choice("local", "", "containers are switched off")
    if not facts.hindrance:
        return Choice("container", facts.image, "the Docker engine has the image")
    if facts.image_named and facts.ci:
        raise MissingServer(f"{facts.image} is to be used, but {facts.hindrance}")
    return Choice("local", "", facts.hindrance)


def gather(wanted: Wanted, environ: Mapping[str, str], hindrance: Callable[[str], str]) -> Facts:
    """The facts about one server; the engine is asked only when the answer can matter."""
    address = environ.get(wanted.address_variable, "")
    image = environ.get(wanted.image_variable, wanted.usual_image)
    return Facts(
        address=address,
        image=image,
        image_named=wanted.image_variable in environ,
        hindrance=hindrance(image) if image and not address else "",
        ci=environ.get("CI", "").lower() == "true",
    )


@cache
def chosen(wanted: Wanted) -> Choice:
    """The choice of this run. Raises as `choose` does."""
    return choose(gather(wanted, os.environ, hindrance))


def told(wanted: Wanted) -> str:
    """One line for people; never an address, which may hold a password."""
    try:
        choice = chosen(wanted)
    except MissingServer as missing:
        return f"{wanted.name}: missing, {missing}"
    place = {
        "address": wanted.address_variable,
        "container": f"container of {choice.value}",
        "local": "local server",
    }
    return f"{wanted.name}: {place[choice.provider]} ({choice.why})"


def hindrance(image: str) -> str:
    """What stands against a container of `image` here, in words; empty when nothing does."""
    try:
        from docker.errors import DockerException, ImageNotFound  # type: ignore[import-untyped]
        from testcontainers.core.config import testcontainers_config
        from testcontainers.core.docker_client import DockerClient
    except ImportError:
        return "testcontainers is not installed"
    try:
        engine = DockerClient(timeout=ENGINE_SECONDS_MAX)
    except (DockerException, OSError):
        return "no Docker engine answers"
    try:
        if engine.host() not in ("localhost", "127.0.0.1"):
            return "the Docker engine is not on this machine"
        engine.client.images.get(testcontainers_config.hub_image_name_prefix + image)
    except ImageNotFound:
        return f"the Docker engine has no image {image}"
    except (DockerException, OSError):
        return "no Docker engine answers"
    finally:
        engine.client.close()
    return ""
