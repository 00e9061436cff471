"""Bad commands and queries over real HTTP: JSON, numbers, texts, times, ids.

Each is refused with a problem that says what to do, never with a 5xx, and nothing of it happens; what was answered
201 did happen. Deliveries, callers and events have files of their own.
"""

import gzip
import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from .bad import Bad, Make, Tally, judge
from .deployment import Deployment
from .shops import Trade

MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
async def sold(trade: Make) -> Trade:
    made: Trade = await trade(stock="1000")
    return made


def body(sku: str, **line: Any) -> bytes:
    return json.dumps({"lines": [{"sku": sku, "quantity": "1", **line}]}).encode()


def with_quantity(literal: str) -> Callable[[str], bytes]:
    return lambda sku: b'{"lines":[{"sku":%s,"quantity":%s}]}' % (json.dumps(sku).encode(), literal.encode())


MARK = uuid4().hex
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
    ("2^31", str(2**31), 422),
    ("trailing blank", '"12 "', 422),
    ("plus", '"+1"', 422),
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
AMOUNTS: list[tuple[str, dict[str, Any], int]] = [
    ("cost beyond the range", {"unit_cost_minor": 10**15 + 1, "currency": "CNY"}, 422),
    ("cost as a float", {"unit_cost_minor": 1.5, "currency": "CNY"}, 422),
    ("cost as true", {"unit_cost_minor": True, "currency": "CNY"}, 422),
    ("cost as a text", {"unit_cost_minor": "5", "currency": "CNY"}, 422),
    ("currency in small letters", {"currency": "cny"}, 422),
    ("scale of 7", {"quantity_scale": 7}, 422),
    ("scale as a text", {"quantity_scale": "3"}, 422),
]
TEXTS: list[tuple[str, dict[str, Any], int]] = [
    ("U+0000 in a name", {"name": "a\0b"}, 400),
    ("name of 10 kB", {"name": "茶" * 10_000}, 422),
    ("empty name", {"name": ""}, 422),
    ("sku of 4 kB", {"sku": "s" * 4_096}, 422),
    ("right-to-left override", {"name": "茶\u202egnp.exe"}, 201),
    ("zero width", {"name": "te\u200ba"}, 201),
    ("emoji", {"name": "🍵👩‍👩‍👧"}, 201),
    ("four bytes", {"name": "𠮷野家"}, 201),
    ("newlines for the log", {"name": "a\r\n2026-01-01 [error] forged"}, 201),
    ("formula", {"name": '=HYPERLINK("http://x","y")'}, 201),
    ("template and SQL", {"name": "{{7*7}}${7*7}'; drop table item; --"}, 201),
    ("LDAP", {"name": "*)(uid=*))(|(uid=*"}, 201),
    ("composed", {"sku": f"caf\u00e9-{MARK}"}, 201),
    ("decomposed", {"sku": f"cafe\u0301-{MARK}"}, 201),
    ("full-width digits", {"sku": f"１２３-{MARK}"}, 201),
    ("plus and at", {"name": "+1", "category_path": ["@x", "-1"]}, 201),
    ("line break in a sku", {"sku": f"{MARK}\r\nx"}, 422),
    ("zero width in a sku", {"sku": f"{MARK}\u200b"}, 422),
    ("blank sku", {"sku": "  "}, 422),
    ("escape sequence", {"name": "\x1b[2J"}, 201),
    ("path", {"sku": f"../../etc/{uuid4().hex}"}, 201),
]
STRANGE_MEMBERS: list[tuple[str, dict[str, Any], int]] = [
    ("unknown member", {"role": "admin"}, 422),
    ("partner of somebody", {"partner_id": str(uuid4())}, 422),
    ("members of everybody", {"role": "admin", "partner_id": str(uuid4()), "stream_version": 7}, 422),
]
ITEMS = {Bad.NUMBERS: AMOUNTS, Bad.TEXT: TEXTS, Bad.AUTH: STRANGE_MEMBERS}
QUERIES: list[tuple[Bad, str, str, str, int]] = [
    (Bad.AUTH, "order", "/v1/orders?limit=0", "limit of zero", 422),
    (Bad.AUTH, "order", "/v1/orders?limit=-1", "limit below zero", 422),
    (Bad.AUTH, "order", "/v1/orders?limit=201", "limit above the most", 422),
    (Bad.AUTH, "order", "/v1/orders?limit=99999999999999999999", "huge limit", 422),
    (Bad.AUTH, "order", "/v1/orders?limit=1_0", "limit with an underscore", 422),
    (Bad.AUTH, "order", "/v1/orders?cursor=eyJhIjoxfQ", "foreign cursor", 400),
    (Bad.TEXT, "order", "/v1/orders?cursor=%00", "U+0000 in the query", 400),
    (Bad.AUTH, "order", "/v1/orders?cursor=" + "A" * 20_000, "cursor of 20 kB", 400),
    (Bad.TEXT, "order", "/v1/orders?platform_order_id=%ff", "no UTF-8", 400),
    (Bad.IDENTITY, "order", "/v1/orders?partner_id=1", "id that is none", 422),
    (Bad.IDENTITY, "order", "/v1/orders/00000000-0000-0000-0000-000000000000", "nil id", 404),
    (Bad.TEXT, "order", "/v1/orders/..%2f..%2fetc%2fpasswd", "path traversal", 404),
    (Bad.TEXT, "order", "/v1/orders?platform_order_id=' or 1=1 --", "SQL", 200),
    (Bad.TEXT, "order", "/v1/orders?platform_order_id=(a%2B)%2B$", "regular expression", 200),
    (Bad.TIME, "order", f"/v1/orders/{uuid4()}/entries?known_at=yesterday", "no instant", 422),
    (Bad.AUTH, "order", "/v1/ledger/blocks/0", "block zero", 422),
    (Bad.AUTH, "order", f"/v1/ledger/blocks/{10**30}", "block 10^30", 422),
    (Bad.AUTH, "inventory", "/v1/availability?" + "&".join(f"sku=S{n}" for n in range(201)), "201 SKUs", 422),
    (
        Bad.AUTH,
        "inventory",
        "/v1/availability?" + "&".join(f"sku=S{n}" for n in range(4_000)),
        "4,000 SKUs",
        400,
    ),
    (Bad.TEXT, "inventory", "/v1/stock/%00", "U+0000 in the path", 400),
    (Bad.TIME, "incentive", f"/v1/statements/{uuid4()}/none/2026-13-01", "month 13", 422),
    (Bad.TIME, "incentive", f"/v1/statements/{uuid4()}/none/1772323200", "seconds for a day", 422),
    (Bad.TIME, "insight", "/v1/insight/kpis?from=2026-01-01&to=2025-01-01", "backwards", 422),
    (Bad.TIME, "insight", "/v1/insight/kpis?from=0001-01-01&to=9999-12-31", "all of time", 422),
    (Bad.TIME, "insight", "/v1/insight/kpis", "no period", 422),
    (Bad.IDENTITY, "partner", "/v1/partners/nobody", "no id", 422),
    (Bad.AUTH, "partner", "/v1/nothing", "no route", 404),
]


async def test_json_that_is_none(stack: Deployment, sold: Trade, tally: Tally) -> None:
    before = await _on_hand(stack, sold)
    taken = 0
    for name, make, headers, expected in JSON:
        raw = make(sold.sku) if name != "lone surrogate" else make(sold.sku).replace(b"\\\\", b"\\")
        answer = await stack.ask("inventory", "POST", "/v1/receipts", content=raw, headers=headers)
        judge(tally, Bad.JSON, name, answer, expected)
        taken += answer.status_code == 201
    assert await _on_hand(stack, sold) == before + taken * 10**6


async def test_numbers_and_texts_that_are_none(stack: Deployment, sold: Trade, tally: Tally) -> None:
    before = await _on_hand(stack, sold)
    for name, literal, expected in NUMBERS:
        raw = with_quantity(literal)(sold.sku)
        answer = await stack.ask("inventory", "POST", "/v1/receipts", content=raw, headers=JSON_TYPE)
        judge(tally, Bad.NUMBERS, name, answer, expected)
    assert await _on_hand(stack, sold) == before + 2 * 10**6
    for kind, name, changes, expected in [(kind, *case) for kind, cases in ITEMS.items() for case in cases]:
        item = {"sku": f"BAD-{uuid4().hex}", "name": "x", **changes}
        answer = await stack.ask("inventory", "POST", "/v1/items", json=item)
        judge(tally, kind, name, answer, expected)
        found = await stack.get("inventory", "/v1/items", sku=item["sku"]) if expected == 201 else None
        assert found is None or found["items"][0]["name"] == item["name"], name


async def test_queries_that_are_none(stack: Deployment, tally: Tally) -> None:
    for kind, service, path, name, expected in QUERIES:
        judge(tally, kind, name, await stack.ask(service, "GET", path), expected)


async def _on_hand(stack: Deployment, sold: Trade) -> int:
    """Millionths of a unit."""
    return int(
        await stack.value("inventory", "select sum(on_hand * 1000000) from stock where sku = $1", sold.sku)
    )
