"""The HTTP edge of a service: the application, its router, and how bodies are read.

Everything a stranger can send wrong ends here as a problem, never as a 5xx: sizes, media types, strict
JSON, bytes in paths and queries. It opens no transaction: a route opens `database(request).write(…)`
itself, so that COMMIT comes before the answer. Services call `create_app` once and `Router` per noun.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any, Final, TypeVar, cast, get_args
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.params import Depends as DependsMarker
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from channel_kit import openapi, problems, strictjson
from channel_kit.database import Database
from channel_kit.money import exponent
from channel_kit.problems import (
    BadRequest,
    ContentTooLarge,
    MethodNotAllowed,
    RequestTimeout,
    UnsupportedMediaType,
)

BODY_BYTES_MAX: Final = 1024 * 1024
BODY_SECONDS_MAX: Final = 30
TARGET_BYTES_MAX: Final = 16 * 1024

Model = TypeVar("Model", bound=BaseModel)
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

_SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)


class Body(BaseModel):
    """Base of every request model: exact types, no unknown members, immutable, bounded texts."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, str_max_length=4_000)


def _known_currency(code: str) -> str:
    exponent(code)
    return code


CurrencyCode = Annotated[str, Field(json_schema_extra={"example": "CNY"}), AfterValidator(_known_currency)]
"""An active ISO 4217 code in capitals, for our own commands; platforms' facts are judged elsewhere."""


class View(BaseModel):
    """Base of every response model. Quantities are `channel_events.values.Quantity`, so plain strings."""

    model_config = ConfigDict(frozen=True)


class InvalidTarget(BadRequest):
    code = "invalid-target"
    title = "The path or query holds bytes that are not valid text; percent-encode UTF-8 without U+0000"


class Unguarded(RuntimeError):
    """A route is open by omission, or reads its body past `json_body`; the application must not start."""


class Router(APIRouter):
    """A noun's routes. The guard of a route runs before its body is read, wherever the signature names it."""

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        guards = [marker for marker in _markers(endpoint) if _is_guard(marker)]
        options["dependencies"] = [*guards, *(options.get("dependencies") or [])]
        super().add_api_route(path, endpoint, **options)


def json_body(model: type[Model], *, bytes_max: int = BODY_BYTES_MAX) -> Any:
    """A dependency that reads the request's JSON as `model`, strictly.

    Answers 415 for another media type, 413 beyond `bytes_max`, 400 `malformed-json` for what is not one
    sound JSON document and 422 `invalid-request`, with pointers, for the wrong shape.
    """

    # Strictness comes from the model: given at the call it would also reach into types that parse text.
    if not model.model_config.get("strict") or model.model_config.get("extra") != "forbid":
        raise TypeError(f"{model.__name__} must be a Body: strict, and without unknown members")

    async def read(request: Request) -> Model:
        require_media_type(request, "application/json")
        return strictjson.validate(await read_capped(request, bytes_max), model)

    read.body_model = model  # type: ignore[attr-defined]  # openapi documents the body from this
    return Depends(read)


async def read_capped(request: Request, bytes_max: int) -> bytes:
    """The raw body, counted while it arrives. Raises `ContentTooLarge`, or `RequestTimeout` after 30 s."""
    too_large = ContentTooLarge(f"Send at most {bytes_max} bytes.")
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and (len(declared) > 18 or int(declared) > bytes_max):
        raise too_large
    received = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            async for chunk in request.stream():
                received += chunk
                if len(received) > bytes_max:
                    raise too_large
    except TimeoutError:
        raise RequestTimeout(f"A body must arrive within {BODY_SECONDS_MAX} seconds.") from None
    return bytes(received)


def require_media_type(request: Request, *accepted: str) -> str:
    """The request's media type without parameters. Raises `UnsupportedMediaType` when it is not accepted."""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    media_type = kind.strip().lower()
    if media_type not in accepted:
        raise UnsupportedMediaType(f"Send {' or '.join(accepted)}.")
    charset = parameters.strip().lower().replace('"', "").removeprefix("charset=")
    if media_type == "application/json" and charset not in {"", "utf-8", "utf8"}:
        raise UnsupportedMediaType("Send JSON in UTF-8.")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("Send the body without Content-Encoding.")
    return media_type


def database(request: Request) -> Database:
    """The service's database, which its lifespan put into `app.state.database`."""
    return cast("Database", request.app.state.database)


def etag(revision: int) -> str:
    """The strong ETag of a revision."""
    return f'"{revision}"'


async def _if_match(
    request: Request,
    if_match: Annotated[
        str | None,
        Header(alias="If-Match", description="The ETag as it was received; 412 when it is stale by now"),
    ] = None,
) -> int | None:
    values = request.headers.getlist("if-match")
    if not values or values == ["*"]:
        return None
    text = values[0].strip()
    digits = text[1:-1]
    quoted = len(text) > 2 and text[0] == text[-1] == '"'
    if len(values) > 1 or not quoted or not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        raise BadRequest('Send one strong ETag in If-Match, such as "3", exactly as it was received.')
    return int(digits)


IfMatch = Annotated[int | None, Depends(_if_match)]
"""A route parameter `seen: IfMatch`: the revision the caller saw, None when it does not say (or says `*`); 400 for what is
no ETag of ours. The route raises `PreconditionFailed` when the revision is stale."""


def create_app(
    *,
    title: str,
    routers: Sequence[APIRouter],
    lifespan: Lifespan | None = None,
    docs: bool = False,
    version: str = "1",
) -> FastAPI:
    """A service's application: guarded routes, problems for errors, security headers, no CORS.

    `docs` serves `/docs` and `/openapi.json`. Raises `Unguarded` when a route declares no scopes, here
    and again at start-up for routes that were added later.
    """

    @asynccontextmanager
    async def guarded(app: FastAPI) -> AsyncIterator[None]:
        assert_guarded(app)
        if lifespan is None:
            yield
            return
        async with lifespan(app):
            yield

    app = FastAPI(
        title=title,
        version=version,
        lifespan=guarded,
        docs_url="/docs" if docs else None,
        openapi_url="/openapi.json" if docs else None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app)
    app.add_exception_handler(405, _method_not_allowed)
    app.add_middleware(_Edge)
    for router in routers:
        app.include_router(router)
    openapi.install(app)
    assert_guarded(app)
    return app


def assert_guarded(app: FastAPI) -> None:
    """Raise `Unguarded`, naming the routes, unless each declares scopes or `auth.public`.

    A body parameter in the framework's own way is refused too: it would be read without our checks.
    """
    documents = {app.openapi_url, app.docs_url, app.swagger_ui_oauth2_redirect_url}
    bare: list[str] = []
    lax: list[str] = []
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, APIRoute):
            if not any(getattr(each.call, "guard", False) for each in context.dependant.dependencies):
                bare.append(f"{','.join(sorted(context.methods or ()))} {context.path}")
            if _reads_body(context.dependant):
                lax.append(f"{','.join(sorted(context.methods or ()))} {context.path}")
        elif context.path not in documents:
            bare.append(f"{type(context.original_route).__name__} {context.path}")
    if bare:
        raise Unguarded("declare auth.scope(…) or auth.public on: " + "; ".join(bare))
    if lax:
        raise Unguarded("read the body by http.json_body on: " + "; ".join(lax))


async def _method_not_allowed(request: Request, error: Exception) -> Response:
    # The framework names the methods of the first route only; a path may have several.
    allowed: set[str] = set()
    for context in iter_route_contexts(request.app.routes):
        if isinstance(context.original_route, APIRoute) and context.path_regex.match(request.url.path):
            allowed |= context.methods or set()
    return problems.respond(MethodNotAllowed(headers={"Allow": ", ".join(sorted(allowed))}))


def _reads_body(dependant: Dependant) -> bool:
    return bool(dependant.body_params) or any(_reads_body(each) for each in dependant.dependencies)


def _markers(endpoint: Callable[..., Any]) -> list[DependsMarker]:
    found: list[DependsMarker] = []
    for parameter in inspect.signature(endpoint, eval_str=True).parameters.values():
        candidates = (*get_args(parameter.annotation)[1:], parameter.default)
        found += [each for each in candidates if isinstance(each, DependsMarker)]
    return found


def _is_guard(marker: DependsMarker) -> bool:
    return bool(getattr(marker.dependency, "guard", False))


class _Edge:
    """Around everything: checks the request target, sets the headers, answers what nobody caught."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(header for header in _SECURITY_HEADERS if header[0] not in present),
                ]
            await send(message)

        try:
            _check_target(scope)
            await self.app(scope, receive, send_with_headers)
        except Exception as error:
            if started:
                raise
            await problems.respond(problems.translate(error))(scope, receive, send_with_headers)


def _check_target(scope: Scope) -> None:
    path = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
    target = path + b"?" + scope.get("query_string", b"")
    if len(target) > TARGET_BYTES_MAX:
        raise InvalidTarget(f"Keep path and query within {TARGET_BYTES_MAX} bytes.")
    if target.isascii() and b"%" not in target:
        return
    decoded = unquote_to_bytes(target)
    if b"\0" in decoded:
        raise InvalidTarget
    try:
        decoded.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidTarget from None
