"""Which server for which facts: the order of choice, what CI insists on, and what the header tells."""

from pathlib import Path

import pytest

from channel_kit.testing import providers
from channel_kit.testing.providers import KAFKA, POSTGRES, Facts, MissingServer, Wanted, choose, gather, told

NO_ENGINE = "no Docker engine answers"
NO_IMAGE = "the Docker engine has no image mine:1"
READY = Facts(address="", image="mine:1", image_named=False, hindrance="", ci=False)


@pytest.mark.parametrize("ci", [False, True])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    ("changed", "provider", "value"),
    [
        ({}, "container", "mine:1"),
        ({"address": "127.0.0.1:1"}, "address", "127.0.0.1:1"),
        ({"address": "127.0.0.1:1", "hindrance": NO_ENGINE}, "address", "127.0.0.1:1"),
        ({"image": ""}, "local", ""),
        ({"image": "", "hindrance": NO_ENGINE}, "local", ""),
    ],
)
def test_an_address_goes_before_a_container_and_no_image_means_local(
    changed: dict[str, str], provider: str, value: str, named: bool, ci: bool
) -> None:
    choice = choose(READY._replace(image_named=named, ci=ci, **changed))
    assert (choice.provider, choice.value) == (provider, value)


@pytest.mark.parametrize("hindrance", [NO_ENGINE, NO_IMAGE])
@pytest.mark.parametrize(("named", "ci"), [(False, False), (False, True), (True, False)])
def test_a_local_server_stands_in_and_says_why(hindrance: str, named: bool, ci: bool) -> None:
    choice = choose(READY._replace(hindrance=hindrance, image_named=named, ci=ci))
    assert choice == ("local", "", hindrance)


@pytest.mark.parametrize("hindrance", [NO_ENGINE, NO_IMAGE])
def test_ci_gets_the_image_that_it_names_or_nothing(hindrance: str) -> None:
    with pytest.raises(MissingServer, match=f"mine:1 is to be used, but {hindrance}"):
        choose(READY._replace(hindrance=hindrance, image_named=True, ci=True))


@pytest.mark.parametrize(
    ("wanted", "image"),
    [(POSTGRES, "postgres:18"), (KAFKA, "apache/kafka:4.1.0")],
    ids=lambda part: str(part)[:20],
)
def test_facts_come_from_the_environment(wanted: Wanted, image: str) -> None:
    def absent(name: str) -> str:
        return f"no {name}"

    assert gather(wanted, {}, absent) == ("", image, False, f"no {image}", False)
    named = {wanted.image_variable: "mine:1", "CI": "true"}
    assert gather(wanted, named, absent) == ("", "mine:1", True, "no mine:1", True)


def test_the_engine_is_not_asked_when_its_answer_cannot_matter() -> None:
    def unexpected(image: str) -> str:
        raise AssertionError(f"asked for {image!r}")

    assert gather(KAFKA, {"QUDAO_KAFKA": "127.0.0.1:1"}, unexpected).address == "127.0.0.1:1"
    assert gather(KAFKA, {"QUDAO_TEST_KAFKA_IMAGE": ""}, unexpected).image == ""


def test_an_engine_that_is_not_there_is_a_hindrance_in_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    assert providers.hindrance("mine:1") == NO_ENGINE


def test_the_header_names_the_provider_and_keeps_the_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    monkeypatch.setenv("MINE", "postgresql://postgres:secret@127.0.0.1/postgres")
    monkeypatch.setenv("MY_IMAGE", "mine:1")
    monkeypatch.setenv("CI", "true")
    assert told(Wanted("P", "MINE", "-", "")) == "P: MINE (its address is given)"
    assert told(Wanted("P", "-", "-", "")) == "P: local server (containers are switched off)"
    assert told(Wanted("P", "-", "-", "mine:1")) == f"P: local server ({NO_ENGINE})"
    assert told(Wanted("P", "-", "MY_IMAGE", "")) == f"P: missing, mine:1 is to be used, but {NO_ENGINE}"
