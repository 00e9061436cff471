"""An HTTP client of a running stack, with the administrator's token.

Fetches a token from partner-svc and renews it before it ends. Waits for a service that is being restarted, and
sends every repetition of a POST with the Idempotency-Key of the first, so that waiting never does a thing twice.
Used by `demo` and the day it plays; decides nothing about what is sent.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import uuid4

import httpx

from channel_kit import outbound
from qudao.stack import Stack

PATIENCE_SECONDS: Final = 120.0
PAGE: Final = 200
_PAUSES: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
_AWAY: Final = frozenset({429, 502, 503, 504})
_RENEW_SECONDS: Final = 60.0
_IN_FLIGHT: Final = "request-in-flight"


class Refused(RuntimeError):
    """A service answered with a problem; the message is what it said."""

    def __init__(self, answer: httpx.Response) -> None:
        self.status, problem = answer.status_code, _problem(answer)
        self.code = str(problem.get("code", ""))
        detail = problem.get("detail") or problem.get("title") or answer.text[:200]
        errors = f" {problem['errors']}" if "errors" in problem else ""
        asked = f"{answer.request.method} {answer.request.url.path}"
        super().__init__(f"{asked} answered {self.status} {self.code}: {detail}{errors}")


class Unreachable(RuntimeError):
    """Nobody answered within the patience; the message says what the last attempt met."""


class Client:
    """Typed by what it sends, not by what comes back: answers are plain JSON values."""

    def __init__(self, stack: Stack, http: httpx.AsyncClient, patience: float = PATIENCE_SECONDS) -> None:
        self.stack, self.http = stack, http
        self._patience = patience
        self._token, self._renew_at = "", 0.0
        self._renewing = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def connect(cls, stack: Stack, patience: float = PATIENCE_SECONDS) -> AsyncIterator["Client"]:
        """A client that has its token; it waits up to `patience` seconds for a service that is away.

        Raises `Refused` or `Unreachable`.
        """
        async with outbound.client() as http:
            client = cls(stack, http, patience)
            await client.token()
            yield client

    async def get(self, service: str, path: str, **params: Any) -> Any:
        """What a service answers. Raises `Refused`, `Unreachable`; so do all the others."""
        return await self._ask(service, "GET", path, params=params)

    async def post(self, service: str, path: str, body: Any = None, *, key: str | None = None) -> Any:
        """`key` is the Idempotency-Key: give one where the caller itself may ask again."""
        headers = {"idempotency-key": key or uuid4().hex}
        return await self._ask(service, "POST", path, json={} if body is None else body, headers=headers)

    async def put(self, service: str, path: str, body: Any) -> Any:
        """Says how something should be; the same again changes nothing."""
        return await self._ask(service, "PUT", path, json=body)

    async def upload(self, service: str, path: str, raw: bytes, **params: Any) -> Any:
        """Sends a CSV file."""
        headers = {"content-type": "text/csv"}
        return await self._ask(service, "POST", path, content=raw, headers=headers, params=params)

    async def pages(self, service: str, path: str, **params: Any) -> AsyncIterator[dict[str, Any]]:
        """Every item of a list, page by page."""
        cursor: dict[str, Any] = {}
        while True:
            page = await self.get(service, path, **params, **cursor, limit=PAGE)
            for item in page["items"]:
                yield item
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}

    async def token(self) -> str:
        """An access token that is good for another minute at least."""
        async with self._renewing:
            if time.monotonic() > self._renew_at:
                admin = self.stack.admin
                asked = time.monotonic()
                answer = await patiently(
                    lambda: self.http.post(
                        self.stack.url("partner") + "/v1/tokens",
                        data={"grant_type": "client_credentials"},
                        auth=(admin.client_id, admin.client_secret),
                    ),
                    self._patience,
                )
                given = _checked(answer)
                self._token = given["access_token"]
                self._renew_at = asked + given["expires_in"] - _RENEW_SECONDS
            return self._token

    async def _ask(self, service: str, method: str, path: str, **options: Any) -> Any:
        url, own = self.stack.url(service) + path, options.pop("headers", {})

        async def attempt() -> httpx.Response:
            headers = {**own, "authorization": f"Bearer {await self.token()}"}
            return await self.http.request(method, url, headers=headers, **options)

        return _checked(await patiently(attempt, self._patience))


async def patiently(
    attempt: Callable[[], Awaitable[httpx.Response]], seconds: float = PATIENCE_SECONDS
) -> httpx.Response:
    """The first answer that is one: services that are away, or busy with the same command, are asked again.

    Raises `Unreachable` after `seconds`.
    """
    deadline, tries = time.monotonic() + seconds, 0
    while True:
        try:
            answer = await attempt()
        except httpx.TransportError as failure:
            met = f"{type(failure).__name__}: {failure}"
        else:
            if not _is_away(answer):
                return answer
            met = f"{answer.status_code} {answer.text[:200]}"
        if time.monotonic() > deadline:
            raise Unreachable(f"no answer within {seconds:g} s; the last attempt met {met}")
        await asyncio.sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])
        tries += 1


def _is_away(answer: httpx.Response) -> bool:
    if answer.status_code == 409:
        return _problem(answer).get("code") == _IN_FLIGHT
    return answer.status_code in _AWAY


def _checked(answer: httpx.Response) -> Any:
    if not answer.is_success:
        raise Refused(answer)
    return answer.json()


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        problem = answer.json()
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}
