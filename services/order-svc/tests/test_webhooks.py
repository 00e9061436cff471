"""The door: what is signed comes in once, and nothing else leaves a trace."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channel_kit.clock import now
from order_svc.intake.routes import Webhooks
from order_svc.service import SERVICE

Make = Callable[..., dict[str, Any]]
TOPICS = {"shopify": "orders/create", "woocommerce": "order.created", "generic": ""}
PLATFORMS = sorted(TOPICS)


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_one_altered_byte_is_refused_and_stores_nothing(
    connect: Any, generic: Make, platform: str
) -> None:
    shop = await connect(platform)
    raw = json.dumps(generic()).encode()
    headers = shop.headers(TOPICS[platform], raw)
    signed = [name for name in headers if name != "x-shopify-topic" and name != "x-wc-webhook-topic"]

    cases: list[tuple[bytes, dict[str, str]]] = []

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, len(raw) - 1), st.integers(1, 255), st.none() | st.sampled_from(signed))
    def alter(place: int, flip: int, name: str | None) -> None:
        body, sent = bytearray(raw), dict(headers)
        if name is None:
            body[place] ^= flip
        else:
            place %= len(sent[name])
            other = "A" if sent[name][place] != "A" else "B"
            sent[name] = sent[name][:place] + other + sent[name][place + 1 :]
        cases.append((bytes(body), sent))

    alter()
    refused = [await shop.http.post(shop.path, content=body, headers=sent) for body, sent in cases]
    assert {answer.status_code for answer in refused} == {401}
    assert {answer.json()["code"] for answer in refused} == {"signature-refused"}
    assert await shop.deliveries() == []
    assert (await shop.http.post(shop.path, content=raw, headers=headers)).status_code == 200


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_headers_that_cannot_be_a_signature_are_refused(
    connect: Any, generic: Make, platform: str
) -> None:
    shop = await connect(platform)
    raw = json.dumps(generic()).encode()
    good = shop.headers(TOPICS[platform], raw)
    name = next(key for key in good if key.endswith(("hmac-sha256", "signature")))
    text = good[name]
    other = await connect(platform)
    lists: list[list[tuple[str, bytes]]] = [
        [(key, value.encode()) for key, value in good.items() if key != name] + extra
        for extra in (
            [],
            [(name, b"")],
            [(name, b" ")],
            [(name, text[:-1].encode())],
            [(name, text.upper().encode())],
            [(name, text.encode() * 2)],
            [(name, "签名".encode())],
            [(name, b"\xff\xfe")],
            [(name, text.encode()), (name, text.encode())],
            [(name, text.encode()), (name, b"v1,AAAA")],
            [(name, b"v1," * 1_000)],
            [(name, b"v2,unknown " + text.encode().replace(b"v1", b"v3"))],
            [(name, other.headers(TOPICS[platform], raw, secret="whsec_" + "QUJD" * 12)[name].encode())],
        )
    ]
    answers = [await shop.http.post(shop.path, content=raw, headers=headers) for headers in lists]
    assert [answer.status_code for answer in answers] == [401] * len(lists)
    assert await shop.deliveries() == []


async def test_a_signature_of_another_shop_or_endpoint_is_refused(connect: Any, order: Make) -> None:
    mine, other = await connect("shopify"), await connect("shopify", "another-secret-of-a-shop")
    raw = json.dumps(order()).encode()
    stolen = mine.headers("orders/create", raw)
    assert (await mine.http.post(other.path, content=raw, headers=stolen)).status_code == 401
    assert (
        await mine.http.post(f"/webhooks/woocommerce/{mine.slug}", content=raw, headers=stolen)
    ).status_code == 404
    assert await other.deliveries() == []


@pytest.mark.parametrize(("seconds", "status"), [(-310, 401), (-290, 200), (0, 200), (290, 200), (310, 401)])
async def test_the_generic_signature_holds_for_five_minutes(
    connect: Any, generic: Make, seconds: int, status: int
) -> None:
    shop = await connect("generic")
    answer = await shop.post("", generic(), at=now() + timedelta(seconds=seconds))
    assert answer.status_code == status
    assert len(await shop.deliveries()) == (status == 200)


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_an_old_secret_signs_during_its_grace_and_not_after(
    connect: Any, generic: Make, platform: str
) -> None:
    shop = await connect(platform)
    path = f"/v1/connections/{platform}/{shop.slug}/secrets"
    fresh = "whsec_" + "QUJDREVGR0hJSktM" * 3

    async def sent(secret: str, number: int) -> int:
        answer: httpx.Response = await shop.post(TOPICS[platform], generic(f"G-{number}"), secret=secret)
        return answer.status_code

    view = (await shop.http.post(path, json={"secret": fresh, "grace_seconds": 1})).json()
    assert view["secrets_live"] == 2
    assert [await sent(shop.secret, 1), await sent(fresh, 2)] == [200, 200]
    await asyncio.sleep(1.1)
    assert [await sent(shop.secret, 3), await sent(fresh, 4)] == [401, 200]
    view = (await shop.http.post(path, json={"grace_seconds": 0})).json()
    assert view["secrets_live"] == 1
    assert [await sent(fresh, 5), await sent(view["secret"], 6)] == [401, 200]
    assert len(await shop.deliveries()) == 4
    listed = await shop.http.get("/v1/connections", params={"limit": 200})
    assert fresh not in listed.text


async def test_a_secret_rotated_by_another_process_signs_at_once(
    connect: Any, runtime: Any, generic: Make
) -> None:
    """Each process knows its connections for two seconds; senders disable a webhook after five refusals."""
    shop = await connect("generic")
    assert (await shop.post("", generic("A"))).status_code == 200
    transport = httpx.ASGITransport(app=SERVICE.app(runtime), raise_app_exceptions=False)
    headers = {"authorization": shop.http.headers["authorization"]}
    async with httpx.AsyncClient(transport=transport, base_url="http://other", headers=headers) as other:
        path = f"/v1/connections/generic/{shop.slug}/secrets"
        fresh = (await other.post(path, json={})).json()["secret"]
    await asyncio.sleep(0.11)
    assert (await shop.post("", generic("B"), secret=fresh)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/webhooks/shopify/{slug}", 405),
        ("PUT", "/webhooks/shopify/{slug}", 405),
        ("POST", "/webhooks/shopify/unknown", 404),
        ("POST", "/webhooks/shopify/", 404),
        ("POST", "/webhooks/shopify/{slug}/", 404),
        ("POST", "/webhooks/pos/{slug}", 404),
        ("POST", "/webhooks/nowhere/{slug}", 404),
        ("POST", "/webhooks/", 404),
        ("POST", "/webhooks/shopify/%00", 404),
        ("POST", "/webhooks/shopify/%ff%fe", 404),
        ("POST", "/webhooks/shopify/..%2f..%2fetc", 404),
        ("POST", "/webhooks/shopify/" + "a" * 5_000, 404),
    ],
)
async def test_other_ways_to_the_door_are_closed(
    shop: Any, order: Make, method: str, path: str, status: int
) -> None:
    raw = json.dumps(order()).encode()
    headers = shop.headers("orders/create", raw)
    answer = await shop.http.request(method, path.format(slug=shop.slug), content=raw, headers=headers)
    assert answer.status_code == status
    assert await shop.deliveries() == []


@pytest.mark.parametrize(("size", "status"), [(2 * 1024 * 1024, 200), (2 * 1024 * 1024 + 1, 413)])
async def test_a_body_has_two_mebibytes_at_most(shop: Any, size: int, status: int) -> None:
    assert (await shop.post("orders/create", b"[" + b" " * (size - 2) + b"]")).status_code == status
    assert len(await shop.deliveries()) == (status == 200)


async def test_headers_are_kept_as_evidence_without_signature_and_whatever_they_hold(
    shop: Any, order: Make
) -> None:
    raw = json.dumps(order()).encode()
    odd = {"user-agent": "x\\u0000", "x-shopify-webhook-id": "id-1", "x-shopify-shop-domain": "caf\xe9"}
    answer = await shop.http.post(
        shop.path,
        content=raw,
        headers={k: v.encode("latin-1") for k, v in {**shop.headers("orders/create", raw), **odd}.items()},
    )
    assert answer.status_code == 200, answer.text
    [row] = await shop.rows("select headers::text as headers from delivery where shop_id = $1", shop.shop_id)
    kept = json.loads(row.headers)
    assert {name: kept[name] for name in odd} == odd
    assert not any("hmac" in name for name in kept)


async def test_a_body_that_dawdles_is_given_up(connect: Any, app: Any, order: Make) -> None:
    shop = await connect("shopify")
    webhooks = Webhooks(app, app._connections, app._gather, body_seconds=0.05)
    raw = json.dumps(order()).encode()
    sent: list[dict[str, Any]] = []
    pieces = iter([{"type": "http.request", "body": raw[:10], "more_body": True}])

    async def receive() -> dict[str, Any]:
        for piece in pieces:
            return piece
        return await asyncio.Event().wait() or {}  # type: ignore[return-value]

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(name.encode(), value.encode()) for name, value in shop.headers("orders/create", raw).items()]
    await webhooks({"type": "http", "method": "POST", "path": shop.path, "headers": headers}, receive, send)
    assert sent[0]["status"] == 408
    assert await shop.deliveries() == []


async def test_an_unsigned_ping_of_a_woocommerce_shop_is_answered_and_forgotten(connect: Any) -> None:
    shop = await connect("woocommerce")
    assert (await shop.http.post(shop.path, content=b"webhook_id=17")).status_code == 200
    assert await shop.deliveries() == []
