"""Deliveries that are wrong in every way a platform or a stranger can make them.

A stranger's is refused with 401 and nothing is stored. A platform's is answered 200 once it is stored, and then
told apart: into the ledger with a flag, ignored, or quarantined with a reason. Never a 5xx, and whatever was
answered 200 can be found afterwards.
"""

import base64
import gzip
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from .deployment import Deployment, new_id, until
from .letters import generic_order, shopify_order, woocommerce_order
from .shops import Shop, digest

Make = Callable[..., Awaitable[Any]]
Tally = Callable[[str, str], None]
MEBIBYTE = 1024 * 1024
LEDGER = "applied"


def order(**changes: Any) -> bytes:
    return json.dumps(generic_order(**{"order_id": f"O-{uuid4().hex}", "sku": "TEA", **changes})).encode()


def line(**changes: Any) -> bytes:
    """An order whose only line says something else."""
    body = generic_order(f"O-{uuid4().hex}", "TEA")
    body["data"]["lines"][0] |= changes
    return json.dumps(body).encode()


def shopify(order_id: Any = 0, **changes: Any) -> bytes:
    return json.dumps(shopify_order(new_id() if order_id == 0 else order_id, "TEA", **changes)).encode()


def woocommerce(sku: Any) -> bytes:
    return json.dumps(woocommerce_order(new_id(), sku)).encode()


def shopify_line(**changes: Any) -> bytes:
    body = shopify_order(new_id(), "TEA")
    body["line_items"][0] |= changes
    return json.dumps(body).encode()


def with_literal(field: str, literal: str) -> bytes:
    """A Shopify order with one member of its line exactly as written."""
    marked = shopify_line(**{field: "@@"})
    return marked.replace(b'"@@"', literal.encode())


MANY = {"line_id": "1", "kind": "product", "sku": "T", "quantity": "1", "total": "0.00"}
# What arrives signed as it should be: (name, platform, body, what it ends as).
JSON: list[tuple[str, str, bytes, str]] = [
    ("empty", "shopify", b"", "empty-body"),
    ("blanks", "shopify", b" \n ", "empty-body"),
    ("cut off", "shopify", shopify_line()[:-9], "not-json"),
    ("rubbish", "generic", b"\x00\x01\x02", "not-json"),
    ("NaN", "shopify", with_literal("price", "NaN"), "not-json"),
    ("Infinity", "shopify", with_literal("quantity", "Infinity"), "not-json"),
    ("same key, other value", "shopify", shopify_line()[:-1] + b',"currency":"USD"}', "duplicate-key"),
    ("same key, same value", "shopify", shopify_line()[:-1] + b',"currency":"CNY"}', LEDGER),
    ("arrays 100,000 deep", "shopify", b"[" * 100_000 + b"]" * 100_000, "too-deep"),
    ("101 deep in a field nobody reads", "shopify", with_literal("x", "[" * 101 + "]" * 101), "too-deep"),
    ("byte order mark", "shopify", b"\xef\xbb\xbf" + shopify_line(), LEDGER),
    ("UTF-16", "shopify", shopify_line().decode().encode("utf-16"), "not-utf8"),
    ("overlong UTF-8", "generic", order().replace(b"TEA", b"\xc0\xaf"), "not-utf8"),
    ("gzip", "shopify", gzip.compress(shopify_line()), "not-utf8"),
    ("trailing bytes", "generic", order() + b"x", "not-json"),
    ("scalar", "shopify", b"7", "not-an-object"),
    ("empty list", "woocommerce", b"[]", "not-an-object"),
    ("list of numbers", "shopify", b"[1, 2]", "not-an-object"),
    ("null", "generic", b"null", "not-an-object"),
    ("two MiB", "shopify", shopify_line() + b" " * (2 * MEBIBYTE - len(shopify_line())), LEDGER),
]
NUMBERS: list[tuple[str, str, bytes, str]] = [
    ("quantity of true", "shopify", shopify_line(quantity=True), "not-a-number"),
    ("quantity of true, generic", "generic", line(quantity=True), "wrong-type"),
    ("quantity as a number, generic", "generic", line(quantity=2), "wrong-type"),
    ("quantity as text", "shopify", shopify_line(quantity="3"), LEDGER),
    ("quantity below zero", "shopify", shopify_line(quantity=-1), "negative-quantity"),
    ("quantity below zero, generic", "generic", line(quantity="-1"), "bad-value"),
    ("quantity of zero", "shopify", shopify_line(quantity=0), LEDGER),
    ("10^23", "shopify", with_literal("quantity", str(10**23)), "number-out-of-range"),
    ("2^63", "shopify", with_literal("quantity", str(2**63)), "number-out-of-range"),
    ("5,000 digits", "shopify", with_literal("quantity", "9" * 5_000), "number-out-of-range"),
    ("5,000 digits in a field nobody reads", "shopify", with_literal("grams", "9" * 5_000), LEDGER),
    ("price with an underscore", "shopify", shopify_line(price="1_000.00"), "not-a-number"),
    ("price in Arabic-Indic digits", "shopify", shopify_line(price="١٢٨"), "not-a-number"),
    ("price with a comma", "shopify", shopify_line(price="128,00"), "not-a-number"),
    ("price of 1E400", "shopify", with_literal("price", "1E400"), "number-out-of-range"),
    ("price of minus zero", "shopify", shopify_line(price="-0"), LEDGER),
    ("half a fen", "generic", line(total="80.005"), LEDGER),
    ("amount as a number", "generic", line(total=80.0), "wrong-type"),
    ("amount with a plus", "generic", line(total="+80.00"), "bad-value"),
    ("yen with decimals", "generic", order(currency="JPY"), LEDGER),
    ("currency in small letters", "generic", order(currency="cny"), "bad-value"),
    ("currency of nowhere", "generic", order(currency="ZZQ"), "unknown-currency"),
    ("currency of nowhere, shopify", "shopify", shopify(currency="ZZQ"), "unknown-currency"),
    ("sequence beyond bigint", "generic", order(sequence=2**63), "bad-value"),
    ("total beyond the ledger", "generic", order(total="99999999999999.00"), "number-out-of-range"),
    ("lines that do not add up", "generic", order(total="81.00"), LEDGER),
    ("discount above the price", "generic", line(platform_coupon="-500.00"), LEDGER),
    ("discount that is none", "generic", line(platform_coupon="5.00"), "bad-value"),
    ("more taken off than ordered", "generic", line(removed="3"), "bad-value"),
    ("2,001 lines", "generic", order(lines=[MANY] * 2_001), "order-too-large"),
]  # fmt: skip
TEXTS: list[tuple[str, str, bytes, str]] = [
    ("U+0000 in a title", "shopify", shopify_line(title="a\0b"), "nul-in-text"),
    ("U+0000 in a sku", "generic", line(sku="a\0b"), "nul-in-text"),
    ("U+0000 in a field nobody reads", "shopify", shopify_line(vendor="a\0b"), LEDGER),
    ("lone surrogate", "shopify", shopify_line(title="\ud800"), "lone-surrogate"),
    ("lone surrogate, generic", "generic", line(sku="\udfff"), "lone-surrogate"),
    ("right-to-left override", "shopify", shopify_line(title="\u202egnp.tea"), LEDGER),
    ("emoji and four bytes", "shopify", shopify_line(title="🍵𠮷👩‍👧", sku="🍵"), LEDGER),
    ("title of 10 kB", "shopify", shopify_line(title="茶" * 10_000), LEDGER),
    ("sku of 10 kB", "shopify", shopify_line(sku="S" * 10_000), "id-too-long"),
    ("full-width sku", "shopify", shopify_line(sku="ＴＥＡ"), LEDGER),
    ("sku of a number", "woocommerce", woocommerce(4711), LEDGER),
    ("sku of a fraction", "shopify", shopify_line(sku=1.5), LEDGER),
    ("template, SQL, log forging", "shopify", shopify_line(title="{{7*7}}'; drop table x; --\r\n[error] forged"), LEDGER),
    ("blank id", "generic", order(order_id="  "), "bad-value"),
    ("id of 4 kB", "generic", order(order_id="x" * 4_096), "bad-value"),
    ("no id", "shopify", shopify(None), "no-order-id"),
    ("id of a fraction", "shopify", shopify(1.5), "bad-id"),
    ("id that is a path", "generic", order(order_id=f"../../{uuid4().hex}/%00?x=1&y"), LEDGER),
]  # fmt: skip
TIMES: list[tuple[str, str, bytes, str]] = [
    ("1970", "generic", order(placed_at="1970-01-01T00:00:00Z"), "time-out-of-range"),
    ("2038", "generic", order(placed_at="2038-01-19T03:14:08Z"), LEDGER),
    ("9999", "generic", order(placed_at="9999-12-31T23:59:59Z"), "time-out-of-range"),
    ("seconds", "generic", order(placed_at=1_772_323_200), "wrong-type"),
    ("milliseconds in a text", "generic", order(placed_at="1772323200000"), "bad-value"),
    ("no zone", "generic", order(placed_at="2026-03-06T09:30:00"), "bad-value"),
    ("leap day", "generic", order(placed_at="2024-02-29T23:59:59.999999+08:00"), LEDGER),
    ("no leap day", "generic", order(placed_at="2023-02-29T00:00:00Z"), "bad-value"),
    ("second 60", "generic", order(placed_at="2026-06-30T23:59:60Z"), "bad-value"),
    ("last moment of a month in Shanghai", "generic", order(placed_at="2026-03-31T23:59:59+08:00"), LEDGER),
    ("no time at all", "shopify", shopify(updated="never", created_at=None, processed_at=None), "no-order-time"),
    ("paid before it was placed", "generic", order(paid_at="2020-01-01T00:00:00Z"), LEDGER),
    ("a topic of tomorrow", "generic", b'{"type": "qudao.order.v9", "data": {}}', "type-not-used"),
]  # fmt: skip
CLASSES = {"JSON": JSON, "numbers": NUMBERS, "text": TEXTS, "order and time": TIMES}
TOPICS = {"shopify": "orders/create", "woocommerce": "order.created", "generic": ""}


@pytest.fixture(scope="module")
async def shops(connect: Make) -> dict[str, Shop]:
    return {platform: await connect(platform, f"bad-{platform}") for platform in TOPICS}


async def _fate(stack: Deployment, raw: bytes, shop: Shop) -> list[str]:
    """How the deliveries with this body ended: applied, or the reason."""
    rows = await stack.rows(
        "order",
        "select case status when 'applied' then status else reason end as fate from delivery "
        "where shop_id = $1 and body = $2",
        shop.shop_id,
        raw,
    )
    return [row["fate"] for row in rows]


@pytest.mark.parametrize("kind", CLASSES)
async def test_signed_deliveries_end_where_they_belong(
    stack: Deployment, shops: dict[str, Shop], tally: Tally, kind: str
) -> None:
    for name, platform, raw, _ in CLASSES[kind]:
        answer = await shops[platform].post(raw, TOPICS[platform])
        tally(f"deliveries, {kind}", str(answer.status_code))
        assert answer.status_code == 200, f"{name}: {answer.text}"
    await stack.taken_in()
    wrong = {}
    for name, platform, raw, expected in CLASSES[kind]:
        fate = await _fate(stack, raw, shops[platform])
        tally(f"deliveries, {kind}", "ledger" if fate == [LEDGER] else "quarantined or ignored")
        if fate != [expected]:
            wrong[name] = fate
    assert wrong == {}
    await stack.audit_clean()


async def test_what_is_too_large_or_never_ends_is_refused(
    stack: Deployment, shops: dict[str, Shop], tally: Tally
) -> None:
    shop = shops["shopify"]
    answer = await shop.post(b"[" + b" " * (2 * MEBIBYTE - 1) + b"]", "orders/create")
    assert (answer.status_code, answer.json()["code"]) == (413, "delivery-too-large")
    tally("deliveries, JSON", "413")
    for path, status in (
        ("shopify/nobody", 404),
        ("nowhere/x", 404),
        ("shopify/../shopify/x", 404),
        ("shopify/" + "x" * 5_000, 404),
        ("shopify/%00", 404),
        ("shopify/%ff", 404),
        ("shopify", 404),
    ):
        refused = await stack.http.post(f"{stack.stack.url('order')}/webhooks/{path}", content=b"{}")
        tally("deliveries, addresses", str(refused.status_code))
        assert refused.status_code in (status, 400), path
    answer = await stack.http.get(shop.url)
    assert answer.status_code == 405


async def test_strangers_are_refused_and_leave_nothing(
    stack: Deployment, connect: Make, tally: Tally
) -> None:
    shop, other, generic = await connect(), await connect(), await connect("generic")
    raw = shopify_line()
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
    body = order()
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
        tally("signatures", str(answer.status_code))
        assert answer.status_code == 401, f"{name}: {answer.status_code} {answer.text}"
        assert answer.json()["code"] == "signature-refused", name
    assert await stack.value("order", count, ours) == before

    for name, headers in (
        ("almost too old", generic.headers(body, at=stamp - 297)),
        ("among others", {**sound, "webhook-signature": f"v2,x v1,bad {sound['webhook-signature']}"}),
    ):
        answer = await stack.http.post(generic.url, content=body, headers=headers)
        tally("signatures", str(answer.status_code))
        assert answer.status_code == 200, name


async def test_a_rotated_secret_is_good_until_its_grace_ends(stack: Deployment, connect: Make) -> None:
    shop = await connect()
    old = shop.secret
    path = f"/v1/connections/shopify/{shop.slug}/secrets"
    fresh = await stack.call("order", "POST", path, {"grace_seconds": 600})
    for secret in (old, fresh["secret"]):
        shop.secret = secret
        assert (await shop.post(shopify_line(), "orders/create")).status_code == 200
    await stack.call("order", "POST", path, {"grace_seconds": 0})
    for secret in (old, fresh["secret"]):
        shop.secret = secret
        assert (await shop.post(shopify_line(), "orders/create")).status_code == 401


async def test_identities_that_collide_are_told_apart(stack: Deployment, connect: Make, tally: Tally) -> None:
    generic, shopify, twin = await connect("generic"), await connect(), await connect()

    # The same signed id with another body: both are kept, and the order says so.
    number = f"O-{uuid4().hex}"
    first = json.dumps(generic_order(number, "TEA")).encode()
    second = json.dumps(generic_order(number, "TEA", sequence=2, total="80.00")).encode()
    for raw in (first, first, second):
        answer = await stack.http.post(
            generic.url, content=raw, headers=generic.headers(raw, message_id="msg_reused")
        )
        tally("identity", str(answer.status_code))
        assert answer.status_code == 200
    kept = await generic.settled(number)
    await until(lambda: _flagged(generic, number))
    assert (
        await stack.value(
            "order", "select count(*) from delivery where order_id = $1::text::uuid", kept["order_id"]
        )
        == 2
    )

    # The same body under another id is the same document; the same number in another shop is another order.
    order_id = new_id()
    body = shopify_order(order_id, "TEA")
    for shop in (shopify, shopify, twin):
        await shop.sent(body, "orders/create")
    one, two = await shopify.settled(order_id), await twin.settled(order_id)
    assert one["order_id"] != two["order_id"]
    assert one["revision"] == 1

    # Ids differ by case, by composition and by blanks inside; each is its own order.
    spellings = [f"{number}-a", f"{number}-A", f"{number}-é", f"{number}-e\u0301", f"{number}- a"]
    for spelling in spellings:
        await generic.sent(generic_order(spelling, "TEA"))
    found = {(await generic.settled(spelling))["order_id"] for spelling in spellings}
    assert len(found) == len(spellings)
    await stack.audit_clean()


async def _flagged(shop: Shop, number: str) -> bool:
    order = await shop.order(number)
    return order is not None and "delivery-id-reused" in order["flags"]


async def test_states_that_regress_or_contradict_are_recorded(stack: Deployment, connect: Make) -> None:
    shop, order_id = await connect(), new_id()

    def at(minute: int, **changes: Any) -> dict[str, Any]:
        return shopify_order(order_id, "TEA", updated=f"2026-03-02T10:{minute:02}:00+08:00", **changes)

    for body in (
        at(20, shipped=3),
        at(10),  # an older state, later
        at(20, shipped=3),
        at(30, shipped=3, cancelled_at="2026-03-02T10:30:00+08:00"),  # cancelled after it had left
        at(
            40, shipped=3, cancelled_at="2026-03-02T10:30:00+08:00", financial_status="pending"
        ),  # unpaid again
        at(5, paid=False),
    ):
        await shop.sent(body, "orders/updated")
    await stack.audit_clean()
    order = await shop.settled(order_id)
    assert (order["lifecycle"], order["payment"], order["fulfilment"]) == ("cancelled", "unpaid", "shipped")
    assert order["lines"][0]["shipped"] == "3"
    assert order["lines"][0]["cancelled"] == "0", "what has left is not cancelled"
    documents = await stack.get("order", f"/v1/orders/{order['order_id']}/documents")
    assert len(documents) == 5

    # Nothing was paid yet 500.00 are given back: recorded, flagged, and it adds up.
    unpaid = await connect("generic")
    back = {"refund_id": "R", "amount": "500.00", "at": "2026-03-07T00:00:00Z"}
    await unpaid.sent(generic_order("O", "TEA", payment="unpaid", refunds=[back]))
    order = await unpaid.settled("O")
    assert (order["paid_minor"], order["refunded_minor"], order["needs_review"]) == (0, -50_000, True)
    assert "over-refunded" in order["flags"]
    await stack.audit_clean()
