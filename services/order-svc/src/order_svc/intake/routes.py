"""`/webhooks/{platform}/{slug}` for the platforms, `/v1/deliveries` for people who want to know what came.

The webhook path is one ASGI function in front of the application: it reads the raw body, checks the signature
over those bytes, hands the message to the group commit and answers what the platform expects, after COMMIT.
Nothing is parsed before the signature is known to be good, and nothing is stored when it is not.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import cache, lru_cache
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from fastapi import Request
from prometheus_client import Counter
from pydantic import Field

from channel_kit import problems, telemetry
from channel_kit.admin import record
from channel_kit.auth import Caller, scope
from channel_kit.clock import now
from channel_kit.gather import Gather
from channel_kit.http import Body, Router, View, database, json_body
from channel_kit.ids import uuid7
from channel_kit.pagination import Cursor, Page
from channel_kit.problems import BadRequest, MethodNotAllowed, RequestTimeout, Unavailable
from channel_kit.service import ASGI
from order_svc.connection.actions import Connections
from order_svc.connection.rules import Connection, Secret, UnknownConnection
from order_svc.intake import actions, store
from order_svc.intake.rules import (
    BODY_BYTES_MAX,
    DeliveryTooLarge,
    NotQuarantined,
    SignatureRefused,
    UnknownDelivery,
)
from order_svc.intake.store import Incoming
from order_svc.platforms import PLATFORMS
from order_svc.platforms.contract import Answer, BadSignature, Platform

router = Router(tags=["deliveries"])

PREFIX: Final = "/webhooks/"
BODY_SECONDS_MAX: Final = 10
RENEW_SECONDS: Final = 0.1
HEADERS_KEPT: Final = ("content-type", "user-agent", "webhook-", "svix-", "x-shopify-", "shopify-", "x-wc-")
SIGNATURES: Final = ("hmac", "signature")

received = Counter(
    "qudao_deliveries_total",
    "Webhook requests, by platform and what became of them.",
    ["platform", "outcome"],
)


@cache
def _counter(platform: str, outcome: str) -> Counter:
    # Finding the child of two labels takes as long as counting; there are few of them.
    return received.labels(platform, outcome)


class Webhooks:
    """The function in front: answers `/webhooks/…` itself and passes everything else on."""

    def __init__(
        self,
        app: ASGI,
        connections: Connections,
        gather: Gather[Incoming, bool],
        body_seconds: float = BODY_SECONDS_MAX,
    ) -> None:
        self._app, self._connections, self._gather = app, connections, gather
        self._body_seconds = body_seconds

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        platform, _, slug = scope["path"][len(PREFIX) :].partition("/")
        label = platform if platform in PLATFORMS else "unknown"
        try:
            answer, outcome = await self._deliver(scope, receive, platform, slug)
        except Exception as error:
            problem = problems.translate(error)
            _counter(label, problem.code).inc()
            refusal = problems.respond(problem)
            # A local that is the exception being handled is a cycle, which would keep the body until the collector runs.
            del problem
            await refusal(scope, receive, send)
            return
        _counter(label, outcome).inc()
        await _send(send, answer)

    async def _deliver(self, scope: Any, receive: Any, platform: str, slug: str) -> tuple[Answer, str]:
        if scope["method"] != "POST":
            raise MethodNotAllowed(headers={"allow": "POST"})
        adapter = PLATFORMS.get(platform)
        connection = await self._connections.get(platform, slug) if adapter else None
        if adapter is None or connection is None:
            raise UnknownConnection
        raw, headers = await _read(receive, self._body_seconds), _headers(scope["headers"])
        if hello := adapter.handshake(raw, headers):
            return hello, "handshake"
        if connection.state != "active":
            raise Unavailable("This connection is paused.")
        at = now()
        try:
            secret = _signer(adapter, connection, raw, headers, at)
        except SignatureRefused:
            # Another process may have rotated the secret a moment ago, and senders give up after a few refusals.
            renewed = await self._connections.get(platform, slug, seconds=RENEW_SECONDS)
            if renewed is None or renewed is connection:
                raise
            secret = _signer(adapter, renewed, raw, headers, at)
        message = adapter.describe(raw, headers)
        digest = hashlib.sha256(raw).digest()
        delivery_id = uuid7()
        telemetry.start_trace(headers.get("traceparent"))
        incoming = Incoming(
            delivery_id,
            platform,
            connection.shop_id,
            message.topic[:255],
            message.message_id,
            message.dedupe_key,
            digest if message.signed_id else b"",
            digest,
            raw,
            _evidence(headers),
            secret.secret_id,
            at,
        )
        fresh = await self._gather.submit(incoming, len(raw))
        return adapter.accepted(), "stored" if fresh else "repeated"


def _signer(
    adapter: Platform, connection: Connection, raw: bytes, headers: Mapping[str, str], at: datetime
) -> Secret:
    """The live secret that signed `raw`. Raises SignatureRefused."""
    secrets = [secret for secret in connection.secrets if secret.live(at)]
    try:
        return secrets[adapter.verify(raw, headers, [secret.text for secret in secrets], at)]
    except BadSignature as error:
        raise SignatureRefused(error.detail, reason=error.code) from None


async def _read(receive: Any, seconds: float) -> bytes:
    """The raw body, counted while it arrives."""
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise BadRequest("The connection ended before the body was complete.")
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > BODY_BYTES_MAX:
                    raise DeliveryTooLarge
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError:
        raise RequestTimeout(f"A delivery must arrive within {seconds:g} seconds.") from None


def _headers(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Lower-case names; a repeated header is joined, so that a doubled signature can never match."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}
    if len(headers) == len(raw):
        return headers
    headers.clear()
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def _evidence(headers: Mapping[str, str]) -> str:
    """What is worth keeping of the headers: ids and topics, never the signature itself."""
    kept = {name: value[:500].replace("\x00", "") for name, value in headers.items() if _is_evidence(name)}
    return msgspec.json.encode({**kept, **telemetry.trace_headers()}).decode()


@lru_cache(maxsize=1_024)  # senders choose the names
def _is_evidence(name: str) -> bool:
    return name.startswith(HEADERS_KEPT) and not any(word in name for word in SIGNATURES)


async def _send(send: Any, answer: Answer) -> None:
    headers = [
        (b"content-type", answer.content_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


class DeliveryView(View):
    """One raw message and what became of it."""

    delivery_id: UUID
    platform: str
    shop_id: str
    topic: str
    message_id: str | None
    status: str
    outcome: str | None
    reason: str | None
    detail: str | None
    order_id: UUID | None
    id_reused: bool
    attempts: int
    received_at: datetime
    settled_at: datetime | None
    bytes: int
    body_sha256: str


class DeliveryDetail(DeliveryView):
    """With the body as text; bytes that are no UTF-8 are shown as U+FFFD."""

    headers: dict[str, str]
    body: str


class Reprocess(Body):
    """Which quarantined deliveries to read again: these, or all with a reason, or all."""

    delivery_ids: Annotated[tuple[str, ...], Field(max_length=1_000)] | None = None
    reason: str | None = None


class ReprocessView(View):
    requeued: int


@router.get("/v1/deliveries")
async def deliveries(
    caller: Annotated[Caller, scope("orders:read", staff=True)],
    cursor: Cursor,
    request: Request,
    status: str | None = None,
    order_id: UUID | None = None,
) -> Page[DeliveryView]:
    """What arrived, newest first."""
    before = cursor.values(UUID)
    async with database(request).read(caller.actor) as tx:
        rows = await store.page(tx, status, order_id, before[0] if before else None, cursor.limit + 1)
    items = [DeliveryView(**row) for row in rows[: cursor.limit]]
    return cursor.page(items, len(rows), (items[-1].delivery_id,) if items else ())


class CountsView(View):
    """`new` waits for the drain, `quarantined` for somebody."""

    new: int
    quarantined: int


@router.get("/v1/deliveries/counts")
async def counts(caller: Annotated[Caller, scope("orders:read", staff=True)], request: Request) -> CountsView:
    async with database(request).read(caller.actor) as tx:
        return CountsView(**await store.counts(tx))


@router.get("/v1/deliveries/{delivery_id}")
async def delivery(
    delivery_id: UUID, caller: Annotated[Caller, scope("orders:read", staff=True)], request: Request
) -> DeliveryDetail:
    async with database(request).read(caller.actor) as tx:
        row = await store.one(tx, delivery_id)
    if row is None:
        raise UnknownDelivery
    shown = {
        **row,
        "headers": msgspec.json.decode(row.headers),
        "body": bytes(row.body).decode("utf-8", "replace"),
    }
    return DeliveryDetail(**shown)


@router.post("/v1/deliveries/reprocess")
async def reprocess(
    command: Annotated[Reprocess, json_body(Reprocess)],
    caller: Annotated[Caller, scope("deliveries:replay", staff=True)],
    request: Request,
) -> ReprocessView:
    """Reads quarantined deliveries again, with today's adapters; those that fail again return to quarantine."""
    try:
        chosen = [UUID(text) for text in command.delivery_ids or ()]
    except ValueError:
        raise BadRequest("Give delivery ids as UUIDs.") from None
    async with database(request).write(caller.actor) as tx:
        if command.delivery_ids is None:
            chosen = await store.quarantined(tx, command.reason, 10_000)
        requeued = await actions.reprocess(tx, chosen)
        if command.delivery_ids is not None and len(requeued) < len(set(chosen)):
            raise NotQuarantined
        await record(tx, caller, "reprocess", reason=command.reason, deliveries=len(requeued))
    return ReprocessView(requeued=len(requeued))
