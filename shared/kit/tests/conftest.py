"""For the tests of the HTTP edge: a small application made with the kit, its client, the tally of bad input."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import httpx
import pytest

from channel_events.values import Code, Instant, MinorUnits, Quantity, Text
from channel_kit.auth import Caller, Key, KeyRing, new_key, public_key, scope, sign
from channel_kit.files import read_table, upload_body
from channel_kit.http import Body, CurrencyCode, Router, View, create_app, json_body
from channel_kit.idempotency import IdempotencyKey
from channel_kit.pagination import Cursor

UPLOAD_BYTES_MAX = 1024 * 1024


class Tag(Body):
    key: Code
    value: Text


class Receive(Body):
    sku: Code
    name: Text
    quantity: Quantity
    amount_minor: MinorUnits
    currency: CurrencyCode
    count: int
    at: Instant
    receipt_id: UUID
    accepted: bool
    tags: list[Tag]


class Received(View):
    sku: str
    name: str
    quantity: Quantity
    subject: str
    partner_id: UUID | None


router = Router()


@router.post("/v1/receipts", status_code=201)
async def receive(
    command: Annotated[Receive, json_body(Receive)], caller: Annotated[Caller, scope("stock:write")]
) -> Received:
    return Received(
        sku=command.sku,
        name=command.name,
        quantity=command.quantity,
        subject=caller.subject,
        partner_id=caller.partner_id,
    )


@router.post("/v1/keyed")
async def keyed(key: IdempotencyKey, caller: Annotated[Caller, scope("stock:write")]) -> dict[str, str]:
    return {"key": key}


@router.post("/v1/imports")
async def upload(
    raw: Annotated[bytes, upload_body(bytes_max=UPLOAD_BYTES_MAX)],
    caller: Annotated[Caller, scope("stock:write")],
) -> dict[str, int]:
    return {"rows": len(read_table(raw, required=["sku", "quantity"]).rows)}


@router.get("/v1/receipts")
async def receipts(cursor: Cursor, caller: Annotated[Caller, scope("stock:read")]) -> dict[str, Any]:
    return {"limit": cursor.limit, "after": cursor.values(UUID, int) and "given"}


@router.get("/v1/receipts/{receipt_id}")
async def receipt(receipt_id: UUID, caller: Annotated[Caller, scope("stock:read")]) -> dict[str, str]:
    return {"receipt_id": str(receipt_id)}


KID, PEM, JWK = new_key()


async def _keys() -> list[Key]:
    moment = datetime.now(UTC)
    return [Key(KID, public_key(JWK), moment - timedelta(days=1), moment + timedelta(days=1))]


@pytest.fixture(scope="session")
async def edge() -> AsyncIterator[httpx.AsyncClient]:
    """A client of the small application, with a token for `stock:read` and `stock:write`."""
    app = create_app(title="kit", routers=[router])
    app.state.key_ring = KeyRing(_keys)
    token = sign(PEM, KID, subject="till-7", scopes=["stock:read", "stock:write"])
    headers = {"authorization": f"Bearer {token}"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://kit", headers=headers) as client:
        yield client


@pytest.fixture(scope="session")
def tally() -> Iterator[Callable[[str, httpx.Response, int], None]]:
    """Collects answers by class; prints the counts at the end; judges each answer."""
    seen: dict[str, Counter[int]] = {}

    def judge(kind: str, answer: httpx.Response, expected: int) -> None:
        seen.setdefault(kind, Counter())[answer.status_code] += 1
        assert answer.status_code < 500, answer.text
        assert answer.status_code == expected, answer.text
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        if expected >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            problem = json.loads(answer.content.decode())
            assert problem["status"] == expected
            assert problem["title"]
            assert problem["code"]
            assert "Traceback" not in answer.text

    yield judge
    for kind, statuses in seen.items():
        failures = sum(count for status, count in statuses.items() if status >= 500)
        print(f"\nbad input, {kind}: {sum(statuses.values())} rows, {dict(statuses)}, {failures} × 5xx")
