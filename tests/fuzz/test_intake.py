"""The webhook intake from bytes to rows: whatever comes is answered as documented, and a 200 is a row.

The order service's own ASGI function, on a real database, is handed arbitrary requests and signed ones of every
platform, broken in pieces; the drain then settles all that was taken.
"""

import base64
import hmac
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from channel_kit.database import STAFF, WORKER, Database
from channel_kit.problems import MEDIA_TYPE
from channel_kit.service import ASGI, Runtime
from channel_kit.settings import ServiceSettings
from channel_kit.testing.plugin import SECRET_KEY, ServiceDatabase
from channel_kit.vault import Vault
from order_svc.connection.actions import connect
from order_svc.intake.actions import drain
from order_svc.intake.rules import ADAPTER_FAILED
from order_svc.service import SERVICE

from .budget import tries
from .engine import declared
from .furniture import FIXTURES
from .mutations import mutated, written

SECRETS = {"shopify": "a-secret-of-the-shop", "woocommerce": "a-secret & of the <shop>",
           "generic": "whsec_" + base64.b64encode(b"k" * 24).decode()}  # fmt: skip
STOCK = [
    (path.name.partition("_")[0], json.loads(path.read_text("utf-8")))
    for path in sorted(FIXTURES.glob("*.json"))
]
HEADERS = (b"webhook-id", b"webhook-timestamp", b"webhook-signature", b"x-shopify-hmac-sha256", b"x-shopify-topic",
           b"x-wc-webhook-signature", b"x-wc-webhook-topic", b"content-length", b"content-type", b"traceparent",
           b"x-shopify-webhook-id", b"user-agent")  # fmt: skip
TOPICS = {"shopify": ("orders/create", "refunds/create", "orders/delete", "Ä/\x00"), "generic": ("",),
          "woocommerce": ("order.updated", "order.deleted", "")}  # fmt: skip
statuses: Counter[str] = Counter()
Headers = list[tuple[bytes, bytes]]


class Door:
    """The intake, what it took, and how often it answered 200 for something new."""

    def __init__(self, app: ASGI, database: Database) -> None:
        self._app, self.database = app, database
        self.taken: set[tuple[str, bytes]] = set()

    async def knock(
        self, method: str, path: str, headers: Headers, chunks: list[bytes], cut: bool = False
    ) -> int:
        """The status that a request is answered with, sent in these pieces and maybe broken off."""
        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
                 "path": path, "raw_path": path.encode("utf-8", "surrogateescape"), "query_string": b"", "root_path": "",
                 "headers": headers, "client": ("127.0.0.1", 1), "server": ("order", 80), "state": {}}  # fmt: skip
        coming = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
        end = (
            {"type": "http.disconnect"} if cut else {"type": "http.request", "body": b"", "more_body": False}
        )
        sent: list[Any] = []

        async def receive() -> Any:
            return coming.pop(0) if coming else end

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        status, kind = int(sent[0]["status"]), dict(sent[0]["headers"]).get(b"content-type", b"").decode()
        statuses[str(status)] += 1
        if status >= 400:
            assert kind == MEDIA_TYPE
            said = json.loads(b"".join(message.get("body", b"") for message in sent[1:]))
            assert (status, said["code"]) in declared("order"), said
        assert status < 500
        return status

    async def rows(self) -> int:
        """How many deliveries are stored."""
        async with self.database.read(WORKER) as tx:
            return int(await tx.value("select count(*) from delivery"))


@pytest.fixture(scope="module")
async def door(service_database: ServiceDatabase) -> Door:
    database = await service_database(SERVICE)
    runtime = Runtime(ServiceSettings(secret_key=SecretStr(SECRET_KEY)), database)
    async with database.write(STAFF) as tx:
        for platform, secret in SECRETS.items():
            await connect(tx, Vault(runtime.settings.secret_key), platform, "shop", platform, secret)
    return Door(SERVICE.app(runtime), database)


def signed(platform: str, topic: str, raw: bytes, message_id: str) -> Headers:
    """What the platform sends beside a body."""
    secret = SECRETS[platform]
    if platform == "generic":
        stamp = str(int(time.time())).encode()
        content = b".".join((message_id.encode(), stamp, raw))
        digest = base64.b64encode(hmac.digest(b"k" * 24, content, "sha256"))
        return [
            (b"webhook-id", message_id.encode()),
            (b"webhook-timestamp", stamp),
            (b"webhook-signature", b"v1," + digest),
        ]
    names = {"shopify": (b"x-shopify-hmac-sha256", b"x-shopify-topic")}
    signature, about = names.get(platform, (b"x-wc-webhook-signature", b"x-wc-webhook-topic"))
    content = raw.strip(b" \t\n\r\0\x0b") if platform == "woocommerce" else raw
    digest = base64.b64encode(hmac.digest(secret.encode(), content, "sha256"))
    return [(signature, digest), (about, topic.encode("latin-1"))]


@tries(150)
@given(
    method=st.sampled_from(("POST", "POST", "POST", "GET", "PUT", "TRACE")),
    path=st.sampled_from(
        ("/webhooks/shopify/shopify", "/webhooks/woocommerce/woocommerce", "/webhooks/generic/generic")
    )
    | st.text(max_size=40).map(lambda text: f"/webhooks/{text}"),
    headers=st.lists(
        st.tuples(st.sampled_from(HEADERS) | st.binary(max_size=20), st.binary(max_size=60)), max_size=6
    ),
    chunks=st.lists(st.binary(max_size=200), max_size=3),
    cut=st.booleans(),
)
@example(
    method="POST",
    path="/webhooks/generic/generic",
    headers=[(name, b"\xff") for name in HEADERS],
    chunks=[],
    cut=False,
)
@example(method="POST", path="/webhooks/pos/x", headers=[], chunks=[b"{}"], cut=False)
@example(method="POST", path="/webhooks/shopify/" + "a" * 3_000, headers=[], chunks=[], cut=False)
@example(
    method="POST", path="/webhooks/shopify/shopify", headers=[], chunks=[b"x" * 1_200_000] * 2, cut=False
)
async def test_requests_that_nobody_signed_store_nothing(
    door: Door, method: str, path: str, headers: Headers, chunks: list[bytes], cut: bool
) -> None:
    before = await door.rows()
    assert await door.knock(method, path, headers, chunks, cut) in (400, 401, 404, 405, 413)
    assert await door.rows() == before


@tries(150)
@given(
    chance=st.randoms(use_true_random=False),
    changes=st.sampled_from((0, 1, 1, 2)),
    raw=st.none() | st.none() | st.none() | st.binary(max_size=80),
)
async def test_signed_bytes_are_taken_once(
    door: Door, chance: random.Random, changes: int, raw: bytes | None
) -> None:
    platform, shape = chance.choice(STOCK)
    body = written(chance, mutated(chance, shape, changes)) if raw is None else raw
    topic, message_id = chance.choice(TOPICS[platform]), f"msg_{chance.randrange(40)}"
    headers = signed(platform, topic, body, message_id)
    pieces = sorted(chance.randrange(len(body) + 1) for _ in range(chance.randrange(3)))
    chunks = [body[start:end] for start, end in zip([0, *pieces], [*pieces, len(body)], strict=True)]
    noise = [(b"traceparent", b"\xff"), (b"user-agent", bytes([chance.randrange(256)]) * 9)]
    for _ in range(chance.choice((1, 2))):  # once more is no more
        assert await door.knock("POST", f"/webhooks/{platform}/{platform}", headers + noise, chunks) == 200
    told = message_id.encode() if platform == "generic" else topic_key(topic)
    trimmed = body.strip(b" \t\n\r\0\x0b") if platform == "woocommerce" else body
    door.taken.add((platform, told + b"\0" + sha256(trimmed).digest()))
    assert await door.rows() == len(door.taken)


def topic_key(topic: str) -> bytes:
    """A topic as the intake tells topics apart: without U+0000 and in lower case."""
    return topic.replace("\x00", "").strip().lower().encode()


async def test_the_drain_settles_all_that_was_taken(door: Door) -> None:
    while await drain(door.database):
        pass
    async with door.database.read(WORKER) as tx:
        rows = await tx.rows("select status, reason, count(*) as n from delivery group by 1, 2")
    for row in rows:
        statuses[f"{row.status} {row.reason or ''}".strip()] += row.n
    assert sum(row.n for row in rows) == len(door.taken) > 0
    assert {row.status for row in rows} <= {"applied", "ignored", "quarantined"}
    assert not {row.reason for row in rows} & {ADAPTER_FAILED, "apply-failed"}


@pytest.fixture(scope="module", autouse=True)
def _told(tell: Callable[[str], None]) -> Iterator[None]:
    yield
    tell("fuzz, intake: " + ", ".join(f"{n} × {what}" for what, n in sorted(statuses.items())))
