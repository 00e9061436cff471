"""Clients, secrets and tokens over HTTP on a real database; every forged token is refused."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from channel_events.envelope import Event
from channel_kit import auth
from channel_kit.clock import now
from channel_kit.database import OWNER, STAFF, WORKER, Database
from channel_kit.service import Runtime
from channel_kit.settings import ServiceSettings
from channel_kit.vault import Vault
from partner_svc import service
from partner_svc.key import actions as key

Connect = Callable[..., httpx.AsyncClient]
Announced = Callable[[], Awaitable[list[Event[Any]]]]
MakePartner = Callable[..., Awaitable[UUID]]


async def register(admin: httpx.AsyncClient, *scopes: str, **more: Any) -> tuple[str, str]:
    """A new client's identifier and secret."""
    answer = await admin.post("/v1/clients", json={"name": "till", "scopes": list(scopes)} | more)
    assert answer.status_code == 201, answer.text
    return answer.json()["client_id"], answer.json()["client_secret"]


async def ask(caller: httpx.AsyncClient, client_id: str, secret: str, **more: str) -> httpx.Response:
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret} | more
    return await caller.post("/v1/tokens", data=form)


def claims(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    read: dict[str, Any] = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})
    return read


async def test_a_secret_becomes_a_token_that_opens_doors(admin: httpx.AsyncClient, connect: Connect) -> None:
    client_id, secret = await register(admin, "partners:read", "stock:read")
    assert secret.startswith("qd_")
    assert len(base64.urlsafe_b64decode(secret.removeprefix("qd_") + "=")) == 32
    answer = await ask(connect(), client_id, secret)
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


async def test_a_token_may_hold_less_but_never_more(admin: httpx.AsyncClient, connect: Connect) -> None:
    client_id, secret = await register(admin, "partners:read", "stock:read")
    assert claims(await ask(connect(), client_id, secret, scope="stock:read"))["scope"] == "stock:read"
    more = await ask(connect(), client_id, secret, scope="stock:read admin")
    assert (more.status_code, more.json()["code"], more.json()["error"]) == (
        400,
        "invalid-scope",
        "invalid_scope",
    )


async def test_whatever_is_wrong_the_answer_is_the_same(admin: httpx.AsyncClient, connect: Connect) -> None:
    client_id, secret = await register(admin, "partners:read")
    revoked, its_secret = await register(admin, "partners:read")
    await admin.post(f"/v1/clients/{revoked}/revoke")
    grant = {"grant_type": "client_credentials"}
    anybody = connect()
    answers = [
        await ask(anybody, client_id, "wrong"),
        await ask(anybody, client_id, secret + "x"),
        await ask(anybody, "client-unknown", secret),
        await ask(anybody, "\u6e20\u9053", secret),
        await ask(anybody, revoked, its_secret),
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


async def test_rotation_leaves_two_secrets_and_then_one(admin: httpx.AsyncClient, connect: Connect) -> None:
    client_id, first = await register(admin, "partners:read")
    path = f"/v1/clients/{client_id}/secrets"
    second = (await admin.post(path, json={})).json()["client_secret"]
    assert [(await ask(connect(), client_id, each)).status_code for each in (first, second)] == [200, 200]
    third = (await admin.post(path, json={"grace_seconds": 60})).json()["client_secret"]
    answers = [(await ask(connect(), client_id, each)).status_code for each in (first, second, third)]
    assert answers == [401, 200, 200]
    fourth = (await admin.post(path, json={"grace_seconds": 0})).json()["client_secret"]
    answers = [(await ask(connect(), client_id, each)).status_code for each in (second, third, fourth)]
    assert answers == [401, 401, 200]
    assert (await admin.post(path, json={"grace_seconds": 8 * 86_400})).status_code == 422


async def test_a_grace_ends_by_itself(admin: httpx.AsyncClient, connect: Connect) -> None:
    client_id, first = await register(admin, "partners:read")
    await admin.post(f"/v1/clients/{client_id}/secrets", json={"grace_seconds": 1})
    assert (await ask(connect(), client_id, first)).status_code == 200
    await asyncio.sleep(1.1)
    assert (await ask(connect(), client_id, first)).status_code == 401


async def test_revocation_is_for_ever(admin: httpx.AsyncClient, connect: Connect) -> None:
    client_id, secret = await register(admin, "partners:read")
    answer = await admin.post(f"/v1/clients/{client_id}/revoke")
    assert (answer.status_code, answer.json()["secrets"]) == (200, [])
    assert (await ask(connect(), client_id, secret)).status_code == 401
    again = await admin.post(f"/v1/clients/{client_id}/revoke")
    assert again.json() == answer.json()
    rotated = await admin.post(f"/v1/clients/{client_id}/secrets", json={})
    assert (rotated.status_code, rotated.json()["code"]) == (409, "client-revoked")
    assert (await admin.post("/v1/clients/nobody/revoke")).status_code == 404


async def test_a_client_and_its_tokens_end_together(admin: httpx.AsyncClient, connect: Connect) -> None:
    soon = (now() + timedelta(seconds=100)).strftime("%Y-%m-%dT%H:%M:%SZ")
    client_id, secret = await register(admin, "partners:read", expires_at=soon)
    assert 0 < (await ask(connect(), client_id, secret)).json()["expires_in"] <= 100
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
    admin: httpx.AsyncClient, connect: Connect, make_partner: MakePartner
) -> None:
    partner_id = await make_partner("A")
    client_id, secret = await register(admin, "partners:read", partner_id=str(partner_id))
    answer = await ask(connect(), client_id, secret)
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


# -- forged tokens ---------------------------------------------------------------------------------------------


async def _true_key(database: Database) -> key.Signing:
    async with database.read(STAFF) as tx:
        return await key.signing(
            tx, Vault(ServiceSettings.model_validate({"secret_key": service_key()}).secret_key)
        )


def service_key() -> str:
    return "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


def segment(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


FORGERIES = (
    "alg-none", "alg-none-signed", "hs256-with-public-key", "foreign-key", "unknown-kid", "kid-traversal", "kid-url",
    "kid-missing", "kid-number", "embedded-jwk", "jku", "wrong-audience", "wrong-issuer", "audience-missing",
    "expired", "not-yet-valid", "issued-in-future", "life-too-long", "no-expiry", "expiry-text", "no-subject", "partner-empty",
    "payload-changed", "signature-cut", "two-segments", "not-base64", "garbage", "huge",
)  # fmt: skip


def forge(kind: str, signing: key.Signing, public_jwk: dict[str, str]) -> str:
    """A token that differs from a good one in one respect."""
    present = int(time.time())
    body: dict[str, Any] = {
        "iss": auth.ISSUER,
        "aud": auth.AUDIENCE,
        "sub": "x",
        "scope": "admin partners:read",
    }
    body |= {"iat": present, "nbf": present, "exp": present + 600}
    head: dict[str, Any] = {"kid": signing.kid}
    private: Any = auth.private_key(signing.pem)
    match kind:
        case "good":
            pass
        case "alg-none" | "alg-none-signed":
            unsigned = f"{segment({'alg': 'none', 'typ': 'JWT'} | head)}.{segment(body)}."
            return unsigned + ("c2ln" if kind == "alg-none-signed" else "")
        case "hs256-with-public-key":
            content = f"{segment({'alg': 'HS256', 'typ': 'JWT'} | head)}.{segment(body)}"
            mac = hmac.new(
                base64.urlsafe_b64decode(public_jwk["x"] + "="), content.encode(), "sha256"
            ).digest()
            return f"{content}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
        case "foreign-key":
            private = Ed25519PrivateKey.generate()
        case "unknown-kid":
            head["kid"] = "k-unknown"
        case "kid-traversal":
            head["kid"] = "../../../../dev/null"
        case "kid-url":
            head["kid"] = "https://evil.example/key"
        case "kid-missing":
            head = {}
        case "kid-number":
            raw = f"{segment({'alg': 'EdDSA', 'typ': 'JWT', 'kid': 7})}.{segment(body)}"
            return f"{raw}.{base64.urlsafe_b64encode(private.sign(raw.encode())).rstrip(b'=').decode()}"
        case "embedded-jwk":
            kid, pem, jwk = auth.new_key()
            head, private = {"kid": kid, "jwk": jwk}, auth.private_key(pem)
        case "jku":
            head["jku"] = "https://evil.example/keys"
        case "wrong-audience":
            body["aud"] = "other"
        case "wrong-issuer":
            body["iss"] = "https://evil.example"
        case "audience-missing":
            del body["aud"]
        case "expired":
            body |= {"iat": present - 700, "nbf": present - 700, "exp": present - 100}
        case "not-yet-valid":
            body["nbf"] = present + 300
        case "issued-in-future":
            body |= {"iat": present + 300, "exp": present + 600}
        case "life-too-long":
            body["exp"] = present + 86_400
        case "no-expiry":
            del body["exp"]
        case "expiry-text":
            body["exp"] = "tomorrow"
        case "no-subject":
            del body["sub"]
        case "partner-empty":
            body["partner"] = ""
        case "garbage":
            return "\u00ff".encode("latin-1").decode("latin-1")
        case "huge":
            return "a" * 5_000 + ".b.c"
        case "not-base64":
            return "a$.b.c"
    token = jwt.encode(body, private, algorithm="EdDSA", headers=head)
    parts = token.split(".")
    if kind == "payload-changed":
        return f"{parts[0]}.{segment(body | {'scope': 'admin partners:write'})}.{parts[2]}"
    if kind == "signature-cut":
        return token[:-4]
    return ".".join(parts[:2]) if kind == "two-segments" else token


@pytest.mark.parametrize("kind", FORGERIES)
async def test_a_forged_token_opens_nothing(kind: str, database: Database, connect: Connect) -> None:
    signing = await _true_key(database)
    public = (await connect().get("/v1/keys")).json()["keys"][0]
    token = forge(kind, signing, public).encode("latin-1")
    answer = await connect().get("/v1/partners", headers={b"Authorization": b"Bearer " + token})
    assert answer.status_code == 401, answer.text
    assert answer.json()["code"] in {"token-invalid", "token-expired"}
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_the_forger_can_make_a_good_token(database: Database, connect: Connect) -> None:
    """Without this, every forgery above might be refused for a reason nobody meant."""
    token = forge("good", await _true_key(database), {})
    assert (await connect(token=token).get("/v1/partners")).status_code == 200


async def test_no_token_and_two_tokens_open_nothing(connect: Connect) -> None:
    nothing = await connect().get("/v1/partners")
    assert (nothing.status_code, nothing.json()["code"]) == (401, "token-missing")
    two = [("Authorization", "Bearer a.b.c"), ("Authorization", "Bearer a.b.c")]
    assert (await connect().get("/v1/partners", headers=two)).status_code == 401


# -- keys ------------------------------------------------------------------------------------------------------


async def test_many_workers_make_one_key(database: Database, announced: Announced, connect: Connect) -> None:
    vault = Vault(ServiceSettings.model_validate({"secret_key": service_key()}).secret_key)

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
    database: Database, connect: Connect, admin: httpx.AsyncClient
) -> None:
    client_id, secret = await register(admin, "partners:read")
    old = (await ask(connect(), client_id, secret)).json()["access_token"]
    vault = Vault(ServiceSettings.model_validate({"secret_key": service_key()}).secret_key)
    async with database.write(OWNER) as tx:  # as if the key were 31 days old
        for table in ("signing_secret", "signing_key"):
            await tx.execute(f"update {table} set not_before = not_before - interval '31 days'")  # noqa: S608
    async with database.write(WORKER) as tx:
        assert await key.make_due(tx, vault) == 1
    assert len((await connect().get("/v1/keys")).json()["keys"]) == 2
    early = (await ask(connect(), client_id, secret)).json()["access_token"]
    async with database.write(OWNER) as tx:  # as if the lead were over
        for table in ("signing_secret", "signing_key"):
            await tx.execute(
                f"update {table} set not_before = now() - interval '1 second' where not_before > now()"  # noqa: S608
            )
    new = (await ask(connect(), client_id, secret)).json()["access_token"]
    kids = [jwt.get_unverified_header(token)["kid"] for token in (old, early, new)]
    assert kids[0] == kids[1] != kids[2]
    await asyncio.sleep(auth.RELOAD_SECONDS_MIN + 0.1)
    assert [(await connect(token=token).get("/v1/partners")).status_code for token in (old, early, new)] == [
        200
    ] * 3


async def test_another_secret_key_makes_a_new_signing_key(database: Database, connect: Connect) -> None:
    other = Vault(
        ServiceSettings.model_validate({"secret_key": base64.b64encode(b"x" * 32).decode()}).secret_key
    )
    async with database.write(WORKER) as tx:
        assert await key.make_due(tx, other) == 1
        assert await key.make_due(tx, other) == 0
        signing = await key.signing(tx, other)
    assert signing.kid != (await _true_key(database)).kid


@pytest.mark.parametrize("secret_key", [None, "short"])
def test_a_deployment_without_a_usable_secret_key_does_not_start(
    secret_key: str | None, migrated: Database
) -> None:
    runtime = Runtime(ServiceSettings.model_validate({"secret_key": secret_key}), migrated)
    for build in (service.SERVICE.app, service.SERVICE.worker):
        with pytest.raises(ValueError, match="QUDAO_SECRET_KEY"):
            build(runtime)


# -- the first credential --------------------------------------------------------------------------------------


async def first(database: Database, client_id: str, secret: str) -> None:
    settings = ServiceSettings.model_validate({"admin_client_id": client_id, "admin_client_secret": secret})
    await service.SERVICE.after_migrate(Runtime(settings, database))


async def test_the_first_client_comes_from_the_environment(database: Database, connect: Connect) -> None:
    await first(database, "root", "s" * 43)
    answer = await ask(connect(), "root", "s" * 43)
    assert claims(answer)["scope"].split()[0] == "admin"
    admin = connect(token=answer.json()["access_token"])
    before = (await admin.get("/v1/clients/root")).json()
    await first(database, "root", "s" * 43)
    assert (await admin.get("/v1/clients/root")).json() == before
    await first(database, "root", "t" * 43)
    assert [(await ask(connect(), "root", each * 43)).status_code for each in "st"] == [401, 200]


async def test_the_first_client_comes_back_after_a_revocation(
    database: Database, connect: Connect, admin: httpx.AsyncClient
) -> None:
    await first(database, "root", "s" * 43)
    await admin.post("/v1/clients/root/revoke")
    assert (await ask(connect(), "root", "s" * 43)).status_code == 401
    await first(database, "root", "s" * 43)
    assert (await ask(connect(), "root", "s" * 43)).status_code == 200


@pytest.mark.parametrize(
    ("client_id", "secret"), [("root", "short"), ("", "s" * 43), ("a:b", "s" * 43), ("a b", "s" * 43)]
)
async def test_a_weak_first_credential_is_refused(database: Database, client_id: str, secret: str) -> None:
    with pytest.raises(ValueError, match="QUDAO_ADMIN_CLIENT"):
        await first(database, client_id, secret)
