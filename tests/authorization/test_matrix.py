"""Every operation of every service's OpenAPI document × everybody who may come to its door."""

from typing import Any

from fastapi.routing import APIRoute, iter_route_contexts

from .callers import ADMITTED, callers
from .conftest import OPERATIONS, Judge
from .house import House, said
from .operations import (
    BODIES_OF_A,
    NOT_IN_THE_DOCUMENT,
    OPEN_TO_PARTNERS,
    PARTNERS_IN_BODIES,
    PUBLIC,
    SCOPES,
    A,
)


def routes(house: House) -> list[Any]:
    inner = getattr(
        house.app, "_app", house.app
    )  # order-svc answers its webhooks in front of the application
    return list(iter_route_contexts(inner.routes))


async def test_the_document_lists_every_route(house: House) -> None:
    found = routes(house)
    operations = {
        f"{method} {context.path_format}"
        for context in found
        if isinstance(context.original_route, APIRoute)
        for method in context.methods or ()
    }
    assert operations == {operation.name for operation in house.operations}
    others = [context for context in found if not isinstance(context.original_route, APIRoute)]
    assert {context.path_format for context in others} <= NOT_IN_THE_DOCUMENT
    assert all(operation.path.startswith("/v1/") for operation in house.operations)


async def test_every_operation_names_its_scopes(house: House, judged: Judge) -> None:
    assert len(house.operations) >= 8
    for operation in house.operations:
        judged(house.name, OPERATIONS, True)
        assert bool(operation.scopes) != (operation.name in PUBLIC), operation.name
        assert set(operation.scopes) <= set(SCOPES), operation.name


async def test_every_operation_meets_everybody(house: House, judged: Judge) -> None:
    """Whoever is turned away is told the same at every door, and leaves no trace in any table."""
    wrong: list[Any] = []
    refusals: dict[str, set[str]] = {}
    untouched = await house.content()
    admitted = []
    for operation in house.operations:
        for caller in callers(house, operation):
            expected = caller.expects(operation)
            if expected == ADMITTED:
                admitted.append((operation, caller))
                continue
            answer = await house.send(operation, {}, caller.headers)
            told = (answer.status_code, answer.json().get("code", ""))
            judged(house.name, caller.kind, told == expected)
            if told != expected:
                wrong.append((operation.name, caller.kind, caller.name, told))
            if expected[0] == 401:
                assert answer.headers["www-authenticate"].startswith('Bearer realm="qudao"')
                refusals.setdefault(caller.name, set()).add(repr(said(answer)))
    assert wrong == []
    assert await house.content() == untouched
    assert {name: told for name, told in refusals.items() if len(told) > 1} == {}
    for operation, caller in admitted:
        answer = await house.send(operation, {}, caller.headers)
        expected_here = operation.name in PUBLIC or answer.status_code not in (401, 403)
        judged(house.name, caller.kind, expected_here)
        if not expected_here:
            wrong.append((operation.name, caller.kind, caller.name, answer.status_code))
    assert wrong == []


async def test_a_partner_may_call_what_is_open_to_it(house: House) -> None:
    """The list is as long as it must be: each operation in it exists, and is one that a partner is let into."""
    known = {operation.name for operation in house.operations}
    for operation in house.operations:
        if operation.name in OPEN_TO_PARTNERS:
            answer = await house.ask(operation, {}, *operation.scopes, partner=A)
            assert answer.status_code not in (401, 403), operation.name
    assert known & set(OPEN_TO_PARTNERS)


async def test_no_body_may_say_who_its_sender_is(house: House, judged: Judge) -> None:
    """Members that no command has are refused by name, and nothing of the command happens."""
    before = await house.content()
    for operation in house.operations:
        if "application/json" not in operation.media:
            continue
        extra = {"role": "admin", "is_staff": True}
        if operation.name not in PARTNERS_IN_BODIES:
            extra |= {"partner_id": str(A)}
        sound = BODIES_OF_A.get(operation.name, {})
        answer = await house.ask(
            operation, {}, *(operation.scopes or ("admin",)), body=sound | extra, If_Match='"1"'
        )
        refused = {
            fault["pointer"]
            for fault in answer.json().get("errors", [])
            if fault["reason"].startswith("Extra")
        }
        clean = answer.status_code == 422 and {f"/{name}" for name in extra} <= refused
        judged(house.name, "staff: a body that says who sends it", clean)
        assert clean, (operation.name, answer.text)
    assert await house.content() == before
