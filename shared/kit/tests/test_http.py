"""The application: headers, ETags, the OpenAPI document, and what becomes of errors nobody expected."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy.exc import TimeoutError as PoolTimeout
from structlog.testing import capture_logs

from channel_events.values import Quantity
from channel_kit.auth import Caller, public, scope
from channel_kit.files import upload_body
from channel_kit.gather import Overloaded
from channel_kit.http import (
    Body,
    CurrencyCode,
    IfMatch,
    Router,
    View,
    create_app,
    etag,
    json_body,
)
from channel_kit.idempotency import IdempotencyKey
from channel_kit.pagination import Cursor, Page
from channel_kit.problems import PreconditionFailed

router = Router()
ERRORS: dict[str, Exception] = {
    "bug": RuntimeError("secret-canary"),
    "surrogate": KeyError("\ud800"),
    "refused": ConnectionRefusedError(111, "secret-canary"),
    "pool": PoolTimeout("secret-canary"),
    "overloaded": Overloaded("7 bytes are waiting"),
    "timeout": TimeoutError(),
}


class Part(Body):
    sku: str
    quantity: Quantity


class Make(Body):
    currency: CurrencyCode
    parts: list[Part]


class MadeView(View):
    made_id: UUID
    parts: list[Part]


@router.post("/v1/made", status_code=201)
async def make(
    command: Annotated[Make, json_body(Make)],
    key: IdempotencyKey,
    caller: Annotated[Caller, scope("stock:write")],
) -> MadeView:
    return MadeView(made_id=UUID(int=1), parts=command.parts)


@router.get("/v1/made")
async def made(cursor: Cursor, caller: Annotated[Caller, scope("stock:read")]) -> Page[MadeView]:
    return Page(items=[])


@router.post("/v1/imports")
async def imports(
    raw: Annotated[bytes, upload_body()], caller: Annotated[Caller, scope("admin")]
) -> None: ...


@router.get("/v1/errors/{name}", dependencies=[public])
async def fail(name: str) -> None:
    raise ERRORS[name]


@router.get("/v1/late", dependencies=[public])
async def wrong_answer() -> MadeView:
    return {"made_id": "secret-canary"}  # type: ignore[return-value]


@router.get("/v1/revision", dependencies=[public])
async def revision(seen: IfMatch) -> dict[str, Any]:
    if seen is not None and seen != 3:
        raise PreconditionFailed
    return {"seen": seen}


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(title="kit", routers=[router], docs=True)


@pytest.fixture(scope="module")
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://kit") as client:
        yield client


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("bug", 500, "internal-error"),
        ("surrogate", 500, "internal-error"),
        ("refused", 503, "database-unavailable"),
        ("pool", 503, "database-unavailable"),
        ("timeout", 503, "database-unavailable"),
        ("overloaded", 503, "unavailable"),
    ],
)
async def test_unexpected_errors_say_nothing_but_a_correlation_id(
    client: httpx.AsyncClient, name: str, status: int, code: str
) -> None:
    with capture_logs() as written:
        answer = await client.get(f"/v1/errors/{name}")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert "secret-canary" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    if status == 500:
        assert set(problem) == {"type", "title", "status", "code", "correlation_id"}
        (line,) = written
        assert (line["log_level"], line["correlation_id"]) == ("error", problem["correlation_id"])
        assert line["exc_info"] is ERRORS[name]
    else:
        assert answer.headers["retry-after"] == "1"


async def test_an_answer_that_breaks_its_own_model_is_an_internal_error(client: httpx.AsyncClient) -> None:
    with capture_logs():
        answer = await client.get("/v1/late")
    assert answer.status_code == 500
    assert "secret-canary" not in answer.text


async def test_methods_that_are_not_taken_name_those_that_are(client: httpx.AsyncClient) -> None:
    answer = await client.delete("/v1/made")
    assert (answer.status_code, answer.json()["code"]) == (405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, POST"


async def test_no_origin_is_ever_allowed(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/revision", headers={"origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    preflight = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    assert (await client.options("/v1/made", headers=preflight)).status_code == 405


@pytest.mark.parametrize(
    ("value", "status", "seen"),
    [
        ('"3"', 200, 3), ("*", 200, None), (None, 200, None), ('"4"', 412, None), ('"0"', 412, None), ("3", 400, None),
        ('W/"3"', 400, None), ('"3", "4"', 400, None), ('""', 400, None), ('"', 400, None), ('"-3"', 400, None),
        ('"٣"', 400, None), ('"' + "9" * 19 + '"', 400, None), ('"3', 400, None), ("'3'", 400, None), ("", 400, None),
    ],
)  # fmt: skip
async def test_if_match(client: httpx.AsyncClient, value: str | None, status: int, seen: int | None) -> None:
    headers = [] if value is None else [(b"if-match", value.encode())]
    answer = await client.get("/v1/revision", headers=headers)
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == {"seen": seen}


def test_an_etag_is_what_if_match_takes() -> None:
    assert etag(3) == '"3"'


async def test_the_document_says_what_the_kit_does(client: httpx.AsyncClient, app: FastAPI) -> None:
    document = (await client.get("/openapi.json")).json()
    assert (await client.get("/docs")).status_code == 200
    post = document["paths"]["/v1/made"]["post"]
    assert post["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Make"
    }
    assert post["security"] == [{"bearer": ["stock:write"]}]
    (key,) = post["parameters"]
    assert (key["name"], key["in"], key["required"]) == ("Idempotency-Key", "header", True)
    assert set(post["responses"]) == {"201", "default"}
    assert list(post["responses"]["default"]["content"]) == ["application/problem+json"]
    limit = next(
        each for each in document["paths"]["/v1/made"]["get"]["parameters"] if each["name"] == "limit"
    )
    assert (limit["schema"]["minimum"], limit["schema"]["maximum"], limit["schema"]["default"]) == (
        1,
        200,
        50,
    )
    assert document["paths"]["/v1/revision"]["get"]["security"] == []
    assert "multipart/form-data" in document["paths"]["/v1/imports"]["post"]["requestBody"]["content"]
    schemas = document["components"]["schemas"]
    assert schemas["Make"]["additionalProperties"] is False
    assert schemas["Problem"]["required"] == ["type", "title", "status", "code"]
    assert "HTTPValidationError" not in schemas
    assert set(document["paths"]) == {
        "/v1/made", "/v1/imports", "/v1/errors/{name}", "/v1/late", "/v1/revision",
    }  # fmt: skip


async def test_every_reference_of_the_document_leads_somewhere(app: FastAPI) -> None:
    document = app.openapi()
    references: list[str] = []

    def collect(part: Any) -> None:
        if isinstance(part, dict):
            references.extend(value for key, value in part.items() if key == "$ref")
            for value in part.values():
                collect(value)
        elif isinstance(part, list):
            for value in part:
                collect(value)

    collect(document)
    assert references
    for reference in references:
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


def test_only_strict_models_may_read_bodies() -> None:
    class Lax(BaseModel):
        sku: str

    with pytest.raises(TypeError, match="Lax"):
        json_body(Lax)


async def test_the_lifespan_runs_around_the_application() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        seen.append("open")
        yield
        seen.append("closed")

    app = create_app(title="kit", routers=[router], lifespan=lifespan)
    async with app.router.lifespan_context(app):
        assert seen == ["open"]
    assert seen == ["open", "closed"]


async def test_the_token_is_judged_before_the_body_is_read(edge: httpx.AsyncClient) -> None:
    headers = {"authorization": "", "content-type": "text/plain"}
    assert (await edge.post("/v1/receipts", content=b"{", headers=headers)).status_code == 401


async def test_a_caller_that_leaves_is_no_server_error(edge: httpx.AsyncClient) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    transport = edge._transport
    assert isinstance(transport, httpx.ASGITransport)
    app: Callable[..., Any] = transport.app
    headers = [
        (b"content-type", b"application/json"),
        (b"authorization", edge.headers["authorization"].encode()),
    ]
    scope = {
        "type": "http", "method": "POST", "path": "/v1/receipts", "raw_path": b"/v1/receipts", "root_path": "",
        "query_string": b"", "headers": headers, "http_version": "1.1", "scheme": "http",
        "server": ("kit", 80), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    await app(scope, receive, send)
    assert sent[0]["status"] == 400
