"""Signing keys on a real database: one at a time, rotation without a gap, and the deployment's secret key."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import jwt
import pytest

from channel_events.envelope import Event
from channel_kit import auth
from channel_kit.database import OWNER, WORKER, Database
from channel_kit.service import Runtime
from channel_kit.settings import ServiceSettings
from channel_kit.vault import Vault
from partner_svc import service
from partner_svc.key import actions as key

Connect = Callable[..., httpx.AsyncClient]
Ask = Callable[..., Awaitable[httpx.Response]]
Announced = Callable[[], Awaitable[list[Event[Any]]]]


async def register(admin: httpx.AsyncClient, *scopes: str, **more: Any) -> tuple[str, str]:
    """A new client's identifier and secret."""
    answer = await admin.post("/v1/clients", json={"name": "till", "scopes": list(scopes)} | more)
    assert answer.status_code == 201, answer.text
    return answer.json()["client_id"], answer.json()["client_secret"]


async def test_many_workers_make_one_key(
    database: Database, announced: Announced, connect: Connect, vault: Vault
) -> None:
    async def make() -> int:
        async with database.write(WORKER) as tx:
            return await key.make_due(tx, vault)

    async with database.write(OWNER) as tx:
        for table in ("signing_secret", "signing_key", "outbox_pending", "outbox"):
            await tx.execute(f"delete from {table}")  # noqa: S608  from the list above
    assert sum(await asyncio.gather(*(make() for _ in range(5)))) == 1
    (event,) = await announced()
    assert (event.type, event.aggregateversion) == ("channel.partner.signing-key-published.v1", 1)
    (jwk,) = (await connect().get("/v1/keys")).json()["keys"]
    assert event.data.public_jwk == jwk
    assert "d" not in jwk


async def test_tokens_of_the_old_key_are_good_while_the_new_one_takes_over(
    database: Database, connect: Connect, admin: httpx.AsyncClient, ask: Ask, vault: Vault
) -> None:
    client_id, secret = await register(admin, "partners:read")
    old = (await ask(client_id, secret)).json()["access_token"]
    async with database.write(OWNER) as tx:  # as if the key were 31 days old
        for table in ("signing_secret", "signing_key"):
            await tx.execute(f"update {table} set not_before = not_before - interval '31 days'")  # noqa: S608
    async with database.write(WORKER) as tx:
        assert await key.make_due(tx, vault) == 1
    assert len((await connect().get("/v1/keys")).json()["keys"]) == 2
    early = (await ask(client_id, secret)).json()["access_token"]
    async with database.write(OWNER) as tx:  # as if the lead were over
        for table in ("signing_secret", "signing_key"):
            await tx.execute(
                f"update {table} set not_before = now() - interval '1 second' where not_before > now()"  # noqa: S608
            )
    new = (await ask(client_id, secret)).json()["access_token"]
    kids = [jwt.get_unverified_header(token)["kid"] for token in (old, early, new)]
    assert kids[0] == kids[1] != kids[2]
    await asyncio.sleep(auth.RELOAD_SECONDS_MIN + 0.1)
    assert [(await connect(token=token).get("/v1/partners")).status_code for token in (old, early, new)] == [
        200
    ] * 3


async def test_another_secret_key_makes_a_new_signing_key(database: Database, signing: key.Signing) -> None:
    other = Vault(
        ServiceSettings.model_validate({"secret_key": base64.b64encode(b"x" * 32).decode()}).secret_key
    )
    async with database.write(WORKER) as tx:
        assert await key.make_due(tx, other) == 1
        assert await key.make_due(tx, other) == 0
        made = await key.signing(tx, other)
    assert made.kid != signing.kid


@pytest.mark.parametrize("secret_key", [None, "short"])
def test_a_deployment_without_a_usable_secret_key_does_not_start(
    secret_key: str | None, migrated: Database
) -> None:
    runtime = Runtime(ServiceSettings.model_validate({"secret_key": secret_key}), migrated)
    for build in (service.SERVICE.app, service.SERVICE.worker):
        with pytest.raises(ValueError, match="QUDAO_SECRET_KEY"):
            build(runtime)
