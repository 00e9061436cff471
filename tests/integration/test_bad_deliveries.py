"""Deliveries that are wrong in every way a platform or a stranger can make them.

A stranger's is refused with 401 and nothing is stored. A platform's is answered 200 once it is stored, and then
told apart: into the ledger with a flag, ignored, or quarantined with a reason. Never a 5xx, and whatever was
answered 200 can be found afterwards.
"""

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from .bad import Bad, Make, Tally
from .deployment import Deployment, new_id
from .letters import generic_order, shopify_order, woocommerce_order
from .shops import Shop

MEBIBYTE = 1024 * 1024
LEDGER = "applied"
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()


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


def padded(size: int) -> bytes:
    return (body := shopify_line()) + b" " * (size - len(body))


DOLLARS = {"shop_money": {"amount": "128.00", "currency_code": "USD"}}
BACK = {"refund_id": "R", "amount": "5.00", "at": "2026-03-07T00:00:00Z"}
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
    ("64 MiB in 64 kB of gzip", "generic", gzip.compress(b" " * 64 * MEBIBYTE), "not-utf8"),
    ("trailing bytes", "generic", order() + b"x", "not-json"),
    ("scalar", "shopify", b"7", "not-an-object"),
    ("empty list", "woocommerce", b"[]", "not-an-object"),
    ("list of numbers", "shopify", b"[1, 2]", "not-an-object"),
    ("null", "generic", b"null", "not-an-object"),
    ("two MiB", "shopify", padded(2 * MEBIBYTE), LEDGER),
    ("two MiB less one", "shopify", padded(2 * MEBIBYTE - 1), LEDGER),
    ("surrogate in UTF-8", "generic", order().replace(b"TEA", b"\xed\xa0\x80"), "not-utf8"),
]
NUMBERS: list[tuple[str, str, bytes, str]] = [
    ("quantity of true", "shopify", shopify_line(quantity=True), "not-a-number"),
    ("quantity of true, generic", "generic", line(quantity=True), "wrong-type"),
    ("quantity as a number, generic", "generic", line(quantity=2), "wrong-type"),
    ("quantity as text", "shopify", shopify_line(quantity="3"), LEDGER),
    ("quantity below zero", "shopify", shopify_line(quantity=-1), "negative-quantity"),
    ("quantity below zero, generic", "generic", line(quantity="-1"), "bad-value"),
    ("quantity of zero", "shopify", shopify_line(quantity=0), LEDGER),
    ("quantity of 3.0", "shopify", with_literal("quantity", "3.0"), LEDGER),
    ("quantity of 2^31", "shopify", with_literal("quantity", str(2**31)), LEDGER),
    ("quantity with an underscore", "generic", line(quantity="1_000"), "bad-value"),
    ("quantity with a blank", "generic", line(quantity=" 12"), "bad-value"),
    ("quantity in full-width digits", "generic", line(quantity="２"), "bad-value"),
    ("quantity of minus zero", "generic", line(quantity="-0"), "bad-value"),
    ("10^23", "shopify", with_literal("quantity", str(10**23)), "number-out-of-range"),
    ("2^63", "shopify", with_literal("quantity", str(2**63)), "number-out-of-range"),
    ("5,000 digits", "shopify", with_literal("quantity", "9" * 5_000), "number-out-of-range"),
    ("5,000 digits in a field nobody reads", "shopify", with_literal("grams", "9" * 5_000), LEDGER),
    ("price with an underscore", "shopify", shopify_line(price="1_000.00"), "not-a-number"),
    ("price in Arabic-Indic digits", "shopify", shopify_line(price="١٢٨"), "not-a-number"),
    ("price with a comma", "shopify", shopify_line(price="128,00"), "not-a-number"),
    ("price of 1E400", "shopify", with_literal("price", "1E400"), "number-out-of-range"),
    ("price of minus zero", "shopify", shopify_line(price="-0"), LEDGER),
    ("price of 1E-400", "shopify", with_literal("price", "1E-400"), "number-out-of-range"),
    ("price with a blank", "shopify", shopify_line(price=" 128"), LEDGER),
    ("half a fen", "generic", line(total="80.005"), LEDGER),
    ("0.105 in CNY", "generic", line(total="0.105"), LEDGER),
    ("amount as a number", "generic", line(total=80.0), "wrong-type"),
    ("amount with a plus", "generic", line(total="+80.00"), "bad-value"),
    ("yen with decimals", "generic", order(currency="JPY"), LEDGER),
    ("yen with three decimals", "generic", order(currency="JPY", total="80.125"), LEDGER),
    ("a line in another currency", "shopify", shopify_line(price_set=DOLLARS), LEDGER),
    ("a refund in another currency", "generic", order(refunds=[{**BACK, "currency": "USD"}]), LEDGER),
    ("currency in small letters", "generic", order(currency="cny"), "bad-value"),
    ("currency of nowhere", "generic", order(currency="ZZQ"), "unknown-currency"),
    ("currency of nowhere, shopify", "shopify", shopify(currency="ZZQ"), "unknown-currency"),
    ("sequence beyond bigint", "generic", order(sequence=2**63), "bad-value"),
    ("total beyond the ledger", "generic", order(total="99999999999999.00"), "number-out-of-range"),
    ("lines that do not add up", "generic", order(total="81.00"), LEDGER),
    ("discount above the price", "generic", line(platform_coupon="-500.00"), LEDGER),
    ("discount that is none", "generic", line(platform_coupon="5.00"), "bad-value"),
    ("refund above what was paid", "generic", order(refunds=[{**BACK, "amount": "500.00"}]), LEDGER),
    ("refund of what was not paid", "generic", order(payment="unpaid", refunds=[BACK]), LEDGER),
    ("refund below zero", "generic", order(refunds=[{**BACK, "amount": "-1.00"}]), "bad-value"),
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
    ("zero width", "shopify", shopify_line(title="te\u200ba", sku="te\u200ba"), LEDGER),
    ("sku composed", "shopify", shopify_line(sku="caf\u00e9"), LEDGER),
    ("sku decomposed", "shopify", shopify_line(sku="cafe\u0301"), LEDGER),
    ("line break in a sku", "generic", line(sku="a\r\nb"), LEDGER),
    ("line break in an id", "generic", order(order_id=f"{uuid4().hex}\r\nx"), LEDGER),
    ("formula", "shopify", shopify_line(title="=cmd|' /C calc'!A0", sku="+1", vendor="@x"), LEDGER),
    ("LDAP", "shopify", shopify_line(title="*)(uid=*))(|(uid=*"), LEDGER),
    ("empty id", "generic", order(order_id=""), "bad-value"),
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
    ("milliseconds", "generic", order(placed_at=1_772_323_200_000), "wrong-type"),
    ("milliseconds as the time of change", "shopify", shopify(updated_at=1_772_323_200_000), LEDGER),
    ("milliseconds in a text", "generic", order(placed_at="1772323200000"), "bad-value"),
    ("no zone", "generic", order(placed_at="2026-03-06T09:30:00"), "bad-value"),
    ("leap day", "generic", order(placed_at="2024-02-29T23:59:59.999999+08:00"), LEDGER),
    ("no leap day", "generic", order(placed_at="2023-02-29T00:00:00Z"), "bad-value"),
    ("second 60", "generic", order(placed_at="2026-06-30T23:59:60Z"), "bad-value"),
    ("last moment of a month in Shanghai", "generic", order(placed_at="2026-03-31T23:59:59+08:00"), LEDGER),
    ("no time at all", "shopify", shopify(updated="never", created_at=None, processed_at=None), "no-order-time"),
    ("paid before it was placed", "generic", order(paid_at="2020-01-01T00:00:00Z"), LEDGER),
    ("tomorrow", "generic", order(placed_at=TOMORROW), LEDGER),
    ("changed tomorrow", "generic", order(sequence=None, updated_at=TOMORROW), LEDGER),
    ("a day without a time", "generic", order(placed_at="2026-03-06"), "bad-value"),
    ("hour 24", "generic", order(placed_at="2026-03-06T24:00:00Z"), "bad-value"),
    ("a zone of nowhere", "generic", order(placed_at="2026-03-06T00:00:00+99:99"), "bad-value"),
    ("a topic of tomorrow", "generic", b'{"type": "qudao.order.v9", "data": {}}', "type-not-used"),
]  # fmt: skip
CLASSES = {Bad.JSON: JSON, Bad.NUMBERS: NUMBERS, Bad.TEXT: TEXTS, Bad.TIME: TIMES}
TOPICS = {"shopify": "orders/create", "woocommerce": "order.created", "generic": ""}


@pytest.fixture(scope="module")
async def shops(connect: Make) -> dict[str, Shop]:
    return {platform: await connect(platform, f"bad-{platform}") for platform in TOPICS}


async def _fates(stack: Deployment, shops: dict[str, Shop]) -> dict[tuple[str, bytes], list[Any]]:
    """By platform and body: how its deliveries ended (applied, or the reason), and how many entries that made."""
    rows = await stack.rows(
        "order",
        """
        select d.platform, d.body, case status when 'applied' then status else reason end as fate, d.attempts,
          (select count(*) from ledger_entry e join order_head h using (order_id)
           where e.order_id = d.order_id and h.document is not null) as entries
        from delivery d where d.shop_id = any($1)
        """,
        [shop.shop_id for shop in shops.values()],
    )
    found: dict[tuple[str, bytes], list[Any]] = {}
    for row in rows:
        found.setdefault((row["platform"], row["body"]), []).append(row)
    return found


@pytest.fixture(scope="module")
async def answers(stack: Deployment, shops: dict[str, Shop], tally: Tally) -> dict[str, int]:
    """The answer to every case of every class, all of them sent and settled."""
    found = {}
    for kind, cases in CLASSES.items():
        for name, platform, raw, _ in cases:
            answer = await shops[platform].post(raw, TOPICS[platform])
            tally(kind, str(answer.status_code))
            found[name] = answer.status_code
    await stack.taken_in()
    return found


@pytest.mark.parametrize("kind", CLASSES)
async def test_signed_deliveries_end_where_they_belong(
    stack: Deployment, shops: dict[str, Shop], answers: dict[str, int], tally: Tally, kind: Bad
) -> None:
    assert {name: answers[name] for name, *_ in CLASSES[kind] if answers[name] != 200} == {}
    fates, wrong = await _fates(stack, shops), {}
    for name, platform, raw, expected in CLASSES[kind]:
        rows = fates.get((platform, raw), [])
        tally(kind, "in the ledger" if expected == LEDGER else "quarantined or ignored")
        if [row["fate"] for row in rows] != [expected] or (expected == LEDGER) != bool(rows[0]["entries"]):
            wrong[name] = rows
    assert wrong == {}
    await stack.audit_clean()


async def test_what_is_quarantined_can_be_read_again_and_nothing_disappears(
    stack: Deployment, shops: dict[str, Shop], answers: dict[str, int], tally: Tally
) -> None:
    """Every quarantined delivery once more: found with its reason, read again, back where it was."""
    before = await _fates(stack, shops)
    waiting = await stack.rows(
        "order",
        "select delivery_id::text as id, reason, body from delivery where status = 'quarantined' and shop_id = any($1)",
        [shop.shop_id for shop in shops.values()],
    )
    assert 50 < len(waiting) < len(answers)
    shown = await stack.get("order", "/v1/exceptions")
    told = {(each["shop_id"], each["reason"]): each["deliveries"] for each in shown["quarantine"]}
    for shop in shops.values():
        assert any(shop_id == shop.shop_id for shop_id, _ in told)
    for row in waiting[:10]:
        kept = await stack.get("order", f"/v1/deliveries/{row['id']}")
        assert (kept["reason"], kept["bytes"]) == (row["reason"], len(row["body"]))
        assert kept["detail"], "it must say what to do"
    again = await stack.call(
        "order", "POST", "/v1/deliveries/reprocess", {"delivery_ids": [row["id"] for row in waiting]}
    )
    assert again == {"requeued": len(waiting)}
    await stack.taken_in()
    after = await _fates(stack, shops)
    assert {key: [row["fate"] for row in rows] for key, rows in after.items()} == {
        key: [row["fate"] for row in rows] for key, rows in before.items()
    }
    for kind, cases in CLASSES.items():
        for _ in (case for case in cases if case[3] not in (LEDGER, "type-not-used")):
            tally(kind, "read again")
    await stack.audit_clean()


async def test_a_content_type_changes_nothing(
    stack: Deployment, shops: dict[str, Shop], tally: Tally
) -> None:
    """Platforms label their bodies as they like; what counts is what is signed. A coding that is named is not undone."""
    shop = shops["shopify"]
    for kind in ("text/plain", "application/xml; charset=gb18030", "", "multipart/form-data", "x" * 300):
        raw = shopify_line()
        answer = await shop.post(raw, "orders/create", content_type=kind)
        tally(Bad.JSON, str(answer.status_code))
        assert answer.status_code == 200, answer.text
        await stack.taken_in()
        assert [row["fate"] for row in (await _fates(stack, shops))["shopify", raw]] == [LEDGER]
    bomb = gzip.compress(b" " * 32 * MEBIBYTE)
    answer = await shop.post(bomb, "orders/create", content_encoding="gzip")
    tally(Bad.JSON, str(answer.status_code))
    assert answer.status_code == 200
    await stack.taken_in()
    assert [row["fate"] for row in (await _fates(stack, shops))["shopify", bomb]] == ["not-utf8"]


async def test_what_is_too_large_or_never_ends_is_refused(
    stack: Deployment, shops: dict[str, Shop], tally: Tally
) -> None:
    shop = shops["shopify"]
    answer = await shop.post(b"[" + b" " * (2 * MEBIBYTE - 1) + b"]", "orders/create")
    assert (answer.status_code, answer.json()["code"]) == (413, "delivery-too-large")
    tally(Bad.JSON, "413")
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
        tally(Bad.TEXT, str(refused.status_code))
        assert refused.status_code in (status, 400), path
    answer = await stack.http.get(shop.url)
    assert answer.status_code == 405
