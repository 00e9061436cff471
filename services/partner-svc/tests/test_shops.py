"""Shop bindings over HTTP on a real database, and what the database itself refuses."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from asyncpg import PostgresError

from channel_events.envelope import Event
from channel_events.partner import shop_aggregate_id
from channel_kit.database import STAFF, Database, sqlstate

Announced = Callable[[], Awaitable[list[Event[Any]]]]
MakePartner = Callable[..., Awaitable[UUID]]

PATH = "/v1/shops/shopify/east.example/bindings"


async def bind(
    staff: httpx.AsyncClient, partner_id: UUID, start: str, end: str | None = None, **more: Any
) -> httpx.Response:
    body = {"partner_id": str(partner_id), "channel": "online", "valid_from": start, "valid_to": end} | more
    return await staff.post(PATH, json=body)


async def upload(staff: httpx.AsyncClient, text: str, query: str = "") -> dict[str, Any]:
    answer = await staff.post(f"/v1/shops/import{query}", content=text, headers={"Content-Type": "text/csv"})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_the_whole_list_is_announced_each_time(
    staff: httpx.AsyncClient, make_partner: MakePartner, announced: Announced
) -> None:
    one, other = await make_partner("A"), await make_partner("B")
    assert (await bind(staff, one, "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")).status_code == 200
    answer = await bind(staff, other, "2026-02-01T00:00:00Z")
    assert [each["partner_id"] for each in answer.json()["bindings"]] == [str(one), str(other)]
    events = [event for event in await announced() if event.aggregatetype == "shop"]
    assert [event.aggregateversion for event in events] == [1, 2]
    assert {event.aggregate_id for event in events} == {shop_aggregate_id("shopify", "east.example")}
    assert [len(event.data.bindings) for event in events] == [1, 2]
    assert events[-1].data.bindings[1].valid_to is None


async def test_an_overlap_is_refused_unless_it_is_meant(
    staff: httpx.AsyncClient, make_partner: MakePartner
) -> None:
    one, other = await make_partner("A"), await make_partner("B")
    await bind(staff, one, "2026-01-01T00:00:00Z")
    refused = await bind(staff, other, "2026-02-01T00:00:00Z")
    assert (refused.status_code, refused.json()["code"]) == (409, "binding-overlap")
    meant = await bind(staff, other, "2026-02-01T00:00:00Z", replace=True)
    assert [(each["valid_from"], each["valid_to"]) for each in meant.json()["bindings"]] == [
        ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        ("2026-02-01T00:00:00Z", None),
    ]


async def test_the_same_binding_again_is_silent(
    staff: httpx.AsyncClient, make_partner: MakePartner, announced: Announced
) -> None:
    partner_id = await make_partner("A")
    first = await bind(staff, partner_id, "2026-01-01T00:00:00Z")
    count = len(await announced())
    again = await bind(staff, partner_id, "2026-01-01T08:00:00+08:00")
    assert (again.status_code, again.json()) == (200, first.json())
    assert len(await announced()) == count


async def test_closing_ends_what_is_open(
    staff: httpx.AsyncClient, make_partner: MakePartner, announced: Announced
) -> None:
    await bind(staff, await make_partner("A"), "2026-01-01T00:00:00Z")
    answer = await staff.post(f"{PATH}/close", json={"valid_to": "2026-03-01T00:00:00Z"})
    assert answer.json()["bindings"][0]["valid_to"] == "2026-03-01T00:00:00Z"
    event = (await announced())[-1]
    assert (event.aggregateversion, event.data.bindings[0].valid_to) == (2, datetime(2026, 3, 1, tzinfo=UTC))
    missing = await staff.post("/v1/shops/pos/x/bindings/close", json={"valid_to": "2026-03-01T00:00:00Z"})
    assert missing.status_code == 404


async def test_nothing_begins_with_nobody_or_with_a_terminated_partner(
    staff: httpx.AsyncClient, make_partner: MakePartner
) -> None:
    unknown = await bind(staff, uuid4(), "2026-01-01T00:00:00Z")
    assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown-partner")
    partner_id = await make_partner("A")
    await staff.patch(f"/v1/partners/{partner_id}", json={"state": "terminated"}, headers={"If-Match": '"1"'})
    ended = await bind(staff, partner_id, "2026-01-01T00:00:00Z")
    assert (ended.status_code, ended.json()["code"]) == (409, "partner-terminated")


async def test_the_database_refuses_an_overlap_that_no_rule_saw(
    staff: httpx.AsyncClient, make_partner: MakePartner, database: Database
) -> None:
    partner_id = await make_partner("A")
    await bind(staff, partner_id, "2026-01-01T00:00:00Z")
    with pytest.raises(PostgresError) as refused:
        async with database.write(STAFF) as tx:
            await tx.execute(
                "insert into binding values ('east.example', 'shopify', $1, null, $2, 'online')",
                datetime(2026, 6, 1, tzinfo=UTC),
                partner_id,
            )
    assert sqlstate(refused.value) == "23P01"


async def test_rivals_for_one_shop_get_it_once(staff: httpx.AsyncClient, make_partner: MakePartner) -> None:
    partners = [await make_partner(code) for code in "ABCD"]
    answers = await asyncio.gather(*(bind(staff, each, "2026-01-01T00:00:00Z") for each in partners))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]


async def test_a_file_is_judged_row_by_row_and_again_changes_nothing(
    staff: httpx.AsyncClient, make_partner: MakePartner, announced: Announced
) -> None:
    await make_partner("A")
    await make_partner("B")
    count = len(await announced())
    text = (
        "platform,shop_id,partner_code,channel,valid_from,valid_to\n"
        "pos,store/1,A,store,2026-01-01,2026-02-01\n"
        "pos,store/1,B,store,2026-02-01,\n"
        "pos,store/1,A,store,2026-03-01,\n"
        "pos,store/2,NOBODY,store,2026-01-01,\n"
        "Pos,store/2,A,store,2026-01-01,\n"
        "pos,store/2,A,store,2026-02-01,2026-01-01\n"
    )
    report = await upload(staff, text)
    assert (report["changed"], report["refused"]) == (2, 4)
    assert [each["line"] for each in report["refusals"]] == [4, 5, 6, 7]
    events = (await announced())[count:]
    assert [(event.data.shop_id, len(event.data.bindings)) for event in events] == [("store/1", 2)]
    again = await upload(staff, text)
    assert (again["changed"], again["unchanged"], again["refused"]) == (0, 2, 4)
    over = "platform,shop_id,partner_code,channel,valid_from\npos,store/1,A,store,2026-01-01\n"
    replaced = await upload(staff, over, "?replace=true")
    assert replaced["changed"] == 1
    assert [len(event.data.bindings) for event in (await announced())[count:]] == [2, 1]


async def test_shops_are_listed_page_by_page(staff: httpx.AsyncClient, make_partner: MakePartner) -> None:
    one = await make_partner("A")
    await make_partner("B")
    rows = "".join(f"pos,s{n},{'AB'[n % 2]},store,2026-01-01\n" for n in range(7))
    await upload(staff, "platform,shop_id,partner_code,channel,valid_from\n" + rows)
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 3}
    while True:
        page = (await staff.get("/v1/shops", params=query)).json()
        seen += [each["shop_id"] for each in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == [f"s{n}" for n in range(7)]
    mine = (await staff.get("/v1/shops", params={"partner_id": str(one)})).json()["items"]
    assert [each["shop_id"] for each in mine] == ["s0", "s2", "s4", "s6"]
    assert (await staff.get("/v1/shops", params={"platform": "shopify"})).json()["items"] == []


async def test_a_shops_id_may_look_like_a_path(staff: httpx.AsyncClient, make_partner: MakePartner) -> None:
    body = {
        "partner_id": str(await make_partner("A")),
        "channel": "store",
        "valid_from": "2026-01-01T00:00:00Z",
    }
    for written in ("north/1/bindings", "north%2F2%2Fbindings"):
        bound = await staff.post(f"/v1/shops/pos/{written}/bindings", json=body)
        assert bound.status_code == 200, bound.text
        assert (await staff.get(f"/v1/shops/pos/{written}")).json() == bound.json()
    page = (await staff.get("/v1/shops")).json()
    assert [each["shop_id"] for each in page["items"]] == ["north/1/bindings", "north/2/bindings"]


@pytest.mark.parametrize(
    ("path", "changes", "status"),
    [
        ("/v1/shops/Shopify/x/bindings", {}, 422),
        ("/v1/shops/shopify/%20x/bindings", {}, 422),
        ("/v1/shops/shopify/a%0ab/bindings", {}, 404),
        ("/v1/shops/shopify/a%00b/bindings", {}, 400),
        (f"/v1/shops/shopify/{'x' * 256}/bindings", {}, 422),
        ("/v1/shops/shopify/x/bindings", {"valid_to": "2025-01-01T00:00:00Z"}, 422),
        ("/v1/shops/shopify/x/bindings", {"valid_from": "2026-01-01"}, 422),
        ("/v1/shops/shopify/x/bindings", {"replace": 1}, 422),
        ("/v1/shops/shopify/x/bindings", {"channel": ""}, 422),
        ("/v1/shops/shopify/x/bindings", {"partner": "x"}, 422),
    ],
)
async def test_a_bad_binding_is_the_senders_fault(
    staff: httpx.AsyncClient, make_partner: MakePartner, path: str, changes: dict[str, Any], status: int
) -> None:
    body = {
        "partner_id": str(await make_partner("A")),
        "channel": "online",
        "valid_from": "2026-01-01T00:00:00Z",
    }
    answer = await staff.post(path, json=body | changes)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
