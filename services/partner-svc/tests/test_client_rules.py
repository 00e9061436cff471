"""Clients and secrets without a database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from partner_svc.client import rules
from partner_svc.client.rules import Client, Secret
from partner_svc.partner.rules import Refusal

PRESENT = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def secret(text: str, age: timedelta = timedelta(), expires_at: datetime | None = None) -> Secret:
    return Secret(rules.digest(text), PRESENT - age, expires_at)


def client(*secrets: Secret) -> Client:
    return Client(
        "c", "C", frozenset({"orders:read", "stock:read"}), None, "boss", PRESENT, None, None, secrets
    )


def test_the_right_secret_is_taken_and_no_other() -> None:
    assert rules.authenticate(client(secret("right")), "right", PRESENT)
    for wrong in ("", "wrong", "Right", "right ", "nobody", "\ud800"):
        assert not rules.authenticate(client(secret("right")), wrong, PRESENT)


def test_nobody_can_be_a_client_that_does_not_exist() -> None:
    assert not rules.authenticate(None, "nobody", PRESENT)
    assert not rules.authenticate(client(), "nobody", PRESENT)


def test_a_secret_a_client_or_a_revocation_ends_it() -> None:
    held = client(secret("s", expires_at=PRESENT + DAY))
    assert rules.authenticate(held, "s", PRESENT + DAY - timedelta(microseconds=1))
    assert not rules.authenticate(held, "s", PRESENT + DAY)
    assert not rules.authenticate(replace(held, expires_at=PRESENT), "s", PRESENT)
    assert not rules.authenticate(replace(held, revoked_at=PRESENT), "s", PRESENT)


def test_rotation_keeps_the_newest_before_it_until_the_grace_ends() -> None:
    old, newer, new = secret("1", 2 * DAY), secret("2", DAY), secret("3")
    assert rules.rotated([old, newer], new, DAY) == (replace(newer, expires_at=PRESENT + DAY), new)


def test_rotation_never_lengthens_a_life() -> None:
    ending = secret("1", DAY, expires_at=PRESENT + timedelta(minutes=1))
    assert rules.rotated([ending], secret("2"), DAY) == (ending, secret("2"))


def test_without_grace_only_the_new_secret_remains() -> None:
    assert rules.rotated([secret("1", DAY)], secret("2"), timedelta()) == (secret("2"),)


def test_an_ended_secret_does_not_come_back() -> None:
    ended = secret("1", DAY, expires_at=PRESENT)
    assert rules.rotated([ended], secret("2"), DAY) == (secret("2"),)


def test_a_token_has_at_most_what_the_client_has() -> None:
    held = client()
    assert rules.requested_scopes(held, None) == held.scopes
    assert rules.requested_scopes(held, " ") == held.scopes
    assert rules.requested_scopes(held, "stock:read stock:read") == frozenset({"stock:read"})
    assert isinstance(rules.requested_scopes(held, "stock:read admin"), Refusal)


def test_a_token_never_outlives_its_client() -> None:
    assert rules.token_life(client(), PRESENT) == rules.TOKEN_LIFE
    ending = replace(client(), expires_at=PRESENT + timedelta(minutes=2))
    assert rules.token_life(ending, PRESENT) == timedelta(minutes=2)


@pytest.mark.parametrize("scope", sorted(rules.STAFF_ONLY))
def test_what_acts_for_the_enterprise_is_not_given_to_a_partner(scope: str) -> None:
    refusal = rules.grantable([scope], UUID(int=1))
    assert refusal is not None
    assert refusal.code == "scope-reserved"
    assert rules.grantable([scope], None) is None


def test_unknown_scopes_are_refused() -> None:
    refusal = rules.grantable(["orders:read", "orders:burn"], None)
    assert refusal is not None
    assert refusal.code == "unknown-scope"
