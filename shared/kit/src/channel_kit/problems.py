"""Everything that can go wrong at the HTTP edge, as RFC 9457 `application/problem+json`.

A problem is a class next to the rule it belongs to: it subclasses `Problem` and says status, code and
title. This module owns the base, the ready-made ones, and the translation of foreign exceptions.
An answer never holds a trace, a statement or the caller's input; a 5xx carries a correlation id that
the log line repeats. `http.create_app` installs the handlers.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from channel_kit.database import is_away
from channel_kit.gather import Overloaded
from channel_kit.ids import uuid7

MEDIA_TYPE = "application/problem+json"
FAULTS_MAX = 20
_POINTER_MAX = 200
_RESERVED = frozenset({"type", "title", "status", "code", "detail", "instance"})

_log = structlog.get_logger(__name__)


class Problem(Exception):
    """A refusal with a stable kebab-case `code`. `extra` becomes members of the answer's object.

    `title` and `detail` tell the reader what to do. `retry_after` is in whole seconds.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Something went wrong on our side; report the correlation id"
    retry_after: ClassVar[int | None] = None

    def __init__(self, detail: str = "", *, headers: Mapping[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail or self.title)
        if clash := _RESERVED & extra.keys():
            raise TypeError(f"a problem's own members cannot be given as extra: {sorted(clash)}")
        self.detail = detail
        self.extra = extra
        self.headers = dict(headers or {})
        if self.retry_after is not None:
            self.headers.setdefault("Retry-After", str(self.retry_after))

    def body(self) -> dict[str, Any]:
        """The JSON object of the answer."""
        head: dict[str, Any] = {
            "type": f"urn:qudao:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
        }
        return head | ({"detail": self.detail} if self.detail else {}) | self.extra


class BadRequest(Problem):
    status = 400
    code = "bad-request"
    title = "The request cannot be read; correct it before sending it again"


class MalformedJson(BadRequest):
    code = "malformed-json"
    title = "The body is not acceptable JSON; send one UTF-8 JSON document"


class NotFound(Problem):
    status = 404
    code = "not-found"
    title = "There is nothing here that you may see; check the identifier"


class NoSuchRoute(NotFound):
    code = "no-such-route"
    title = "There is no such path; see the OpenAPI document"


class MethodNotAllowed(Problem):
    status = 405
    code = "method-not-allowed"
    title = "This path does not take this method; see the Allow header"


class RequestTimeout(Problem):
    status = 408
    code = "request-timeout"
    title = "The body did not arrive in time; send it again faster or in smaller parts"


class Conflict(Problem):
    status = 409
    code = "conflict"
    title = "The present state does not allow this; read it again and decide anew"


class PreconditionFailed(Problem):
    status = 412
    code = "precondition-failed"
    title = "It has changed since you read it; read it again and send the new ETag"


class ContentTooLarge(Problem):
    status = 413
    code = "content-too-large"
    title = "The body is too large; send less at a time"


class UnsupportedMediaType(Problem):
    status = 415
    code = "unsupported-media-type"
    title = "The content type is not accepted here; see the detail"


class Unprocessable(Problem):
    status = 422
    code = "unprocessable"
    title = "The request is well formed but cannot be carried out; see the detail"


class InvalidRequest(Unprocessable):
    """Says where and why, as `errors: [{in, pointer, reason}]`; never what was sent."""

    code = "invalid-request"
    title = "Some values are missing or not acceptable; correct those listed under errors"


class Unavailable(Problem):
    status = 503
    code = "unavailable"
    title = "We cannot take this at the moment; send it again after the time in Retry-After"
    retry_after = 1


class DatabaseUnavailable(Unavailable):
    code = "database-unavailable"
    title = "The database does not answer at the moment; send it again after the time in Retry-After"


class InternalError(Problem):
    pass


def respond(problem: Problem) -> Response:
    """The HTTP answer of a problem. Any text in it survives, lone surrogates and NaN included."""
    content = json.dumps(_encodable(problem.body()), ensure_ascii=False, allow_nan=False).encode()
    return Response(content, problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


def translate(error: Exception) -> Problem:
    """The problem that answers any exception; an unexpected one is logged under a new correlation id."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return InvalidRequest(errors=faults(error.errors()))
    if isinstance(error, HTTPException):
        return _of_starlette(error)
    if isinstance(error, ClientDisconnect):
        return BadRequest("The connection ended before the body was complete.")
    if isinstance(error, Overloaded):
        return Unavailable("Too much is waiting to be written.")
    if isinstance(error, PoolTimeout) or is_away(error):
        _log.warning("database unavailable", error=repr(error)[:200])
        return DatabaseUnavailable()
    correlation_id = str(uuid7())
    _log.error("unhandled error", correlation_id=correlation_id, exc_info=error)
    return InternalError(correlation_id=correlation_id)


def faults(errors: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Pydantic's errors as `{in, pointer, reason}`, at most `FAULTS_MAX`, without the refused values."""
    return [_fault(error) for error in errors[:FAULTS_MAX]]


def install(app: FastAPI) -> None:
    """Answer every exception that a route or its dependencies raise with problem+json."""

    async def answer(_: Request, error: Exception) -> Response:
        return respond(translate(error))

    for kind in (Problem, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer)


_PLACES = frozenset({"body", "query", "path", "header", "cookie"})
_OWN_WORDS = {
    "uuid_parsing": "use a UUID",
    "union_tag_invalid": "use one of the documented variants",
    "json_invalid": "send valid JSON",
}


def _fault(error: Mapping[str, Any]) -> dict[str, str]:
    place, *steps = error["loc"] if error["loc"] and error["loc"][0] in _PLACES else ("body", *error["loc"])
    pointer = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
    return {"in": place, "pointer": pointer[:_POINTER_MAX], "reason": _reason(error)}


def _reason(error: Mapping[str, Any]) -> str:
    kind, message = error["type"], error["msg"]
    if kind in _OWN_WORDS:
        return _OWN_WORDS[kind]
    sent = error.get("input")
    if kind in {"value_error", "assertion_error"}:
        message = message.partition(", ")[2] or message
        # Our validators write their own words, which might quote what they refuse.
        if isinstance(sent, str | int | float) and str(sent) and str(sent) in message:
            return "this value is not acceptable; see the OpenAPI document"
    return str(message)


def _of_starlette(error: HTTPException) -> Problem:
    known: dict[int, type[Problem]] = {
        400: BadRequest,
        404: NoSuchRoute,
        405: MethodNotAllowed,
        413: ContentTooLarge,
        415: UnsupportedMediaType,
        422: Unprocessable,
        503: Unavailable,
    }
    kind = known.get(error.status_code)
    if kind is None:
        kind = type(
            "Refused",
            (Problem,),
            {
                "status": error.status_code,
                "code": f"http-{error.status_code}",
                "title": "The request was refused",
            },
        )
    return kind(headers=error.headers)


def _encodable(value: Any) -> Any:
    """The value with everything JSON or UTF-8 cannot say turned into text."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Mapping):
        return {_encodable(str(key)): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_encodable(item) for item in value]
    if isinstance(value, float) and value - value == 0:
        return value
    return _encodable(str(value))
