"""What an operator sees and asks, who may ask it, and the trace each deed leaves."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from channel_events.envelope import Event
from channel_kit import outbox, parking, positions
from channel_kit.admin import standard_routers
from channel_kit.auth import Key, KeyRing, new_key, public_key, sign
from channel_kit.clock import now
from channel_kit.database import WORKER, Database, Write
from channel_kit.http import create_app
from channel_kit.poll import Poll
from channel_kit.service import Runtime
from channel_kit.testing.events import announcement, partner_event, records
from channel_kit.upkeep import standard_loops

KID, PEM, JWK = new_key()
Client = httpx.AsyncClient
ROUTES: list[tuple[str, str, dict[str, str] | None]] = [
    ("GET", "/v1/admin/status", None),
    ("GET", "/v1/admin/parked", None),
    ("POST", "/v1/admin/parked/redrive", {}),
    ("POST", "/v1/admin/feeds/test.partner/replay", None),
    ("POST", "/v1/admin/outbox/republish", {}),
]


def bearer(*scopes: str, partner_id: UUID | None = None) -> dict[str, str]:
    token = sign(PEM, KID, subject="ops-1", scopes=scopes, partner_id=partner_id)
    return {"authorization": f"Bearer {token}"}


async def keys() -> Sequence[Key]:
    moment = now()
    return [Key(KID, public_key(JWK), moment.replace(year=2020), moment.replace(year=2090))]


@pytest.fixture
async def client(kit_database: Database) -> AsyncIterator[Client]:
    app = create_app(title="kit", routers=standard_routers())
    app.state.database, app.state.key_ring = kit_database, KeyRing(keys)
    transport = httpx.ASGITransport(app)
    async with Client(transport=transport, base_url="http://kit", headers=bearer("admin")) as client:
        yield client


@pytest.fixture
async def parked(kit_database: Database) -> list[UUID]:
    """Five aggregates whose second version failed and whose third waits, read by one consumer."""
    ids = sorted(uuid4() for _ in range(5))

    async def handle(tx: Write, events: Sequence[Event[Any]]) -> None:
        if any(event.aggregateversion == 2 for event in events):
            raise LookupError("broken")

    async def position(tx: Write) -> None:
        await positions.save(tx, "test.partner", "c", {("channel.partner", n): 9 for n in range(3)})

    events = [partner_event(a, version) for a in ids for version in (1, 2, 3)]
    await Poll("test.partner", handle).settle(kit_database, records(events), position)
    return ids


async def deeds(database: Database) -> list[tuple[str, str, Any]]:
    async with database.read(WORKER) as tx:
        rows = await tx.rows("select subject, action, detail from operator_action order by action_id")
    return [(row.subject, row.action, row.detail) for row in rows]


async def test_the_status_says_what_waits_and_who_moves(
    client: Client, kit_database: Database, parked: list[UUID]
) -> None:
    async with kit_database.write(WORKER) as tx:
        await outbox.announce(tx, [announcement(uuid4(), 1) for _ in range(3)])
    status = (await client.get("/v1/admin/status")).raise_for_status().json()
    assert status["service"] == "kit"
    assert status["outbox"]["pending"] == 3
    assert [(each["consumer"], each["reason"], each["count"]) for each in status["parked"]] == [
        ("test.partner", "failed", 5),
        ("test.partner", "gap", 5),
    ]
    assert [(each["partition"], each["next_offset"], each["replay"]) for each in status["positions"]] == [
        (n, 9, False) for n in range(3)
    ]


async def test_parked_events_come_in_pages(client: Client, parked: list[UUID]) -> None:
    found, cursor = [], None
    for _ in range(10):
        query = {"limit": "3", **({"cursor": cursor} if cursor else {})}
        page = (await client.get("/v1/admin/parked", params=query)).raise_for_status().json()
        found += [(item["aggregate_id"], item["version"], item["reason"]) for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == [(str(a), v, reason) for a in parked for v, reason in ((2, "failed"), (3, "gap"))]


async def test_parked_events_can_be_filtered(client: Client, parked: list[UUID]) -> None:
    async def versions(**query: str) -> list[int]:
        page = (await client.get("/v1/admin/parked", params=query)).raise_for_status().json()
        return [item["version"] for item in page["items"]]

    assert await versions(reason="failed") == [2] * 5
    assert await versions(consumer="test.partner", reason="gap") == [3] * 5
    assert await versions(consumer="another") == []
    item = (await client.get("/v1/admin/parked", params={"reason": "failed"})).json()["items"][0]
    assert item["error"] == "LookupError: broken"


async def test_a_redrive_is_asked_for_and_written_down(
    client: Client, kit_database: Database, parked: list[UUID]
) -> None:
    nobody = await client.post("/v1/admin/parked/redrive", json={"consumer": "another"})
    assert nobody.json() == {"events": 0}
    assert (await client.post("/v1/admin/parked/redrive", json={})).json() == {"events": 5}
    async with kit_database.read(WORKER) as tx:
        assert sorted(key.aggregate_id for key in await parking.to_redrive(tx, "test.partner")) == parked
    assert await deeds(kit_database) == [
        ("ops-1", "redrive", {"consumer": "another", "events": 0}),
        ("ops-1", "redrive", {"consumer": None, "events": 5}),
    ]


async def test_a_replay_is_asked_for_and_written_down(
    client: Client, kit_database: Database, parked: list[UUID]
) -> None:
    assert (await client.post("/v1/admin/feeds/test.partner/replay")).json() == {"partitions": 3}
    async with kit_database.read(WORKER) as tx:
        assert len(await positions.to_replay(tx, "test.partner")) == 3
    assert await deeds(kit_database) == [("ops-1", "replay", {"consumer": "test.partner", "partitions": 3})]


async def test_a_replay_of_nobody_is_refused_and_leaves_no_trace(
    client: Client, kit_database: Database
) -> None:
    answer = await client.post("/v1/admin/feeds/nobody/replay")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown-consumer")
    assert (await client.post("/v1/admin/feeds/Not%20a%20name/replay")).status_code == 422
    assert await deeds(kit_database) == []


async def test_republishing_is_asked_for_and_written_down(client: Client, kit_database: Database) -> None:
    async with kit_database.write(WORKER) as tx:
        await outbox.announce(tx, [announcement(uuid4(), 1) for _ in range(4)])
        await tx.execute("delete from outbox_pending")
    answer = await client.post("/v1/admin/outbox/republish", json={"topic": "channel.partner", "after_id": 1})
    assert answer.json() == {"events": 3, "last_id": 4}
    assert (await client.post("/v1/admin/outbox/republish", json={"after_id": 4})).json()["last_id"] is None
    unknown = await client.post("/v1/admin/outbox/republish", json={"topic": "channel.parnter"})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown-topic")
    assert [(action, detail["events"]) for _, action, detail in await deeds(kit_database)] == [
        ("republish", 3),
        ("republish", 0),
    ]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
async def test_only_staff_administrators_are_let_in(
    client: Client, kit_database: Database, method: str, path: str, body: Any
) -> None:
    async def status(headers: dict[str, str]) -> tuple[int, str]:
        answer = await client.request(method, path, json=body, headers=headers)
        return answer.status_code, answer.json().get("code", "")

    assert await status({"authorization": ""}) == (401, "token-invalid")
    assert await status(bearer("orders:read", "orders:write")) == (403, "scope-missing")
    assert await status(bearer("admin", partner_id=uuid4())) == (403, "staff-only")
    assert await deeds(kit_database) == []


async def test_every_worker_has_the_relay_and_the_upkeep(kit_database: Database) -> None:
    runtime = Runtime(kit_database.settings, kit_database)
    assert [loop.name for loop in standard_loops(runtime)] == [
        "relay",
        "outbox-gauges",
        "idempotency-purge",
        "outbox-prune",
    ]
    poor = Runtime(kit_database.settings.model_copy(update={"owner_database_url": None}), kit_database)
    assert "outbox-prune" not in [loop.name for loop in standard_loops(poor)]
