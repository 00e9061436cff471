"""A fresh partner service per test: its database, its application in-process, and callers of several kinds."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from channel_events.catalog import decode
from channel_events.envelope import Event
from channel_kit import auth
from channel_kit.clock import now
from channel_kit.database import OWNER, STAFF, WORKER, Database
from channel_kit.service import Runtime, Service
from channel_kit.settings import ServiceSettings
from channel_kit.vault import Vault
from partner_svc import app
from partner_svc.key import actions as key
from partner_svc.service import SERVICE

SECRET_KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="  # 32 bytes; tests only

# Children first. Deleting a few rows is far quicker than a database per test, or truncation.
EVERY_TABLE = (
    *("client_secret", "client", "signing_secret", "signing_key", "contract_version", "contract"),
    *("binding", "shop", "partner_transition", "partner", "outbox_pending", "outbox", "idempotency"),
)

Connect = Callable[..., httpx.AsyncClient]
Announced = Callable[[], Awaitable[list[Event[Any]]]]


@pytest.fixture(scope="session")
async def migrated(service_database: Callable[[Service], Awaitable[Database]]) -> Database:
    """The service's own database, for the whole run."""
    return await service_database(SERVICE)


@pytest.fixture
async def database(migrated: Database, vault: Vault) -> Database:
    """The database, emptied, with one signing key."""
    async with migrated.write(OWNER) as tx:
        for table in EVERY_TABLE:
            await tx.execute(f"delete from {table}")  # noqa: S608  from the list above
    async with migrated.write(WORKER) as tx:
        assert await key.make_due(tx, vault) == 1
    return migrated


def settings() -> ServiceSettings:
    return ServiceSettings.model_validate({"secret_key": SECRET_KEY})


@pytest.fixture
async def connect(database: Database, signing: key.Signing) -> AsyncIterator[Connect]:
    """Call it for an HTTP client: without arguments anonymous, else with a token of these scopes and partner."""
    application = app.build(Runtime(settings(), database))
    opened: list[httpx.AsyncClient] = []

    async def add_key(request: httpx.Request) -> None:
        request.headers.setdefault("Idempotency-Key", uuid4().hex)

    def make(*scopes: str, partner_id: UUID | None = None, token: str | None = None) -> httpx.AsyncClient:
        if scopes:
            token = auth.sign(
                signing.pem,
                signing.kid,
                subject=f"tests-{partner_id or 'staff'}",
                scopes=scopes,
                partner_id=partner_id,
                issued_at=now(),
            )
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=application, raise_app_exceptions=False),
            base_url="http://partner",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            event_hooks={"request": [add_key]},
        )
        opened.append(client)
        return client

    yield make
    for client in opened:
        await client.aclose()


@pytest.fixture
def staff(connect: Connect) -> httpx.AsyncClient:
    """A caller of the enterprise who may do everything with partners, and nothing else."""
    return connect("partners:read", "partners:write")


@pytest.fixture
def admin(connect: Connect) -> httpx.AsyncClient:
    return connect("admin")


@pytest.fixture
def announced(database: Database) -> Announced:
    """Call it for every event announced so far, in order, decoded from the text that will be sent."""

    async def read() -> list[Event[Any]]:
        async with database.read(WORKER) as tx:
            return [
                decode(row.payload) for row in await tx.rows("select payload::text from outbox order by id")
            ]

    return read


@pytest.fixture
def make_partner(staff: httpx.AsyncClient) -> Callable[..., Awaitable[UUID]]:
    """Call it with a code for a new partner's id."""

    async def make(code: str, **more: Any) -> UUID:
        body = {"code": code, "name": code, "kind": "distributor"} | more
        answer = await staff.post("/v1/partners", json=body)
        assert answer.status_code == 201, answer.text
        return UUID(answer.json()["partner_id"])

    return make


@pytest.fixture
def vault() -> Vault:
    return Vault(settings().secret_key)


@pytest.fixture
async def signing(database: Database, vault: Vault) -> key.Signing:
    """The key that signs good tokens."""
    async with database.read(STAFF) as tx:
        return await key.signing(tx, vault)


@pytest.fixture
def ask(connect: Connect) -> Callable[..., Awaitable[httpx.Response]]:
    """Call it with a client's identifier, its secret and further form members: a request for a token."""
    anybody = connect()

    async def post(client_id: str, secret: str, **more: str) -> httpx.Response:
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret} | more
        return await anybody.post("/v1/tokens", data=form)

    return post
