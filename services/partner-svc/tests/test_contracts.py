"""Contracts over HTTP on a real database: drafts, approval, truncation, and what the database itself refuses."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from asyncpg import PostgresError

from channel_events.envelope import Event
from channel_kit.database import STAFF, Database, sqlstate

Announced = Callable[[], Awaitable[list[Event[Any]]]]
MakePartner = Callable[..., Awaitable[UUID]]

DRAFT = {"valid_from": "2026-01-01T00:00:00Z", "time_zone": "Asia/Shanghai", "plan_codes": ["P2", "P1"]}


async def open_contract(
    staff: httpx.AsyncClient, partner_id: UUID, code: str = "C", **more: Any
) -> dict[str, Any]:
    answer = await staff.post(
        "/v1/contracts", json={"code": code, "partner_id": str(partner_id)} | DRAFT | more
    )
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def amend(staff: httpx.AsyncClient, contract: dict[str, Any], start: str, **more: Any) -> None:
    path = f"/v1/contracts/{contract['contract_id']}/versions"
    answer = await staff.post(path, json=DRAFT | {"valid_from": start} | more)
    assert answer.status_code == 201, answer.text


async def approve(staff: httpx.AsyncClient, contract: dict[str, Any], version: int) -> httpx.Response:
    return await staff.post(f"/v1/contracts/{contract['contract_id']}/versions/{version}/approve")


def contracts(events: list[Event[Any]]) -> list[Event[Any]]:
    return [event for event in events if event.aggregatetype == "contract"]


async def test_a_draft_is_silent_and_an_approval_is_announced(
    staff: httpx.AsyncClient, make_partner: MakePartner, announced: Announced
) -> None:
    partner_id = await make_partner("A")
    made = await open_contract(staff, partner_id, terms={"b": 1, "a": "折"})
    assert contracts(await announced()) == []
    answer = await approve(staff, made, 1)
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    (version,) = answer.json()["versions"]
    assert (version["state"], version["author"], version["approver"]) == (
        "approved",
        "tests-staff",
        "tests-staff",
    )
    assert version["plan_codes"] == ["P1", "P2"]
    assert version["terms"] == {"b": 1, "a": "折"}
    assert version["terms_hash"] == hashlib.sha256('{"a":"折","b":1}'.encode()).hexdigest()
    (event,) = contracts(await announced())
    assert (event.subject, event.aggregateversion) == (made["contract_id"], 1)
    assert (event.data.version, event.data.partner_id, event.data.valid_to) == (1, partner_id, None)
    assert (event.data.time_zone, event.data.plan_codes) == ("Asia/Shanghai", ("P1", "P2"))
    assert event.data.terms_hash == version["terms_hash"]


async def test_an_amendment_ends_the_version_before_it_and_both_are_announced(
    staff: httpx.AsyncClient, make_partner: MakePartner, announced: Announced
) -> None:
    made = await open_contract(staff, await make_partner("A"))
    await approve(staff, made, 1)
    await amend(staff, made, "2026-04-01T00:00:00Z", plan_codes=["P3"])
    answer = await approve(staff, made, 2)
    assert [each["valid_to"] for each in answer.json()["versions"]] == ["2026-04-01T00:00:00Z", None]
    events = contracts(await announced())
    assert [event.aggregateversion for event in events] == [1, 2, 3]
    april = datetime(2026, 4, 1, tzinfo=UTC)
    assert [(event.data.version, event.data.valid_to) for event in events] == [
        (1, None),
        (1, april),
        (2, None),
    ]


async def test_gaps_overlaps_and_second_approvals_are_refused(
    staff: httpx.AsyncClient, make_partner: MakePartner, announced: Announced
) -> None:
    made = await open_contract(staff, await make_partner("A"), valid_to="2026-03-01T00:00:00Z")
    await approve(staff, made, 1)
    count = len(await announced())
    await amend(staff, made, "2026-04-01T00:00:00Z")
    await amend(staff, made, "2026-01-01T00:00:00Z")
    codes = [(await approve(staff, made, number)).json()["code"] for number in (1, 2, 3, 4)]
    assert codes == ["already-approved", "contract-gap", "contract-overlap", "unknown-version"]
    assert len(await announced()) == count


async def test_rival_approvals_happen_once(staff: httpx.AsyncClient, make_partner: MakePartner) -> None:
    made = await open_contract(staff, await make_partner("A"))
    answers = await asyncio.gather(*(approve(staff, made, 1) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]


@pytest.mark.parametrize(
    "change",
    [
        "time_zone = 'UTC'",
        "terms = '{}'",
        "plan_codes = '{X}'",
        "state = 'draft'",
        "valid_from = '2020-01-01Z'",
        "valid_to = null",
    ],
)
async def test_the_database_keeps_what_is_approved(
    staff: httpx.AsyncClient, make_partner: MakePartner, database: Database, change: str
) -> None:
    made = await open_contract(
        staff, await make_partner("A"), valid_to="2026-05-01T00:00:00Z", terms={"a": 1}
    )
    await approve(staff, made, 1)
    with pytest.raises(PostgresError) as refused:
        async with database.write(STAFF) as tx:
            await tx.execute(f"update contract_version set {change}")  # noqa: S608  from the list above
    assert sqlstate(refused.value) == "23001"


async def test_the_database_refuses_approved_versions_that_overlap(
    staff: httpx.AsyncClient, make_partner: MakePartner, database: Database
) -> None:
    made = await open_contract(staff, await make_partner("A"))
    await approve(staff, made, 1)
    await amend(staff, made, "2026-04-01T00:00:00Z")
    with pytest.raises(PostgresError) as refused:
        async with database.write(STAFF) as tx:
            await tx.execute(
                "update contract_version set state = 'approved', approver = 'x', approved_at = now() where version = 2"
            )
    assert sqlstate(refused.value) == "23P01"


async def test_contracts_begin_with_partners_that_are_there(
    staff: httpx.AsyncClient, make_partner: MakePartner
) -> None:
    body = {"code": "C", "partner_id": str(uuid4())} | DRAFT
    assert (await staff.post("/v1/contracts", json=body)).json()["code"] == "unknown-partner"
    partner_id = await make_partner("A")
    made = await open_contract(staff, partner_id)
    taken = await staff.post("/v1/contracts", json=body | {"partner_id": str(partner_id)})
    assert (taken.status_code, taken.json()["code"]) == (409, "code-taken")
    await staff.patch(f"/v1/partners/{partner_id}", json={"state": "terminated"}, headers={"If-Match": '"1"'})
    ended = await approve(staff, made, 1)
    assert (ended.status_code, ended.json()["code"]) == (409, "partner-terminated")


async def test_contracts_are_listed_by_code(staff: httpx.AsyncClient, make_partner: MakePartner) -> None:
    one, other = await make_partner("A"), await make_partner("B")
    for number in range(3):
        await open_contract(staff, (one, other)[number % 2], f"C{number}")
    page = (await staff.get("/v1/contracts", params={"limit": 2})).json()
    rest = (await staff.get("/v1/contracts", params={"limit": 2, "cursor": page["next_cursor"]})).json()
    assert [each["code"] for each in page["items"] + rest["items"]] == ["C0", "C1", "C2"]
    mine = (await staff.get("/v1/contracts", params={"partner_id": str(one)})).json()["items"]
    assert [each["code"] for each in mine] == ["C0", "C2"]
    assert (await staff.get(f"/v1/contracts/{uuid4()}")).status_code == 404


@pytest.mark.parametrize(
    "changes",
    [
        {"time_zone": "+08:00"},
        {"time_zone": "../../etc/passwd"},
        {"valid_to": "2026-01-01T00:00:00Z"},
        {"plan_codes": ["P1", " P1"]},
        {"plan_codes": ["P"] * 201},
        {"plan_codes": "P1"},
        {"terms": []},
        {"terms": {"text": "x" * 70_000}},
        {"state": "approved"},
        {"partner_id": "B"},
    ],
)
async def test_a_bad_contract_is_the_senders_fault(
    staff: httpx.AsyncClient, make_partner: MakePartner, changes: dict[str, Any]
) -> None:
    body = {"code": "C", "partner_id": str(await make_partner("A"))} | DRAFT | changes
    answer = await staff.post("/v1/contracts", json=body)
    assert answer.status_code == 422, answer.text
