"""The first credential: what `migrate` makes of the environment."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import jwt
import pytest

from channel_kit.database import Database
from channel_kit.service import Runtime
from channel_kit.settings import ServiceSettings
from partner_svc import service

Connect = Callable[..., httpx.AsyncClient]
Ask = Callable[..., Awaitable[httpx.Response]]


def claims(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    read: dict[str, Any] = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})
    return read


async def first(database: Database, client_id: str, secret: str) -> None:
    settings = ServiceSettings.model_validate({"admin_client_id": client_id, "admin_client_secret": secret})
    await service.SERVICE.after_migrate(Runtime(settings, database))


async def test_the_first_client_comes_from_the_environment(
    database: Database, connect: Connect, ask: Ask
) -> None:
    await first(database, "root", "s" * 43)
    answer = await ask("root", "s" * 43)
    assert claims(answer)["scope"].split()[0] == "admin"
    admin = connect(token=answer.json()["access_token"])
    before = (await admin.get("/v1/clients/root")).json()
    await first(database, "root", "s" * 43)
    assert (await admin.get("/v1/clients/root")).json() == before
    await first(database, "root", "t" * 43)
    assert [(await ask("root", each * 43)).status_code for each in "st"] == [401, 200]


async def test_the_first_client_comes_back_after_a_revocation(
    database: Database, admin: httpx.AsyncClient, ask: Ask
) -> None:
    await first(database, "root", "s" * 43)
    await admin.post("/v1/clients/root/revoke")
    assert (await ask("root", "s" * 43)).status_code == 401
    await first(database, "root", "s" * 43)
    assert (await ask("root", "s" * 43)).status_code == 200


@pytest.mark.parametrize(
    ("client_id", "secret"), [("root", "short"), ("", "s" * 43), ("a:b", "s" * 43), ("a b", "s" * 43)]
)
async def test_a_weak_first_credential_is_refused(database: Database, client_id: str, secret: str) -> None:
    with pytest.raises(ValueError, match="QUDAO_ADMIN_CLIENT"):
        await first(database, client_id, secret)
