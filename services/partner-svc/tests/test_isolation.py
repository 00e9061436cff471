"""A partner sees itself and nothing else: over HTTP, and in the database when no filter helps."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from asyncpg import PostgresError

from channel_kit.database import OWNER, Actor, Database, sqlstate

Connect = Callable[..., httpx.AsyncClient]
MakePartner = Callable[..., Awaitable[UUID]]


@pytest.fixture
async def two(staff: httpx.AsyncClient, make_partner: MakePartner) -> dict[str, Any]:
    """Two partners; both sold for one shop, and each has a shop and a contract of its own."""
    ids = {code: await make_partner(code) for code in ("A", "B")}
    contracts: dict[str, str] = {}
    for code, partner_id in ids.items():
        for shop, start, end in ((code, "2026-01-01", None), ("both", *SPANS[code])):
            body = {
                "partner_id": str(partner_id),
                "channel": "online",
                "valid_from": f"{start}T00:00:00Z",
                "valid_to": end and f"{end}T00:00:00Z",
            }
            answer = await staff.post(f"/v1/shops/pos/{shop}/bindings", json=body)
            assert answer.status_code == 200, answer.text
        draft = {"valid_from": "2026-01-01T00:00:00Z", "time_zone": "UTC"}
        opened = await staff.post("/v1/contracts", json={"code": code, "partner_id": str(partner_id)} | draft)
        contracts[code] = opened.json()["contract_id"]
        await staff.post(f"/v1/contracts/{contracts[code]}/versions/1/approve")
        later = draft | {"valid_from": "2026-06-01T00:00:00Z"}
        await staff.post(f"/v1/contracts/{contracts[code]}/versions", json=later)
    return {"ids": ids, "contracts": contracts}


SPANS = {"A": ("2026-01-01", "2026-02-01"), "B": ("2026-02-01", "2026-03-01")}


async def test_a_partner_sees_itself_only(connect: Connect, two: dict[str, Any]) -> None:
    mine, foreign = two["ids"]["A"], two["ids"]["B"]
    caller = connect("partners:read", partner_id=mine)
    partners = (await caller.get("/v1/partners")).json()["items"]
    assert [each["code"] for each in partners] == ["A"]
    shops = (await caller.get("/v1/shops")).json()["items"]
    assert [each["shop_id"] for each in shops] == ["A", "both"]
    assert {each["partner_id"] for shop in shops for each in shop["bindings"]} == {str(mine)}
    contracts = (await caller.get("/v1/contracts")).json()["items"]
    assert [(each["code"], len(each["versions"])) for each in contracts] == [
        ("A", 1)
    ]  # the draft is not shown
    for path in ("/v1/shops", "/v1/contracts"):
        assert (await caller.get(path, params={"partner_id": str(foreign)})).json()["items"] == []
    for query in ({"code": "B"}, {"search": "B"}):
        assert (await caller.get("/v1/partners", params=query)).json()["items"] == []


async def test_another_partners_things_look_like_nothing(connect: Connect, two: dict[str, Any]) -> None:
    caller = connect("partners:read", partner_id=two["ids"]["A"])
    for foreign, absent in (
        (f"/v1/partners/{two['ids']['B']}", f"/v1/partners/{uuid4()}"),
        (f"/v1/contracts/{two['contracts']['B']}", f"/v1/contracts/{uuid4()}"),
        ("/v1/shops/pos/B", "/v1/shops/pos/absent"),
    ):
        one, other = await caller.get(foreign), await caller.get(absent)
        assert (one.status_code, one.text) == (404, other.text)
        assert other.status_code == 404


async def test_a_cursor_of_another_gives_nothing_away(
    connect: Connect, staff: httpx.AsyncClient, two: dict[str, Any]
) -> None:
    cursor = (await staff.get("/v1/partners", params={"limit": 1})).json()["next_cursor"]
    caller = connect("partners:read", partner_id=two["ids"]["A"])
    assert (await caller.get("/v1/partners", params={"cursor": cursor})).json()["items"] == []


async def test_a_contract_without_an_approved_version_is_not_there_for_its_partner(
    connect: Connect, staff: httpx.AsyncClient, two: dict[str, Any]
) -> None:
    mine = two["ids"]["A"]
    draft = {"code": "new", "partner_id": str(mine), "valid_from": "2026-01-01T00:00:00Z", "time_zone": "UTC"}
    made = (await staff.post("/v1/contracts", json=draft)).json()
    caller = connect("partners:read", partner_id=mine)
    assert (await caller.get(f"/v1/contracts/{made['contract_id']}")).status_code == 404
    assert [each["code"] for each in (await caller.get("/v1/contracts")).json()["items"]] == ["A"]


async def test_a_partner_changes_nothing_whatever_its_token_says(
    connect: Connect, two: dict[str, Any]
) -> None:
    mine = two["ids"]["A"]
    caller = connect("partners:read", "partners:write", "admin", partner_id=mine)
    moment = "2026-01-01T00:00:00Z"
    draft = {"valid_from": moment, "time_zone": "UTC"}
    bind = {"partner_id": str(mine), "channel": "x", "valid_from": moment}
    csv = {"Content-Type": "text/csv"}
    contract = f"/v1/contracts/{two['contracts']['A']}/versions"
    answers = [
        await caller.post("/v1/partners", json={"code": "C", "name": "C", "kind": "store"}),
        await caller.patch(f"/v1/partners/{mine}", json={"name": "Me"}, headers={"If-Match": '"1"'}),
        await caller.post("/v1/partners/import", content=b"code,name,kind\nC,C,store\n", headers=csv),
        await caller.post("/v1/shops/pos/new/bindings", json=bind),
        await caller.post("/v1/shops/pos/A/bindings/close", json={"valid_to": moment}),
        await caller.post(
            "/v1/shops/import",
            content=b"platform,shop_id,partner_code,channel,valid_from\npos,x,A,x,2026-01-01\n",
            headers=csv,
        ),
        await caller.post("/v1/contracts", json={"code": "C", "partner_id": str(mine)} | draft),
        await caller.post(contract, json=draft),
        await caller.post(f"{contract}/2/approve"),
    ]
    assert [answer.status_code for answer in answers] == [403] * len(answers)


TABLES = ("partner", "partner_transition", "binding", "contract", "contract_version", "client")


async def test_every_table_that_names_a_partner_is_protected_by_force(database: Database) -> None:
    async with database.read(OWNER) as tx:
        named = await tx.rows(
            """
            select c.relname::text as name, c.relrowsecurity and c.relforcerowsecurity as forced,
                   (select count(*) from pg_policy p where p.polrelid = c.oid) as policies
            from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'partner_id' and not a.attisdropped
            where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace
            """
        )
    assert {row.name for row in named} == set(TABLES)
    assert all(row.forced and row.policies for row in named)


async def test_the_database_shows_a_partner_nothing_foreign(database: Database, two: dict[str, Any]) -> None:
    mine = two["ids"]["A"]
    async with database.read(Actor.partner(mine)) as tx:
        for table in ("partner", "binding", "contract", "contract_version"):
            found = {row[0] for row in await tx.rows(f"select partner_id from {table}")}  # noqa: S608
            assert found == {mine}
    async with database.read(Actor("partner")) as tx:
        assert await tx.value("select count(*) from partner") == 0


@pytest.mark.parametrize("table", ["client", "client_secret", "signing_secret", "shop", "outbox"])
async def test_a_partner_has_no_right_to_look(database: Database, two: dict[str, Any], table: str) -> None:
    with pytest.raises(PostgresError) as refused:
        async with database.read(Actor.partner(two["ids"]["A"])) as tx:
            await tx.rows(f"select 1 from {table}")  # noqa: S608  from the list above
    assert sqlstate(refused.value) == "42501"
