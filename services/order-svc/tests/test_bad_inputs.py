"""Bad inputs by class, signed as the platforms sign, and uploaded: each is stored and settled.

Nothing here may answer with a 5xx, get lost or stay unsettled; how many of each class ended where is printed.
"""

import asyncio
import csv
import io
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from channel_kit.clock import now

Make = Callable[..., dict[str, Any]]
TOPICS = {"shopify": "orders/updated", "woocommerce": "order.updated", "generic": ""}

NUMBERS = [
    True,
    "3",
    3.0,
    -1,
    0,
    2**31,
    2**63,
    10**23,
    -0.0,
    1e308,
    "1_000",
    " 12",
    "١٢",
    "1E-400",
    "-0",
    "0.105",
    "NaN",
    "Infinity",
    "9" * 5_000,
    "0x10",
    "1,5",
    "",
    None,
    [],
    {},
    "-1.00",
    "999999999999999999.99",
    "0.000000000000000000000001",
]
TEXTS = [
    "\u0000",
    "a\u0000b",
    "\u202egpj.exe",
    "\u200b",
    "👩‍👩‍👧‍👦",
    "𠀋",
    "é",
    "é",
    "１２３",
    "x" * 10_000,
    "茶" * 600,
    "a\r\nb",
    "=cmd|' /C calc'!A0",
    "%00",
    "../../etc/passwd",
    "'; drop table ledger_entry; --",
    "{{7*7}}",
    "${jndi:ldap://x}",
    "line\nINFO forged",
    " ",
    "",
    "\ud800",
]
TIMES = [
    "1970-01-01T00:00:00Z",
    "2038-01-19T03:14:08Z",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00+14:00",
    "2026-02-29T00:00:00Z",
    "2024-02-29T00:00:00Z",
    "2026-03-31T23:59:59.9999999+08:00",
    "2026-03-02 10:00:00",
    "2026-03-02T10:00:00",
    1772416800000,
    "1772416800",
    "yesterday",
    "2026-03-02T24:00:00Z",
    "2026-03-02T10:00:00+99:99",
    None,
    "2126-01-01T00:00:00Z",
]
FIELDS = {
    "shopify": {
        "number": [
            "total_price",
            "line_items/0/quantity",
            "line_items/0/price",
            "line_items/0/discount_allocations/0/amount",
            "id",
            "total_tax",
        ],
        "text": [
            "currency",
            "name",
            "line_items/0/sku",
            "line_items/0/title",
            "line_items/0/id",
            "financial_status",
            "id",
        ],
        "time": ["updated_at", "processed_at", "cancelled_at", "fulfillments/0/created_at"],
    },
    "woocommerce": {
        "number": [
            "total",
            "line_items/0/quantity",
            "line_items/0/total",
            "line_items/0/subtotal",
            "id",
            "refunds/0/total",
        ],
        "text": ["currency", "number", "line_items/0/sku", "line_items/0/name", "status", "id"],
        "time": ["date_modified_gmt", "date_created_gmt", "date_paid_gmt", "date_completed_gmt"],
    },
    "generic": {
        "number": [
            "data/total",
            "data/lines/0/quantity",
            "data/lines/0/total",
            "data/lines/0/shipped",
            "data/paid",
            "data/sequence",
        ],
        "text": [
            "data/currency",
            "data/order_id",
            "data/lines/0/sku",
            "data/lines/0/title",
            "data/lines/0/line_id",
            "type",
        ],
        "time": ["data/placed_at", "data/updated_at", "data/paid_at", "timestamp"],
    },
}


def woocommerce_order(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "number": str(number),
        "status": "processing",
        "currency": "CNY",
        "total": "110.00",
        "date_created_gmt": "2026-03-02T02:00:00",
        "date_modified_gmt": "2026-03-02T02:05:00",
        "date_paid_gmt": "2026-03-02T02:05:00",
        "date_completed_gmt": None,
        "prices_include_tax": False,
        "line_items": [
            {
                "id": 1,
                "name": "Tea",
                "sku": "TEA",
                "quantity": 1,
                "subtotal": "100.00",
                "total": "100.00",
                "total_tax": "0.00",
            }
        ],
        "shipping_lines": [{"id": 2, "method_title": "SF", "total": "10.00", "total_tax": "0.00"}],
        "fee_lines": [],
        "refunds": [{"id": 9, "total": "-5.00", "reason": ""}],
    }


def put(body: dict[str, Any], path: str, value: Any) -> bytes:
    """The body with one value replaced, as JSON bytes; what JSON cannot say is written as Python would."""
    body = json.loads(json.dumps(body))
    node: Any = body
    *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    for step in steps:
        node = node.setdefault(step, {}) if isinstance(node, dict) else node[step]
    node[last] = value
    return json.dumps(body).encode()


def broken_json(sound: bytes) -> Iterator[bytes]:
    yield from (
        b"",
        b" ",
        b"null",
        b"true",
        b"3",
        b'"text"',
        b"[]",
        b"{}",
        b"[[]]",
        b"{",
        sound[:-1],
        sound + b"}",
        sound + b"x",
    )
    yield from (
        b"\xef\xbb\xbf" + sound,
        sound.decode().encode("utf-16"),
        b"\xff" + sound,
        b"\xc0\xaf",
        b"\xed\xa0\x80",
    )
    yield from (b"[" * 100_000, b"[" * 5_000 + b"]" * 5_000, b'{"a":' * 3_000 + b"1" + b"}" * 3_000)
    yield from (
        sound.replace(b"{", b'{"id": 1, "id": 2, ', 1),
        b'{"id": NaN}',
        b'{"id": 1e400}',
        b'{"id": -Infinity}',
    )
    yield from (
        b"\x1f\x8b" + bytes(64),
        b"a=1&b=2",
        b"<xml/>",
        b"\x00" * 64,
        sound.replace(b'": ', b'": ' + b"\x00", 1),
    )


@pytest.mark.parametrize("platform", sorted(TOPICS))
async def test_every_signed_body_is_stored_once_and_settled(
    connect: Any, order: Make, generic: Make, platform: str, printed: Counter[tuple[str, str]]
) -> None:
    shop = await connect(platform)
    make: Make = {
        "shopify": lambda n: order(n, shipped=1),
        "woocommerce": woocommerce_order,
        "generic": lambda n: generic(f"G-{n}"),
    }[platform]
    bodies: list[tuple[str, bytes]] = [("JSON", raw) for raw in broken_json(json.dumps(make(1)).encode())]
    for kind, values in (("number", NUMBERS), ("text", TEXTS), ("time", TIMES)):
        for number, (field, value) in enumerate(
            [(f, v) for f in FIELDS[platform][kind] for v in values], start=100
        ):
            bodies.append((kind, put(make(number), field, value)))
    bodies += [("number", json.dumps({**make(n), "lines": [], "line_items": []}).encode()) for n in (7, 8)]
    sent = {shop_key(platform, raw): kind for kind, raw in bodies}
    for start in range(0, len(bodies), 64):
        chunk = bodies[start : start + 64]
        answers = await asyncio.gather(*(shop.post(TOPICS[platform], raw) for _, raw in chunk))
        for (kind, raw), answer in zip(chunk, answers, strict=True):
            assert answer.status_code == 200, (kind, raw[:200], answer.text)
    await shop.drain()
    rows = await shop.deliveries()
    assert {row.status for row in rows} <= {"applied", "ignored", "quarantined"}
    assert len(rows) == (len(bodies) if platform == "generic" else len(sent))
    for row in rows:
        printed[f"{platform} {sent[shop_key(platform, bytes(row.body))]}", row.reason or row.status] += 1
    reasons = {row.reason for row in rows if row.status == "quarantined"}
    assert not reasons & {"apply-failed", "adapter-failed", "unknown-platform", None}


def shop_key(platform: str, raw: bytes) -> bytes:
    return raw.strip(b" \t\n\r\0\x0b") if platform == "woocommerce" else raw


async def test_facts_in_a_strange_order_are_stored_and_settled(
    shop: Any, order: Make, refund: Make, printed: Counter[tuple[str, str]]
) -> None:
    """Refund before order, cancel after ship, paid twice, a status that goes back, over-refunds, from the future."""
    later = "2026-03-09T10:00:00+08:00"
    bodies = [
        ("refunds/create", refund(1)),
        ("orders/cancelled", order(1, shipped=2, cancelled_at=later, updated=later)),
        ("orders/paid", order(1)),
        ("orders/paid", order(1, updated=later)),
        ("orders/updated", order(1, paid=False, updated="2026-03-10T10:00:00+08:00")),
        ("refunds/create", {**refund(1, quantity=9, amount="900.00"), "id": 2}),
        (
            "refunds/create",
            {
                **refund(1),
                "id": 3,
                "refund_line_items": [],
                "transactions": [
                    {"kind": "refund", "status": "success", "amount": "1.00", "currency": "USD"}
                ],
            },
        ),
        ("orders/delete", {"id": 1}),
        ("orders/updated", order(1, updated=(now() + timedelta(days=300)).isoformat())),
        ("orders/updated", order(1, currency="JPY", updated="2026-03-11T10:00:00+08:00")),
        ("orders/create", order(1, line_items=[], shipping_lines=[], total_price="0.00")),
        ("app/uninstalled", {"id": 1}),
        ("", {"anything": 1}),
    ]
    random.Random(7).shuffle(bodies)
    for topic, body in bodies:
        assert (await shop.post(topic, body)).status_code == 200
    await shop.drain()
    rows = await shop.deliveries()
    assert len(rows) == len(bodies)
    for row in rows:
        printed["order and time", row.reason or row.status] += 1
    assert {row.status for row in rows} == {"applied", "ignored"}
    flags = (await shop.http.get(f"/v1/orders/{await shop.order_id('1')}")).json()["flags"]
    assert {"currency-mismatch", "over-refunded", "revived"} <= set(flags)


async def test_identities_that_collide_or_look_alike_stay_apart(
    connect: Any, generic: Make, printed: Counter[tuple[str, str]]
) -> None:
    shops = [await connect("generic"), await connect("generic")]
    ids = [
        "A",
        "a",
        "A ",
        "Ａ",
        str(uuid4()).upper(),
        str(uuid4()),
        "00000000-0000-0000-0000-000000000000",
        "é",
        "é",
    ]
    for shop in shops:
        for one in ids:
            await shop.post("", generic(one), message_id=f"same-{ids.index(one)}")
        await shop.drain()
        assert {row.status for row in await shop.deliveries()} == {"applied"}
        heads = await shop.rows("select platform_order_id from order_head where shop_id = $1", shop.shop_id)
        assert len(heads) == len(set(ids))
        printed["identity", "applied"] += len(ids)


def rows_of(values: list[Any], column: str) -> bytes:
    names = [
        "business_date",
        "terminal",
        "receipt",
        "line",
        "sku",
        "quantity",
        "unit_price",
        "currency",
        "time",
        "tax",
    ]
    file = io.StringIO()
    writer = csv.DictWriter(file, names)
    writer.writeheader()
    for number, value in enumerate(values):
        sound = dict(
            zip(
                names,
                ("2026-03-02", "T1", f"R{number}", "1", "TEA", "1", "10.00", "CNY", "10:00", "0"),
                strict=True,
            )
        )
        writer.writerow({**sound, column: "" if value is None else str(value)})
    return file.getvalue().encode("utf-8", "replace").replace(b"\0", b"")


@pytest.mark.parametrize(
    "column",
    [
        "business_date",
        "terminal",
        "receipt",
        "line",
        "sku",
        "quantity",
        "unit_price",
        "currency",
        "time",
        "tax",
    ],
)
async def test_every_row_of_a_bad_file_has_its_verdict(
    staff: httpx.AsyncClient, connect: Any, column: str, printed: Counter[tuple[str, str]]
) -> None:
    shop = await connect("shopify")
    query = {"shop_id": f"till-{shop.slug}"}
    raw = rows_of([*NUMBERS, *TEXTS, *TIMES], column)
    answer = await staff.post("/v1/uploads", content=raw, params=query, headers={"content-type": "text/csv"})
    assert answer.status_code == 201, answer.text
    report = answer.json()
    assert report["accepted"] + report["refused"] == report["rows"]
    assert len(report["refusals"]) == report["refused"]
    await shop.drain()
    rows = await shop.rows("select status, reason from delivery where shop_id = $1", query["shop_id"])
    assert {row.status for row in rows} <= {"applied", "quarantined"}
    assert not {row.reason for row in rows} & {"apply-failed", "adapter-failed"}
    assert len(rows) == report["receipts"]
    printed["upload", "row accepted"] += report["accepted"]
    printed["upload", "row refused"] += report["refused"]
