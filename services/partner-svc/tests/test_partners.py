"""Partners over HTTP on a real database: register, read, change, import; what is announced."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from channel_events.envelope import Event
from channel_kit.database import STAFF, Database

Connect = Callable[..., httpx.AsyncClient]
Announced = Callable[[], Awaitable[list[Event[Any]]]]


async def register(staff: httpx.AsyncClient, code: str, **more: Any) -> dict[str, Any]:
    answer = await staff.post(
        "/v1/partners", json={"code": code, "name": code.upper(), "kind": "store"} | more
    )
    assert answer.status_code == 201, answer.text
    assert answer.headers["etag"] == '"1"'
    body: dict[str, Any] = answer.json()
    return body


async def change(staff: httpx.AsyncClient, partner: dict[str, Any], **changes: Any) -> httpx.Response:
    etag = {"If-Match": f'"{partner["revision"]}"'}
    return await staff.patch(f"/v1/partners/{partner['partner_id']}", json=changes, headers=etag)


async def upload(staff: httpx.AsyncClient, text: str | bytes) -> dict[str, Any]:
    answer = await staff.post("/v1/partners/import", content=text, headers={"Content-Type": "text/csv"})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_a_partner_is_registered_announced_and_found(
    staff: httpx.AsyncClient, announced: Announced
) -> None:
    made = await register(staff, "EAST", name="华东经销", effective_from="2026-01-01T00:00:00+08:00")
    assert made["effective_from"] == "2025-12-31T16:00:00Z"
    read = await staff.get(f"/v1/partners/{made['partner_id']}")
    assert read.json() == made
    assert read.headers["etag"] == '"1"'
    event = (await announced())[-1]
    assert (event.type, event.subject, event.aggregateversion) == (
        "channel.partner.registered.v1",
        made["partner_id"],
        1,
    )
    assert (event.data.code, event.data.name, event.data.state) == ("EAST", "华东经销", "active")


async def test_the_same_command_twice_registers_once(staff: httpx.AsyncClient, announced: Announced) -> None:
    before = len(await announced())
    body = {"code": "A", "name": "A", "kind": "store"}
    key = {"Idempotency-Key": uuid4().hex}
    first = await staff.post("/v1/partners", json=body, headers=key)
    again = await staff.post("/v1/partners", json=body, headers=key)
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert len(await announced()) == before + 1
    other = await staff.post("/v1/partners", json=body | {"name": "B"}, headers=key)
    assert other.json()["code"] == "idempotency-key-reused"


async def test_a_code_is_taken_once(staff: httpx.AsyncClient) -> None:
    await register(staff, "A")
    again = await staff.post("/v1/partners", json={"code": " A ", "name": "B", "kind": "store"})
    assert (again.status_code, again.json()["code"]) == (409, "code-taken")


async def test_a_change_is_announced_with_the_next_version(
    staff: httpx.AsyncClient, announced: Announced
) -> None:
    parent = await register(staff, "P")
    made = await register(staff, "A")
    first = await change(staff, made, name="New", parent_id=parent["partner_id"])
    assert (first.status_code, first.headers["etag"]) == (200, '"2"')
    second = await change(staff, first.json(), parent_id=None)
    assert second.json()["parent_id"] is None
    mine = [event for event in await announced() if event.subject == made["partner_id"]]
    assert [event.aggregateversion for event in mine] == [1, 2, 3]
    assert [str(event.data.parent_id) for event in mine] == ["None", parent["partner_id"], "None"]


async def test_a_change_of_nothing_is_silent(staff: httpx.AsyncClient, announced: Announced) -> None:
    made = await register(staff, "A")
    before = len(await announced())
    answer = await change(staff, made, name=made["name"])
    assert (answer.status_code, answer.json()) == (200, made)
    assert len(await announced()) == before


async def test_a_change_needs_what_was_read(staff: httpx.AsyncClient) -> None:
    made = await register(staff, "A")
    path = f"/v1/partners/{made['partner_id']}"
    assert (await staff.patch(path, json={"name": "B"})).status_code == 428
    assert (await staff.patch(path, json={"name": "B"}, headers={"If-Match": "W/x"})).status_code == 400
    assert (await change(staff, made, name="B")).status_code == 200
    stale = await change(staff, made, name="C")
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition-failed")


async def test_states_go_only_where_they_may_and_remember_why(
    staff: httpx.AsyncClient, database: Database
) -> None:
    made = await register(staff, "A")
    suspended = (await change(staff, made, state="suspended", reason="late payment")).json()
    ended = (await change(staff, suspended, state="terminated")).json()
    refused = await change(staff, ended, state="active")
    assert (refused.status_code, refused.json()["code"]) == (409, "state-not-allowed")
    async with database.read(STAFF) as tx:
        rows = await tx.rows("select to_state, reason, actor from partner_transition order by transition_id")
    assert [tuple(row) for row in rows] == [
        ("suspended", "late payment", "tests-staff"),
        ("terminated", None, "tests-staff"),
    ]


async def test_no_partner_stands_above_itself(staff: httpx.AsyncClient) -> None:
    top = await register(staff, "T")
    middle = await register(staff, "M", parent_id=top["partner_id"])
    low = await register(staff, "L", parent_id=middle["partner_id"])
    for parent in (top, middle, low):
        answer = await change(staff, top, parent_id=parent["partner_id"])
        assert (answer.status_code, answer.json()["code"]) == (409, "parent-cycle")
    missing = await change(staff, top, parent_id=str(uuid4()))
    assert (missing.status_code, missing.json()["code"]) == (422, "unknown-parent")


async def test_lists_go_page_by_page_and_filter(staff: httpx.AsyncClient) -> None:
    for code in ("C_1", "A", "B", "CX1"):
        await register(staff, code, name=f"Name {code}")
    codes: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = (await staff.get("/v1/partners", params=query)).json()
        codes += [each["code"] for each in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert sorted(codes) == sorted(["A", "B", "CX1", "C_1"])
    assert len(codes) == 4

    async def found(**query: str) -> list[str]:
        answer = await staff.get("/v1/partners", params=query)
        return [each["code"] for each in answer.json()["items"]]

    assert await found(code="B") == ["B"]
    assert await found(search="c_1") == ["C_1"]
    assert await found(search="%") == []
    assert await found(state="terminated") == []


async def test_a_file_is_judged_row_by_row_and_again_changes_nothing(
    staff: httpx.AsyncClient, announced: Announced
) -> None:
    before = len(await announced())
    text = (
        "code,name,kind,parent_code,effective_from\n"
        "S1,一号店,store,EAST,2026-01-01\n"
        "EAST,华东,distributor,,\n"
        "S2,二号店,store,NOWHERE,\n"
        "S3,三号店,store,EAST,01.01.2026\n"
        "S1,again,store,,\n"
        ",nameless,store,,\n"
    )
    report = await upload(staff, text.encode("gb18030"))
    assert (report["created"], report["refused"]) == (2, 4)
    assert [each["line"] for each in report["refusals"]] == [4, 5, 6, 7]
    events = (await announced())[before:]
    assert sorted(event.data.code for event in events) == ["EAST", "S1"]
    again = await upload(staff, text)
    assert (again["unchanged"], again["refused"], again["created"]) == (2, 4, 0)
    assert len(await announced()) == before + 2
    (shop,) = (await staff.get("/v1/partners", params={"code": "S1"})).json()["items"]
    (parent,) = (await staff.get("/v1/partners", params={"code": "EAST"})).json()["items"]
    assert shop["parent_id"] == parent["partner_id"]
    assert shop["effective_from"] == "2025-12-31T16:00:00Z"


async def test_a_file_changes_what_it_names_and_nothing_else(
    staff: httpx.AsyncClient, announced: Announced
) -> None:
    parent = await register(staff, "P")
    made = await register(staff, "A", parent_id=parent["partner_id"])
    report = await upload(staff, "code,name\nA,Renamed\nNEW,Needs a kind\n")
    assert (report["changed"], report["refused"]) == (1, 1)
    read = (await staff.get(f"/v1/partners/{made['partner_id']}")).json()
    assert read == made | {"name": "Renamed", "revision": 2}
    assert (await announced())[-1].aggregateversion == 2


async def test_a_file_cannot_close_a_cycle(staff: httpx.AsyncClient) -> None:
    top = await register(staff, "T")
    await register(staff, "L", parent_id=top["partner_id"])
    report = await upload(staff, "code,name,parent_code\nT,T,L\n")
    assert report["refused"] == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"code": "A", "name": "A"}, 422),
        ({"code": "A", "name": "A", "kind": "store", "state": "active"}, 422),
        ({"code": "A", "name": "A", "kind": "store", "role": "admin"}, 422),
        ({"code": 1, "name": "A", "kind": "store"}, 422),
        ({"code": "A\u202e", "name": "A", "kind": "store"}, 422),
        ({"code": "A", "name": "x" * 100_000, "kind": "store"}, 422),
        ({"code": "A", "name": "A", "kind": "store", "parent_id": "1"}, 422),
        ({"code": "A", "name": "A", "kind": "store", "parent_id": str(UUID(int=0))}, 422),
        ({"code": "A", "name": "A", "kind": "store", "effective_from": 1767225600000}, 422),
        ({"code": "A", "name": "A", "kind": "store", "effective_from": "9999-12-31T23:59:59-12:00"}, 422),
        (b'{"code":"A","code":"B","name":"A","kind":"store"}', 400),
        (b'{"code":"A\\u0000","name":"A","kind":"store"}', 400),
        (b'{"code":"\\ud800","name":"A","kind":"store"}', 400),
        (b"[" * 100_000, 400),
        (b"", 400),
        (b"3", 422),
        (b"{" + b" " * 1_100_000 + b"}", 413),
    ],
)
async def test_a_bad_registration_is_the_senders_fault(
    staff: httpx.AsyncClient, body: dict[str, Any] | bytes, status: int
) -> None:
    if isinstance(body, bytes):
        answer = await staff.post("/v1/partners", content=body, headers={"Content-Type": "application/json"})
    else:
        answer = await staff.post("/v1/partners", json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("name", ["name", "kind", "state", "effective_from"])
async def test_what_a_partner_must_have_cannot_be_taken_away(staff: httpx.AsyncClient, name: str) -> None:
    made = await register(staff, "A")
    assert (await change(staff, made, **{name: None})).status_code == 422


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/partners/1", 422),
        ("/v1/partners/%00", 400),
        ("/v1/partners/..%2f..%2fetc", 404),
        (f"/v1/partners/{uuid4()}", 404),
        ("/v1/partners?limit=201", 422),
        ("/v1/partners?limit=-1", 422),
        ("/v1/partners?limit=99999999999999999999", 422),
        ("/v1/partners?cursor=abc", 400),
        ("/v1/partners?search=%ff", 400),
        ("/v1/partners?search=%00", 400),
        ("/v1/partners?state=gone", 422),
        ("/v1/partners?code=" + "x" * 101, 422),
        ("/v1/partners?search=%25%5c_%27%3b--", 200),
    ],
)
async def test_a_bad_address_is_the_senders_fault(staff: httpx.AsyncClient, path: str, status: int) -> None:
    assert (await staff.get(path)).status_code == status


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0",
        b"code\nA\n",
        b'code,name\n"A',
        b"code,code,name\nA,B,C\n",
    ],
)
async def test_what_is_no_table_is_refused_whole(staff: httpx.AsyncClient, content: bytes) -> None:
    answer = await staff.post("/v1/partners/import", content=content, headers={"Content-Type": "text/csv"})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad-file")


async def test_two_moves_at_once_cannot_close_a_cycle(staff: httpx.AsyncClient) -> None:
    one, other = await register(staff, "A"), await register(staff, "B")
    answers = await asyncio.gather(
        change(staff, one, parent_id=other["partner_id"]), change(staff, other, parent_id=one["partner_id"])
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]


async def test_reading_is_not_writing(connect: Connect) -> None:
    reader = connect("partners:read")
    answer = await reader.post("/v1/partners", json={"code": "A", "name": "A", "kind": "store"})
    assert (answer.status_code, answer.json()["code"]) == (403, "scope-missing")
    assert (await connect("stock:read").get("/v1/partners")).status_code == 403
