"""Bad commands over real HTTP: JSON, numbers, texts, and callers who are not who they say.

Each is refused with a problem that says what to do, never with a 5xx, and nothing of it happens; what was answered
201 did happen. Deliveries and events have files of their own.
"""

import base64
import gzip
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from .deployment import Deployment, until
from .letters import order_body
from .shops import Trade

Make = Callable[..., Awaitable[Any]]
Tally = Callable[[str, str], None]
MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
async def sold(trade: Make) -> Trade:
    made: Trade = await trade(stock="1000")
    return made


def judge(tally: Tally, kind: str, name: str, answer: httpx.Response, expected: int) -> None:
    """The status is the expected one; a refusal is a problem with a code and a way out."""
    tally(kind, str(answer.status_code))
    assert answer.status_code == expected, f"{kind}, {name}: {answer.status_code} {answer.text[:500]}"
    if expected >= 400:
        assert answer.headers["content-type"] == "application/problem+json", name
        problem = answer.json()
        assert problem["status"] == expected, name
        assert problem["code"], name
        assert problem["title"], name
        assert "Traceback" not in answer.text, name


def body(sku: str, **line: Any) -> bytes:
    return json.dumps({"lines": [{"sku": sku, "quantity": "1", **line}]}).encode()


def with_quantity(literal: str) -> Callable[[str], bytes]:
    return lambda sku: b'{"lines":[{"sku":%s,"quantity":%s}]}' % (json.dumps(sku).encode(), literal.encode())


JSON_TYPE = {"content-type": "application/json"}
JSON: list[tuple[str, Callable[[str], bytes], dict[str, str], int]] = [
    ("sound", body, JSON_TYPE, 201),
    ("duplicate key", lambda s: body(s)[:-1] + b',"lines":[]}', JSON_TYPE, 400),
    (
        "duplicate key in a line",
        lambda s: body(s).replace(b'"quantity"', b'"sku":"x","quantity"'),
        JSON_TYPE,
        400,
    ),
    ("NaN", with_quantity("NaN"), JSON_TYPE, 400),
    ("Infinity", with_quantity("-Infinity"), JSON_TYPE, 400),
    ("1e400", with_quantity("1e400"), JSON_TYPE, 400),
    ("arrays 100,000 deep", lambda s: b"[" * 100_000, JSON_TYPE, 400),
    ("objects 100,000 deep", lambda s: b'{"a":' * 100_000, JSON_TYPE, 400),
    ("byte order mark", lambda s: b"\xef\xbb\xbf" + body(s), JSON_TYPE, 400),
    ("UTF-16", lambda s: body(s).decode().encode("utf-16"), JSON_TYPE, 400),
    ("lone surrogate", lambda s: body(s, location="\ud800"), JSON_TYPE, 400),
    ("overlong UTF-8", lambda s: body(s).replace(b"1", b"\xc0\xb1"), JSON_TYPE, 400),
    ("trailing bytes", lambda s: body(s) + b"x", JSON_TYPE, 400),
    ("two documents", lambda s: body(s) * 2, JSON_TYPE, 400),
    ("scalar", lambda s: b"7", JSON_TYPE, 422),
    ("null", lambda s: b"null", JSON_TYPE, 422),
    ("list", lambda s: b"[]", JSON_TYPE, 422),
    ("empty", lambda s: b"", JSON_TYPE, 400),
    ("cut off", lambda s: body(s)[:-2], JSON_TYPE, 400),
    ("a mebibyte of blanks", lambda s: body(s) + b" " * (MEBIBYTE - len(body(s))), JSON_TYPE, 201),
    ("a mebibyte and one", lambda s: body(s) + b" " * (MEBIBYTE - len(body(s)) + 1), JSON_TYPE, 413),
    ("gzip that says so", lambda s: gzip.compress(body(s)), {**JSON_TYPE, "content-encoding": "gzip"}, 415),
    ("gzip that does not", lambda s: gzip.compress(b" " * MEBIBYTE), JSON_TYPE, 400),
    ("form", body, {"content-type": "application/x-www-form-urlencoded"}, 415),
    ("other charset", body, {"content-type": "application/json; charset=gb18030"}, 415),
    ("no type", body, {"content-type": ""}, 415),
]
NUMBERS: list[tuple[str, str, int]] = [
    ("true", "true", 422),
    ("integer", "3", 422),
    ("float", "3.0", 422),
    ("zero", '"0"', 422),
    ("below zero", '"-1"', 422),
    ("minus zero", '"-0"', 422),
    ("leading blank", '" 12"', 422),
    ("underscore", '"1_000"', 422),
    ("Arabic-Indic digits", '"١٢"', 422),
    ("full-width digits", '"１２"', 422),
    ("exponent", '"1E3"', 422),
    ("tiny exponent", '"1E-400"', 422),
    ("seven decimals", '"0.1234567"', 422),
    ("fifteen digits", '"100000000000000"', 422),
    ("5,000 digits in a text", json.dumps("9" * 5_000), 422),
    ("5,000 digits in a number", "9" * 5_000, 400),
    ("10^23", str(10**23), 400),
    ("2^63", str(2**63), 400),
    ("NaN in a text", '"NaN"', 422),
    ("hexadecimal", '"0x10"', 422),
    ("null", "null", 422),
    ("empty", '""', 422),
    ("finer than the item is counted", '"0.5"', 409),
    ("sound", '"2"', 201),
]
ITEMS: list[tuple[str, dict[str, Any], int]] = [
    ("cost beyond the range", {"unit_cost_minor": 10**15 + 1, "currency": "CNY"}, 422),
    ("cost as a float", {"unit_cost_minor": 1.5, "currency": "CNY"}, 422),
    ("cost as true", {"unit_cost_minor": True, "currency": "CNY"}, 422),
    ("cost as a text", {"unit_cost_minor": "5", "currency": "CNY"}, 422),
    ("currency in small letters", {"currency": "cny"}, 422),
    ("scale of 7", {"quantity_scale": 7}, 422),
    ("scale as a text", {"quantity_scale": "3"}, 422),
    ("U+0000 in a name", {"name": "a\0b"}, 400),
    ("name of 10 kB", {"name": "茶" * 10_000}, 422),
    ("empty name", {"name": ""}, 422),
    ("sku of 4 kB", {"sku": "s" * 4_096}, 422),
    ("unknown member", {"role": "admin"}, 422),
    ("partner of somebody", {"partner_id": str(uuid4())}, 422),
    ("right-to-left override", {"name": "茶\u202egnp.exe"}, 201),
    ("zero width", {"name": "te\u200ba"}, 201),
    ("emoji", {"name": "🍵👩‍👩‍👧"}, 201),
    ("four bytes", {"name": "𠮷野家"}, 201),
    ("newlines for the log", {"name": "a\r\n2026-01-01 [error] forged"}, 201),
    ("formula", {"name": '=HYPERLINK("http://x","y")'}, 201),
    ("template and SQL", {"name": "{{7*7}}${7*7}'; drop table item; --"}, 201),
    ("path", {"sku": f"../../etc/{uuid4().hex}"}, 201),
]
QUERIES: list[tuple[str, str, str, int]] = [
    ("order", "/v1/orders?limit=0", "limit of zero", 422),
    ("order", "/v1/orders?limit=-1", "limit below zero", 422),
    ("order", "/v1/orders?limit=201", "limit above the most", 422),
    ("order", "/v1/orders?limit=99999999999999999999", "huge limit", 422),
    ("order", "/v1/orders?limit=1_0", "limit with an underscore", 422),
    ("order", "/v1/orders?cursor=eyJhIjoxfQ", "foreign cursor", 400),
    ("order", "/v1/orders?cursor=%00", "U+0000 in the query", 400),
    ("order", "/v1/orders?cursor=" + "A" * 20_000, "cursor of 20 kB", 400),
    ("order", "/v1/orders?platform_order_id=%ff", "no UTF-8", 400),
    ("order", "/v1/orders?partner_id=1", "id that is none", 422),
    ("order", "/v1/orders/00000000-0000-0000-0000-000000000000", "nil id", 404),
    ("order", "/v1/orders/..%2f..%2fetc%2fpasswd", "path traversal", 404),
    ("order", "/v1/orders?platform_order_id=' or 1=1 --", "SQL", 200),
    ("order", "/v1/orders?platform_order_id=(a%2B)%2B$", "regular expression", 200),
    ("order", f"/v1/orders/{uuid4()}/entries?known_at=yesterday", "no instant", 422),
    ("order", "/v1/ledger/blocks/0", "block zero", 422),
    ("order", f"/v1/ledger/blocks/{10**30}", "block 10^30", 422),
    ("inventory", "/v1/availability?" + "&".join(f"sku=S{n}" for n in range(201)), "201 SKUs", 422),
    ("inventory", "/v1/availability?" + "&".join(f"sku=S{n}" for n in range(4_000)), "4,000 SKUs", 400),
    ("inventory", "/v1/stock/%00", "U+0000 in the path", 400),
    ("incentive", f"/v1/statements/{uuid4()}/none/2026-13-01", "month 13", 422),
    ("incentive", f"/v1/statements/{uuid4()}/none/1772323200", "seconds for a day", 422),
    ("insight", "/v1/insight/kpis?from=2026-01-01&to=2025-01-01", "backwards", 422),
    ("insight", "/v1/insight/kpis?from=0001-01-01&to=9999-12-31", "all of time", 422),
    ("insight", "/v1/insight/kpis", "no period", 422),
    ("partner", "/v1/partners/nobody", "no id", 422),
    ("partner", "/v1/nothing", "no route", 404),
]


async def test_json_that_is_none(stack: Deployment, sold: Trade, tally: Tally) -> None:
    before = await _on_hand(stack, sold)
    taken = 0
    for name, make, headers, expected in JSON:
        raw = make(sold.sku) if name != "lone surrogate" else make(sold.sku).replace(b"\\\\", b"\\")
        answer = await stack.ask("inventory", "POST", "/v1/receipts", content=raw, headers=headers)
        judge(tally, "JSON", name, answer, expected)
        taken += answer.status_code == 201
    assert await _on_hand(stack, sold) == before + taken * 10**6


async def test_numbers_and_texts_that_are_none(stack: Deployment, sold: Trade, tally: Tally) -> None:
    before = await _on_hand(stack, sold)
    for name, literal, expected in NUMBERS:
        raw = with_quantity(literal)(sold.sku)
        answer = await stack.ask("inventory", "POST", "/v1/receipts", content=raw, headers=JSON_TYPE)
        judge(tally, "numbers", name, answer, expected)
    assert await _on_hand(stack, sold) == before + 2 * 10**6
    for name, changes, expected in ITEMS:
        item = {"sku": f"BAD-{uuid4().hex}", "name": "x", **changes}
        answer = await stack.ask("inventory", "POST", "/v1/items", json=item)
        judge(tally, "numbers and text", name, answer, expected)
        found = await stack.get("inventory", "/v1/items", sku=item["sku"]) if expected == 201 else None
        assert found is None or found["items"][0]["name"] == item["name"], name


async def test_queries_that_are_none(stack: Deployment, tally: Tally) -> None:
    for service, path, name, expected in QUERIES:
        judge(tally, "queries", name, await stack.ask(service, "GET", path), expected)


async def _on_hand(stack: Deployment, sold: Trade) -> int:
    """Millionths of a unit."""
    return int(
        await stack.value("inventory", "select sum(on_hand * 1000000) from stock where sku = $1", sold.sku)
    )


# -- callers -----------------------------------------------------------------------------------------------------


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _opened(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


async def test_tokens_that_are_forged(stack: Deployment, tally: Tally) -> None:
    real = await stack.token()
    head, claims, signature = real.split(".")
    header, said = _opened(head), _opened(claims)
    keys = (await stack.http.get(stack.stack.url("partner") + "/v1/keys")).json()["keys"]
    public = next(key for key in keys if key["kid"] == header["kid"])["x"]
    confused = f"{_part({**header, 'alg': 'HS256'})}.{claims}"
    mac = hmac.digest(base64.urlsafe_b64decode(public + "="), confused.encode(), hashlib.sha256)
    forged = {
        "dots": "..",
        "rubbish": "x",
        "other scopes": f"{head}.{_part({**said, 'scope': 'admin'})}.{signature}",
        "later end": f"{head}.{_part({**said, 'exp': said['exp'] + 600})}.{signature}",
        "of a partner": f"{head}.{_part({**said, 'partner': str(uuid4())})}.{signature}",
        "no algorithm": f"{_part({'alg': 'none', 'kid': header['kid']})}.{claims}.",
        "public key as a secret": f"{confused}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}",
        "key that is a path": f"{_part({**header, 'kid': '../../etc/passwd'})}.{claims}.{signature}",
        "key that is an address": f"{_part({**header, 'kid': 'https://example.com/k'})}.{claims}.{signature}",
        "key of nobody": f"{_part({**header, 'kid': 'k-0'})}.{claims}.{signature}",
        "its own key": f"{_part({**header, 'jwk': keys[0]})}.{claims}.{signature}",
        "short signature": real[:-4],
        "two in one": f"{real} {real}",
        "100 kB": "a" * 15_000,
    }
    for name, token in forged.items():
        answer = await stack.ask("order", "GET", "/v1/orders", headers={"authorization": f"Bearer {token}"})
        judge(tally, "authentication", name, answer, 401)
    url = stack.stack.url("order") + "/v1/orders"
    for name, headers in {
        "no header": [],
        "basic": [("authorization", "Basic YTpi")],
        "two headers": [("authorization", f"Bearer {real}")] * 2,
    }.items():
        judge(tally, "authentication", name, await stack.http.get(url, headers=headers), 401)
    token_url = stack.stack.url("partner") + "/v1/tokens"
    for name, form in {
        "wrong secret": {"grant_type": "client_credentials", "client_id": "admin", "client_secret": "x"},
        "nobody": {"grant_type": "client_credentials", "client_id": "nobody", "client_secret": "x"},
    }.items():
        judge(tally, "authentication", name, await stack.http.post(token_url, data=form), 401)


async def test_commands_that_may_not_be(stack: Deployment, sold: Trade, tally: Tally) -> None:
    """Scopes that are missing, keys that are used twice, states that are stale."""
    reader = {"authorization": f"Bearer {await stack.token('stock:read')}"}
    line = {"lines": [{"sku": sold.sku, "quantity": "1"}]}
    key, item = uuid4().hex, sold.known["item"]
    steps: list[tuple[str, str, str, str, dict[str, Any], dict[str, str], int]] = [
        ("scope missing", "inventory", "POST", "/v1/receipts", line, reader, 403),
        ("no key", "inventory", "POST", "/v1/receipts", line, {"idempotency-key": ""}, 400),
        ("short key", "inventory", "POST", "/v1/receipts", line, {"idempotency-key": "short"}, 400),
        ("key with blanks", "inventory", "POST", "/v1/receipts", line, {"idempotency-key": "a b" * 8}, 400),
        ("first use", "inventory", "POST", "/v1/receipts", line, {"idempotency-key": key}, 201),
        ("same again", "inventory", "POST", "/v1/receipts", line, {"idempotency-key": key}, 201),
        (
            "other body",
            "inventory",
            "POST",
            "/v1/receipts",
            {"lines": line["lines"] * 2},
            {"idempotency-key": key},
            422,
        ),
        (
            "stale",
            "inventory",
            "PATCH",
            f"/v1/items/{item['item_id']}",
            {"name": "x"},
            {"if-match": '"99"'},
            412,
        ),
        (
            "weak",
            "inventory",
            "PATCH",
            f"/v1/items/{item['item_id']}",
            {"name": "x"},
            {"if-match": 'W/"1"'},
            400,
        ),
        ("wrong verb", "inventory", "DELETE", "/v1/receipts", line, {}, 405),
        ("more than there is", "inventory", "POST", "/v1/adjustments", {**line, "reason": "x"}, {}, 201),
    ]
    before = await _on_hand(stack, sold)
    for name, service, method, path, sent, headers, expected in steps:
        answer = await stack.ask(service, method, path, json=sent, headers=headers)
        judge(tally, "commands", name, answer, expected)
    taken_out = {"lines": [{"sku": sold.sku, "quantity": "-100000"}], "reason": "x"}
    judge(
        tally,
        "commands",
        "too much",
        await stack.ask("inventory", "POST", "/v1/adjustments", json=taken_out),
        409,
    )
    assert await _on_hand(stack, sold) == before + 2 * 10**6  # the first use and the adjustment


async def test_a_partner_sees_nothing_of_another(stack: Deployment, trade: Make, tally: Tally) -> None:
    mine, theirs = await trade(), await trade()
    for each in (mine, theirs):
        order_id, letter, topic = order_body("shopify", each.sku)
        await each.shop.sent(letter, topic)
        each.known["order"] = await each.shop.settled(order_id)
    await stack.audit_clean()
    scopes = ["orders:read", "stock:read", "statements:read", "insight:read", "partners:read", "plans:read"]
    made = await stack.call(
        "partner", "POST", "/v1/clients", {"name": "mine", "scopes": scopes, "partner_id": mine.partner_id}
    )
    answer = await stack.http.post(
        stack.stack.url("partner") + "/v1/tokens",
        data={"grant_type": "client_credentials"},
        auth=(made["client_id"], made["client_secret"]),
    )
    as_partner = {"authorization": f"Bearer {answer.json()['access_token']}"}

    async def see(service: str, path: str) -> httpx.Response:
        found = await stack.ask(service, "GET", path, headers=as_partner)
        tally("isolation", str(found.status_code))
        return found

    nobody = uuid4()
    for service, path in (
        ("order", "/v1/orders/{order}"),
        ("order", "/v1/orders/{order}/entries"),
        ("inventory", "/v1/reservations/{order}"),
        ("partner", "/v1/partners/{partner}"),
        ("partner", "/v1/shops/shopify/{shop}"),
    ):
        names = [
            {"order": sold.known["order"]["order_id"], "partner": sold.partner_id, "shop": sold.shop.shop_id}
            for sold in (mine, theirs)
        ]
        assert (await see(service, path.format(**names[0]))).status_code == 200, path
        other = await see(service, path.format(**names[1]))
        missing = await see(service, path.format(order=nobody, partner=nobody, shop="nobody"))
        assert other.status_code == missing.status_code == 404, path
        assert {**other.json(), "instance": ""} == {**missing.json(), "instance": ""}, (
            "existence must not show"
        )
    for service, path in (
        ("order", f"/v1/orders?partner_id={theirs.partner_id}"),
        ("inventory", f"/v1/holds?order_id={theirs.known['order']['order_id']}"),
        ("incentive", f"/v1/statements?partner_id={theirs.partner_id}"),
        ("incentive", f"/v1/accruals?partner_id={theirs.partner_id}"),
        ("insight", f"/v1/insight/kpis?from=2026-03-01&to=2026-03-31&partner_id={theirs.partner_id}"),
    ):
        assert (await see(service, path)).json()["items"] == [], path
        assert (await see(service, path.replace(theirs.partner_id, mine.partner_id))).status_code == 200, path
    for service, path in (
        ("order", "/v1/exceptions"),
        ("order", "/v1/deliveries"),
        ("order", "/v1/connections"),
        ("inventory", "/v1/stock"),
        ("partner", "/v1/clients"),
        *((name, "/v1/admin/status") for name in ("order", "inventory", "incentive", "insight", "partner")),
    ):
        assert (await see(service, path)).status_code == 403, path
    await until(lambda: stack.get("order", "/v1/orders", partner_id=theirs.partner_id))
