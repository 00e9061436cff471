"""What is A's is seen by A and by staff; for B it is not there: each answer is the one that something absent gets.

By path, query, cursor, body, If-Match and Idempotency-Key. An answer's status, headers and body are compared, and
every table of the service: B's attempts leave all of them as they were.
"""

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from channel_kit.auth import Caller
from channel_kit.database import STAFF
from channel_kit.ids import uuid7

from .conftest import Judge
from .house import House, names_a, said
from .operations import BODIES_OF_A, NAMED_IN_QUERIES, OF_A, OPEN_TO_PARTNERS, PUBLIC, A, B, Operation

Find = tuple[str, bool]
"""What was tried, and whether B learned nothing by it."""


def open_to(house: House, *, writes: bool | None = None) -> list[Operation]:
    """The operations that may show something of A's to A; last what changes something."""
    found = [each for each in house.operations if OPEN_TO_PARTNERS.get(each.name) is not None]
    kept = [each for each in found if writes is None or each.writes == writes]
    return sorted(kept, key=lambda each: each.writes)


def given_of(operation: Operation) -> dict[str, str]:
    return OPEN_TO_PARTNERS[operation.name] or {}


def absent(operation: Operation, name: str) -> dict[str, str]:
    """The same, but one part of the path names nothing at all."""
    value = given_of(operation)[name]
    return given_of(operation) | {name: str(uuid7()) if len(value) == 36 else "OF-X"}


async def by_path(house: House, operation: Operation) -> Iterable[Find]:
    finds = []
    for name in operation.in_path:
        if name in ("period_start", "platform"):  # a day and a platform are nobody's
            continue
        foreign = await house.ask(operation, given_of(operation), *operation.scopes, partner=B)
        nothing = await house.ask(operation, absent(operation, name), *operation.scopes, partner=B)
        finds.append((f"{name} in the path", foreign.status_code == 404 and said(foreign) == said(nothing)))
    return finds


async def by_query(house: House, operation: Operation) -> Iterable[Find]:
    """Lists that are asked for what A's things are called, and for the same of nobody's."""
    finds = []
    if operation.in_path:
        return []
    for name, (of_a, nobody) in NAMED_IN_QUERIES.items():
        if name not in operation.query:
            continue
        answers = [
            await house.ask(operation, given_of(operation) | {name: value}, *operation.scopes, partner=B)
            for value in (of_a, nobody)
        ]
        same = answers[0].status_code == 200 and said(answers[0]) == said(answers[1])
        finds.append((f"{name} in the query", same))
    for group in ("day", "channel", "partner", "sku") if "group_by" in operation.query else ():
        for more in ({}, {"compare": "previous"}):
            shown = await house.ask(
                operation, given_of(operation) | {"group_by": group} | more, *operation.scopes, partner=B
            )
            finds.append((f"grouped by {group}", shown.status_code == 200 and not names_a(shown.text)))
    return finds


async def by_cursor(house: House, operation: Operation) -> Iterable[Find]:
    """Cursors that A and staff were given, used by B."""
    finds = []
    if "cursor" not in operation.query or operation.in_path:
        return []
    asked = given_of(operation) | {"limit": "1"}
    for owner in (A, None):
        page = (await house.ask(operation, asked, *operation.scopes, partner=owner)).json()
        # Figures that are not grouped by anything of A's may be on one page.
        while page["next_cursor"]:
            turned = asked | {"limit": "200", "cursor": page["next_cursor"]}
            shown = await house.ask(operation, turned, *operation.scopes, partner=B)
            unknown = await house.ask(
                operation, turned | {"cursor": page["next_cursor"][:-2]}, *operation.scopes, partner=B
            )
            clean = shown.status_code == 200 and not names_a(shown.text) and unknown.status_code == 400
            finds.append(("another's cursor", clean))
            page = (
                await house.ask(
                    operation, asked | {"cursor": page["next_cursor"]}, *operation.scopes, partner=owner
                )
            ).json()
    return finds


async def by_whole(house: House, operation: Operation) -> Iterable[Find]:
    """Simply everything: no text of A's, page by page."""
    cursor: dict[str, str] = {}
    finds = []
    for _ in range(4):
        shown = await house.ask(operation, given_of(operation) | cursor, *operation.scopes, partner=B)
        finds.append(("everything", not names_a(shown.text)))
        following = shown.json().get("next_cursor") if shown.status_code == 200 else None
        if not following:
            break
        cursor = {"cursor": following}
    return finds


PROBES = (by_path, by_query, by_cursor, by_whole)


async def finds(house: House) -> list[tuple[str, str, bool]]:
    """(operation, what was tried, whether B learned nothing) of all of them."""
    return [
        (operation.name, *find)
        for operation in open_to(house)
        for probe in PROBES
        for find in await probe(house, operation)
    ]


async def test_nothing_of_a_is_there_for_b_and_no_attempt_leaves_a_trace(house: House, judged: Judge) -> None:
    before = await house.content()
    found = await finds(house)
    for _, _, clean in found:
        judged(house.name, "partner B: after what is A's", clean)
    assert len(found) > 2
    assert [find for find in found if not find[2]] == []
    assert await house.content() == before


async def test_the_probes_see_a_leak_where_there_is_one(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The saboteur that forgets whose transaction it is: partners read with the rights of staff."""
    monkeypatch.setattr(Caller, "actor", property(lambda caller: STAFF))
    writing = {operation.name for operation in open_to(house, writes=True)}
    found = [find for find in await finds(house) if find[0] not in writing]
    leaking = {name for name, _, clean in found if not clean}
    assert leaking == {operation.name for operation in open_to(house, writes=False)}


async def test_a_closed_door_looks_the_same_whatever_lies_behind_it(house: House, judged: Judge) -> None:
    """What is staff's is refused to B before anything is looked up: with A's ids and bodies, and with nobody's."""
    before = await house.content()
    for operation in house.operations:
        if operation.name in OPEN_TO_PARTNERS or operation.name in PUBLIC:
            continue
        asked: list[tuple[dict[str, str], Any, dict[str, str]]] = [
            ({}, None, {}),
            (OF_A, BODIES_OF_A.get(operation.name), {}),
            (OF_A, BODIES_OF_A.get(operation.name), {"If_Match": '"1"'}),
            (OF_A, None, {"If_Match": '"99"'}),
            (OF_A, {"partner_id": str(A)}, {"Idempotency_Key": "key-of-OF-A-OF-A"}),
        ]
        answers = [
            await house.ask(
                operation, given, *operation.scopes, "partners:write", partner=B, body=body, **headers
            )
            for given, body, headers in asked
        ]
        same = answers[0].status_code == 403 and len({repr(said(answer)) for answer in answers}) == 1
        judged(house.name, "partner B: at doors that are staff's", same)
        assert same, (operation.name, [answer.text for answer in answers])
    assert await house.content() == before


async def test_staff_and_a_see_what_b_does_not(house: House, judged: Judge) -> None:
    """Without this, nothing would be seen by anybody, and all of the above would hold."""
    for operation in open_to(house, writes=False):
        for partner in (A, None):
            own = await house.ask(operation, given_of(operation), *operation.scopes, partner=partner)
            seen = own.status_code == 200 and names_a(own.text)
            judged(house.name, "partner A and staff: what is A's", seen)
            assert seen, (operation.name, own.text)
        if not operation.in_path:
            mine = await house.ask(operation, given_of(operation), *operation.scopes, partner=B)
            assert "OF-B" in mine.text or str(B) in mine.text or "0190b000" in mine.text, operation.name


@pytest.mark.parametrize("house", ["inventory"], indirect=True)
async def test_a_key_of_a_gives_b_nothing_of_a(house: House, judged: Judge) -> None:
    """The key that A moves its own thing with, used by B on that thing, and on nobody's."""
    for operation in open_to(house, writes=True):
        assert operation.wants_key, operation.name
        key = uuid4().hex
        mine = await house.ask(
            operation, given_of(operation), *operation.scopes, partner=A, Idempotency_Key=key
        )
        assert mine.is_success or mine.json()["code"] == "reservation-released", mine.text
        before = await house.content()
        answers = [
            await house.ask(operation, given, *operation.scopes, partner=B, Idempotency_Key=used)
            for given in (given_of(operation), absent(operation, operation.in_path[0]))
            for used in (key, uuid4().hex)
        ]
        clean = answers[0].status_code == 404 and len({repr(said(answer)) for answer in answers}) == 1
        judged(house.name, "partner B: with a key of A's", clean)
        assert clean, (operation.name, [answer.text for answer in answers])
        assert await house.content() == before, operation.name


@pytest.mark.parametrize("house", ["inventory"], indirect=True)
async def test_a_key_of_a_is_new_in_the_hands_of_b(house: House, judged: Judge) -> None:
    """The same key, with the same body and with another: B makes things of its own, and A's answer stays A's."""
    [operation] = [each for each in house.operations if each.name == "POST /v1/reservations"]
    body, key = BODIES_OF_A[operation.name], uuid4().hex

    async def reserve(partner: Any, used: str, **changes: Any) -> httpx.Response:
        return await house.ask(
            operation, {}, "stock:write", partner=partner, body={**body, **changes}, Idempotency_Key=used
        )

    mine = [await reserve(A, used) for used in (key, key + "2")]
    before = await house.content(only_of_a=True)
    theirs = [await reserve(B, key), await reserve(B, key + "2", hold_seconds=601), await reserve(B, key)]
    made = [answer.json()["reservation_id"] for answer in (*mine, *theirs)]
    clean = (
        {answer.status_code for answer in theirs} == {201}
        and len(set(made)) == 4
        and made[2] == made[4]
        and "Idempotent-Replayed" not in theirs[0].headers
    )
    judged(house.name, "partner B: with a key of A's", clean)
    assert clean, [answer.text for answer in theirs]
    assert await house.content(only_of_a=True) == before
    assert (await reserve(A, key)).content == mine[0].content
