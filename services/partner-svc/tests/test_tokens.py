"""Clients, secrets and tokens over HTTP on a real database."""

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest

from channel_kit.clock import now
from channel_kit.database import OWNER, Database

Connect = Callable[..., httpx.AsyncClient]
Ask = Callable[..., Awaitable[httpx.Response]]
MakePartner = Callable[..., Awaitable[UUID]]


async def register(admin: httpx.AsyncClient, *scopes: str, **more: Any) -> tuple[str, str]:
    """A new client's identifier and secret."""
    answer = await admin.post("/v1/clients", json={"name": "till", "scopes": list(scopes)} | more)
    assert answer.status_code == 201, answer.text
    return answer.json()["client_id"], answer.json()["client_secret"]


def claims(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    read: dict[str, Any] = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})
    return read


async def test_a_secret_becomes_a_token_that_opens_doors(
    admin: httpx.AsyncClient, connect: Connect, ask: Ask
) -> None:
    client_id, secret = await register(admin, "partners:read", "stock:read")
    assert secret.startswith("qd_")
    assert len(base64.urlsafe_b64decode(secret.removeprefix("qd_") + "=")) == 32
    answer = await ask(client_id, secret)
    assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("Bearer", 900)
    assert answer.headers["cache-control"] == "no-store"
    read = claims(answer)
    assert (read["sub"], read["scope"], read["exp"] - read["iat"]) == (
        client_id,
        "partners:read stock:read",
        900,
    )
    caller = connect(token=answer.json()["access_token"])
    assert (await caller.get("/v1/partners")).status_code == 200
    assert (await caller.get("/v1/clients")).status_code == 403


async def test_form_json_and_basic_are_three_ways_to_ask(admin: httpx.AsyncClient, connect: Connect) -> None:
    client_id, secret = await register(admin, "partners:read")
    grant = {"grant_type": "client_credentials"}
    pair = {"client_id": client_id, "client_secret": secret}
    anybody = connect()
    for answer in (
        await anybody.post("/v1/tokens", data=grant | pair),
        await anybody.post("/v1/tokens", json=grant | pair),
        await anybody.post("/v1/tokens", data=grant, auth=(client_id, secret)),
        await anybody.post("/v1/tokens", json=grant, auth=(client_id, secret)),
    ):
        assert claims(answer)["sub"] == client_id


async def test_a_token_may_hold_less_but_never_more(admin: httpx.AsyncClient, ask: Ask) -> None:
    client_id, secret = await register(admin, "partners:read", "stock:read")
    assert claims(await ask(client_id, secret, scope="stock:read"))["scope"] == "stock:read"
    more = await ask(client_id, secret, scope="stock:read admin")
    assert (more.status_code, more.json()["code"], more.json()["error"]) == (
        400,
        "invalid-scope",
        "invalid_scope",
    )


async def test_whatever_is_wrong_the_answer_is_the_same(
    admin: httpx.AsyncClient, connect: Connect, ask: Ask
) -> None:
    client_id, secret = await register(admin, "partners:read")
    revoked, its_secret = await register(admin, "partners:read")
    await admin.post(f"/v1/clients/{revoked}/revoke")
    grant = {"grant_type": "client_credentials"}
    anybody = connect()
    answers = [
        await ask(client_id, "wrong"),
        await ask(client_id, secret + "x"),
        await ask("client-unknown", secret),
        await ask("\u6e20\u9053", secret),
        await ask(revoked, its_secret),
        await anybody.post("/v1/tokens", data=grant),
        await anybody.post("/v1/tokens", data=grant, auth=(client_id, "")),
        await anybody.post("/v1/tokens", data=grant, headers={"Authorization": "Basic !!!"}),
        await anybody.post(
            "/v1/tokens",
            data=grant,
            headers={"Authorization": "Basic " + base64.b64encode(b"\0:\xff").decode()},
        ),
        await anybody.post("/v1/tokens", data=grant, headers={"Authorization": f"Bearer {secret}"}),
    ]
    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
    assert (answers[0].json()["code"], answers[0].json()["error"]) == ("invalid-client", "invalid_client")
    assert answers[0].headers["www-authenticate"] == 'Basic realm="qudao"'


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"grant_type=password&client_id=a&client_secret=b", "application/x-www-form-urlencoded", 400),
        (b"grant_type=client_credentials&grant_type=x", "application/x-www-form-urlencoded", 400),
        (b"client_id=a&client_secret=b", "application/x-www-form-urlencoded", 400),
        (b"", "application/x-www-form-urlencoded", 400),
        (b"=&&&;", "application/x-www-form-urlencoded", 400),
        (b"grant_type=%ff", "application/x-www-form-urlencoded", 400),
        (
            b"grant_type=client_credentials&client_id=%00&client_secret=b",
            "application/x-www-form-urlencoded",
            400,
        ),
        (b"a=1&" * 5_000, "application/x-www-form-urlencoded", 413),
        (b"&".join(b"a%d=1" % n for n in range(100)), "application/x-www-form-urlencoded", 400),
        (b'{"grant_type":"client_credentials","client_id":7}', "application/json", 422),
        (b'{"grant_type":"client_credentials","role":"admin"}', "application/json", 422),
        (b'{"grant_type":', "application/json", 400),
        (b"grant_type=client_credentials", "text/plain", 415),
    ],
)
async def test_a_bad_token_request_is_the_senders_fault(
    connect: Connect, content: bytes, kind: str, status: int
) -> None:
    answer = await connect().post("/v1/tokens", content=content, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_secret_is_shown_in_one_place(admin: httpx.AsyncClient, connect: Connect) -> None:
    client_id, secret = await register(admin, "partners:read")
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    twice = await connect().post("/v1/tokens", data=form, auth=(client_id, secret))
    assert (twice.status_code, twice.json()["code"]) == (400, "invalid-token-request")
    del form["client_secret"]
    other = await connect().post("/v1/tokens", data=form | {"client_id": "other"}, auth=(client_id, secret))
    assert other.status_code == 400


async def test_rotation_leaves_two_secrets_and_then_one(admin: httpx.AsyncClient, ask: Ask) -> None:
    client_id, first = await register(admin, "partners:read")
    path = f"/v1/clients/{client_id}/secrets"
    second = (await admin.post(path, json={})).json()["client_secret"]
    assert [(await ask(client_id, each)).status_code for each in (first, second)] == [200, 200]
    third = (await admin.post(path, json={"grace_seconds": 60})).json()["client_secret"]
    answers = [(await ask(client_id, each)).status_code for each in (first, second, third)]
    assert answers == [401, 200, 200]
    fourth = (await admin.post(path, json={"grace_seconds": 0})).json()["client_secret"]
    answers = [(await ask(client_id, each)).status_code for each in (second, third, fourth)]
    assert answers == [401, 401, 200]
    assert (await admin.post(path, json={"grace_seconds": 8 * 86_400})).status_code == 422


async def test_a_grace_ends_by_itself(admin: httpx.AsyncClient, ask: Ask) -> None:
    client_id, first = await register(admin, "partners:read")
    await admin.post(f"/v1/clients/{client_id}/secrets", json={"grace_seconds": 1})
    assert (await ask(client_id, first)).status_code == 200
    await asyncio.sleep(1.1)
    assert (await ask(client_id, first)).status_code == 401


async def test_revocation_is_for_ever(admin: httpx.AsyncClient, ask: Ask) -> None:
    client_id, secret = await register(admin, "partners:read")
    answer = await admin.post(f"/v1/clients/{client_id}/revoke")
    assert (answer.status_code, answer.json()["secrets"]) == (200, [])
    assert (await ask(client_id, secret)).status_code == 401
    again = await admin.post(f"/v1/clients/{client_id}/revoke")
    assert again.json() == answer.json()
    rotated = await admin.post(f"/v1/clients/{client_id}/secrets", json={})
    assert (rotated.status_code, rotated.json()["code"]) == (409, "client-revoked")
    assert (await admin.post("/v1/clients/nobody/revoke")).status_code == 404


async def test_a_client_and_its_tokens_end_together(admin: httpx.AsyncClient, ask: Ask) -> None:
    soon = (now() + timedelta(seconds=100)).strftime("%Y-%m-%dT%H:%M:%SZ")
    client_id, secret = await register(admin, "partners:read", expires_at=soon)
    assert 0 < (await ask(client_id, secret)).json()["expires_in"] <= 100
    late = await admin.post(
        "/v1/clients", json={"name": "x", "scopes": ["admin"], "expires_at": "2020-01-01T00:00:00Z"}
    )
    assert (late.status_code, late.json()["code"]) == (422, "expiry-passed")


async def test_nothing_stored_can_be_used(admin: httpx.AsyncClient, database: Database) -> None:
    body = {"name": "till", "scopes": ["partners:read"]}
    repeated = {"Idempotency-Key": uuid4().hex}
    first = await admin.post("/v1/clients", json=body, headers=repeated)
    secret = first.json()["client_secret"]
    again = await admin.post("/v1/clients", json=body, headers=repeated)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
    assert again.json() == first.json() | {"client_secret": None}
    async with database.read(OWNER) as tx:
        names = [
            row[0]
            for row in await tx.rows("select tablename::text from pg_tables where schemaname = 'public'")
        ]
        dump = " ".join([str(await tx.value(f"select json_agg(t)::text from {name} t")) for name in names])  # noqa: S608
    assert "signing_secret" in names
    assert first.json()["client_id"] in dump
    assert secret not in dump
    assert "PRIVATE KEY" not in dump
    assert hashlib.sha256(secret.encode()).hexdigest() in dump


async def test_only_an_admin_manages_clients(connect: Connect, make_partner: MakePartner) -> None:
    body = {"name": "x", "scopes": ["admin"]}
    for caller in (connect("partners:write"), connect("admin", partner_id=await make_partner("A"))):
        assert (await caller.post("/v1/clients", json=body)).status_code == 403
        assert (await caller.get("/v1/clients")).status_code == 403
        assert (await caller.get("/v1/clients/x")).status_code == 403
        assert (await caller.post("/v1/clients/x/secrets", json={})).status_code == 403
        assert (await caller.post("/v1/clients/x/revoke")).status_code == 403


async def test_a_partners_client_is_bound_to_it(
    admin: httpx.AsyncClient,
    connect: Connect,
    make_partner: MakePartner,
    ask: Ask,
) -> None:
    partner_id = await make_partner("A")
    client_id, secret = await register(admin, "partners:read", partner_id=str(partner_id))
    answer = await ask(client_id, secret)
    assert claims(answer)["partner"] == str(partner_id)
    seen = (await connect(token=answer.json()["access_token"]).get("/v1/partners")).json()["items"]
    assert [each["code"] for each in seen] == ["A"]
    body = {"name": "x", "scopes": ["partners:write"], "partner_id": str(partner_id)}
    assert (await admin.post("/v1/clients", json=body)).json()["code"] == "scope-reserved"
    body = {"name": "x", "scopes": ["stock:read"], "partner_id": str(uuid4())}
    assert (await admin.post("/v1/clients", json=body)).json()["code"] == "unknown-partner"


async def test_clients_are_listed_without_secrets(admin: httpx.AsyncClient) -> None:
    made = {(await register(admin, "stock:read"))[0] for _ in range(3)}
    page = (await admin.get("/v1/clients", params={"limit": 2})).json()
    rest = (await admin.get("/v1/clients", params={"cursor": page["next_cursor"]})).json()
    items = page["items"] + rest["items"]
    assert {each["client_id"] for each in items} == made
    assert all(
        "client_secret" not in each and set(each["secrets"][0]) == {"created_at", "expires_at"}
        for each in items
    )
    one = (await admin.get(f"/v1/clients/{items[0]['client_id']}")).json()
    assert one == items[0]
