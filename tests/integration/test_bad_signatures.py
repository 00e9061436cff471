"""Signatures that are none, are somebody else's, or are no longer good; and secrets that change hands.

Whoever cannot sign is refused with 401 and leaves nothing; whoever can is believed once, however often it repeats.
"""

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from qudao.stack import SERVICES

from .bad import Bad, Make, Tally
from .deployment import Deployment, new_id, until
from .letters import generic_order, order_body, shopify_order
from .shops import Shop, as_bytes, digest

COUNT = "select count(*) from delivery where shop_id = any($1)"


def letter(platform: str) -> tuple[bytes, str]:
    _, body, topic = order_body(platform, "TEA")
    return as_bytes(body), topic


async def test_strangers_are_refused_and_leave_nothing(
    stack: Deployment, connect: Make, tally: Tally
) -> None:
    shop, other, generic = await connect(), await connect(), await connect("generic")
    raw, _ = letter("shopify")
    good = digest(shop.secret.encode(), raw)
    plain = base64.b64decode(good)
    forged: dict[str, dict[str, str]] = {
        "none": {},
        "empty": {"x-shopify-hmac-sha256": ""},
        "half of it": {"x-shopify-hmac-sha256": good[:20]},
        "hex": {"x-shopify-hmac-sha256": plain.hex()},
        "upper-case hex": {"x-shopify-hmac-sha256": plain.hex().upper()},
        "other letters": {"x-shopify-hmac-sha256": good.swapcase()},
        "url-safe base64 of another": {"x-shopify-hmac-sha256": base64.urlsafe_b64encode(plain[::-1]).decode()},
        "of another body": {"x-shopify-hmac-sha256": digest(shop.secret.encode(), raw + b" ")},
        "of no body": {"x-shopify-hmac-sha256": digest(shop.secret.encode(), b"")},
        "of another shop": {"x-shopify-hmac-sha256": digest(other.secret.encode(), raw)},
        "with no secret": {"x-shopify-hmac-sha256": digest(b"", raw)},
        "of other JSON": {"x-shopify-hmac-sha256": digest(shop.secret.encode(), json.dumps(json.loads(raw), indent=1).encode())},
        "under another name": {"x-wc-webhook-signature": good},
    }  # fmt: skip
    requests = [(name, shop.url, list(headers.items()), raw) for name, headers in forged.items()]
    requests.append(("twice", shop.url, [("x-shopify-hmac-sha256", good)] * 2, raw))
    requests.append(("beyond ASCII", shop.url, [("x-shopify-hmac-sha256", "é" * 44)], raw))
    requests.append(("at another address", other.url, [("x-shopify-hmac-sha256", good)], raw))
    stamp = int(time.time())
    body = as_bytes(generic_order(f"O-{new_id()}", "TEA"))
    for name, at in (("too old", stamp - 302), ("too far ahead", stamp + 330)):
        requests.append((name, generic.url, list(generic.headers(body, at=at).items()), body))
    sound = generic.headers(body)
    for name, changes in (
        ("other id", {"webhook-id": "msg_other"}),
        ("other time", {"webhook-timestamp": str(stamp - 1)}),
        ("no time", {"webhook-timestamp": ""}),
        ("time of tomorrow's digits", {"webhook-timestamp": "１７７２"}),
        ("no version", {"webhook-signature": sound["webhook-signature"].removeprefix("v1,")}),
        ("another version", {"webhook-signature": sound["webhook-signature"].replace("v1,", "v2,")}),
        ("behind 1,000 others", {"webhook-signature": "v1,x " * 1_000 + sound["webhook-signature"]}),
        ("id of 4 kB", {"webhook-id": "x" * 4_096}),
    ):
        requests.append((name, generic.url, list({**sound, **changes}.items()), body))
    count = "select count(*) from delivery where shop_id = any($1)"
    ours = [shop.shop_id, other.shop_id, generic.shop_id]
    before = await stack.value("order", count, ours)
    for name, url, headers_sent, content in requests:
        encoded = [(key.encode(), value.encode("utf-8")) for key, value in headers_sent]
        answer = await stack.http.post(url, content=content, headers=httpx.Headers(encoded))
        tally(Bad.SIGNATURE, str(answer.status_code))
        assert answer.status_code == 401, f"{name}: {answer.status_code} {answer.text}"
        assert answer.json()["code"] == "signature-refused", name
    assert await stack.value("order", count, ours) == before

    for name, headers in (
        ("almost too old", generic.headers(body, at=stamp - 297)),
        ("among others", {**sound, "webhook-signature": f"v2,x v1,bad {sound['webhook-signature']}"}),
    ):
        answer = await stack.http.post(generic.url, content=body, headers=headers)
        tally(Bad.SIGNATURE, str(answer.status_code))
        assert answer.status_code == 200, name


async def test_a_rotated_secret_is_good_until_its_grace_ends(stack: Deployment, connect: Make) -> None:
    shop = await connect()
    old = shop.secret
    path = f"/v1/connections/shopify/{shop.slug}/secrets"
    fresh = await stack.call("order", "POST", path, {"grace_seconds": 600})
    for secret in (old, fresh["secret"]):
        shop.secret = secret
        assert (await shop.post(*letter("shopify"))).status_code == 200
    await stack.call("order", "POST", path, {"grace_seconds": 0})
    for secret in (old, fresh["secret"]):
        shop.secret = secret
        assert (await shop.post(*letter("shopify"))).status_code == 401


def tampered(
    raw: bytes, headers: dict[str, str], signed: tuple[str, ...]
) -> Iterator[tuple[bytes, dict[str, str]]]:
    """A request with one bit changed: in every byte of what is signed and of the signature, one at a time."""
    for at in range(len(raw)):
        yield raw[:at] + bytes([raw[at] ^ 1 << at % 7]) + raw[at + 1 :], headers
    for name in signed:
        value = headers[name]
        for at, letter_there in enumerate(value):
            other = "A" if letter_there != "A" else "B"
            # The last characters of base64 hold bits that mean nothing; the text is compared as it is.
            yield raw, {**headers, name: value[:at] + other + value[at + 1 :]}


@pytest.mark.parametrize(
    ("platform", "signed"),
    [
        ("shopify", ("x-shopify-hmac-sha256",)),
        ("woocommerce", ("x-wc-webhook-signature",)),
        ("generic", ("webhook-id", "webhook-timestamp", "webhook-signature")),
    ],
)
async def test_one_changed_bit_anywhere_is_refused(
    stack: Deployment, connect: Make, tally: Tally, platform: str, signed: tuple[str, ...]
) -> None:
    shop = await connect(platform)
    raw, topic = letter(platform)
    headers = shop.headers(raw, topic)
    requests = list(tampered(raw, headers, signed))
    assert len(requests) > len(raw)
    for start in range(0, len(requests), 32):
        answers = await asyncio.gather(
            *(
                stack.http.post(shop.url, content=content, headers=sent)
                for content, sent in requests[start : start + 32]
            )
        )
        for answer in answers:
            tally(Bad.SIGNATURE, str(answer.status_code))
        assert {answer.status_code for answer in answers} == {401}
    assert await stack.value("order", COUNT, [shop.shop_id]) == 0
    assert (await stack.http.post(shop.url, content=raw, headers=headers)).status_code == 200


async def test_a_delivery_repeated_a_thousand_times_at_once_has_one_effect(
    stack: Deployment, trade: Make, tally: Tally
) -> None:
    sold = await trade()
    order_id, body, topic = order_body("shopify", sold.sku)
    raw = as_bytes(body)
    headers = sold.shop.headers(raw, topic)
    answers: list[httpx.Response] = []

    async def repeat() -> None:
        async with httpx.AsyncClient(timeout=60) as http:
            answers.extend([await http.post(sold.shop.url, content=raw, headers=headers) for _ in range(20)])

    await asyncio.gather(*(repeat() for _ in range(50)))
    assert len(answers) == 1_000
    for answer in answers:
        tally(Bad.SIGNATURE, str(answer.status_code))
    assert {answer.status_code for answer in answers} == {200}
    assert await stack.value("order", COUNT, [sold.shop.shop_id]) == 1
    await stack.audit_clean()
    order = await sold.shop.settled(order_id)
    assert len(await sold.live_entries(order)) == await stack.value(
        "order", "select count(*) from ledger_entry where order_id = $1::text::uuid", order["order_id"]
    )
    await sold.agreed(order_id, 30_973, 949)


async def test_a_grace_ends_by_itself(stack: Deployment, connect: Make, tally: Tally) -> None:
    shop = await connect()
    old = shop.secret
    path = f"/v1/connections/shopify/{shop.slug}/secrets"
    fresh = (await stack.call("order", "POST", path, {"grace_seconds": 2}))["secret"]
    assert (await shop.post(*letter("shopify"))).status_code == 200

    async def refused() -> bool:
        answer = await shop.post(*letter("shopify"))
        tally(Bad.SIGNATURE, str(answer.status_code))
        return bool(answer.status_code == 401)

    await until(refused, 10)
    shop.secret = fresh
    assert (await shop.post(*letter("shopify"))).status_code == 200
    shop.secret = old
    assert (await shop.post(*letter("shopify"))).status_code == 401


async def test_a_rotation_under_load_loses_nothing(stack: Deployment, connect: Make, tally: Tally) -> None:
    """The sender learns of the new secret somewhere between two deliveries; all of them are taken."""
    shop: Shop = await connect()
    path = f"/v1/connections/shopify/{shop.slug}/secrets"
    sent: list[int] = []
    rotations = 0
    done = asyncio.Event()

    async def send() -> None:
        while not done.is_set():
            order_id = new_id()
            answer = await shop.post(shopify_order(order_id, "TEA"), "orders/create")
            tally(Bad.SIGNATURE, str(answer.status_code))
            assert answer.status_code == 200, (rotations, answer.text)
            sent.append(order_id)

    async def rotate() -> None:
        nonlocal rotations
        try:
            for _ in range(6):
                before = len(sent)
                fresh = await stack.call("order", "POST", path, {"grace_seconds": 60})
                await until(lambda n=before: len(sent) > n + 10)  # type: ignore[misc]
                shop.secret = fresh["secret"]
                await until(lambda n=before: len(sent) > n + 20)  # type: ignore[misc]
                rotations += 1
        finally:
            done.set()

    await asyncio.gather(rotate(), *(send() for _ in range(4)))
    assert rotations == 6
    await stack.taken_in()
    kept = await stack.rows(
        "order", "select platform_order_id as id from order_head where shop_id = $1", shop.shop_id
    )
    assert sorted(row["id"] for row in kept) == sorted(map(str, sent))


async def test_nothing_that_is_stored_can_sign_or_log_in(
    stack: Deployment, connect: Make, tally: Tally
) -> None:
    """A dump of every table of every database, read as text: no secret of a shop or of a client, in no spelling."""
    shop, generic = await connect(), await connect("generic")
    made = await stack.call("partner", "POST", "/v1/clients", {"name": "canary", "scopes": ["orders:read"]})
    await shop.sent(shopify_order(new_id(), "TEA"), "orders/create")
    await stack.taken_in()
    secrets = [
        shop.secret,
        generic.secret.removeprefix("whsec_"),
        made["client_secret"],
        stack.stack.admin.client_secret,
    ]
    spellings = [
        s
        for secret in secrets
        for s in (secret, secret.encode().hex(), base64.b64encode(secret.encode()).decode())
    ]
    spellings.append(base64.b64decode(secrets[1] + "==").hex())
    found: list[Any] = []
    assert await stack.value(
        "order", "select count(*) from connection t where t::text like $1", f"%{shop.slug}%"
    )
    for service in SERVICES:
        names = await stack.rows(
            service, "select tablename::text as name from pg_tables where schemaname = 'public'"
        )
        for row in names:
            hits = await stack.value(
                service,
                f"select count(*) from {row['name']} t where t::text like any($1)",  # noqa: S608
                [f"%{spelling}%" for spelling in spellings],
            )
            tally(Bad.SIGNATURE, "a table without a secret" if not hits else "a table with a secret")
            found += [(service, row["name"])] if hits else []
    assert found == []
