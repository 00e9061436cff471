"""Bad values in the path and in every query of every reader: told apart, and never a fault of ours."""

import base64
from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx

from channel_kit.pagination import encode_cursor

Make = Callable[..., dict[str, Any]]

WORDS = "true 3 3.0 -1 0 1_000 +5 1e30 1E-400 NaN 0x10 1,5 [] {} null " + "9" * 5_000
TIMES = (
    "1970-01-01T00:00:00Z 9999-12-31T23:59:59Z 0001-01-01T00:00:00+14:00 9999-12-31T23:59:59-14:00 2026-02-29T00:00:00Z "
    "2026-03-02T10:00:00 2026-03-02T24:00:00Z 2026-03-02T10:00:00+99:99 1772416800000 2026-03-31T23:59:59.9999999+08:00"
)
TEXTS = [
    "\0",
    "a\0b",
    "\u202egpj.exe",
    "👩‍👩‍👧‍👦",
    "é",
    "１٢3",
    "x" * 10_000,
    "a\r\nb",
    "=cmd|'!A0",
    "%00",
    "../../etc",
]
TEXTS += ["'; drop table ledger_entry; --", "{{7*7}}", "${jndi:ldap://x}", " ", "", "\ud800"]
PATHS = {
    "/v1/orders": [
        "platform_order_id",
        "platform",
        "shop_id",
        "partner_id",
        "channel",
        "flag",
        "lifecycle",
        "payment",
        "limit",
        "cursor",
    ],
    "/v1/orders/{id}": [],
    "/v1/orders/{id}/entries": ["known_at"],
    "/v1/orders/{id}/documents": [],
    "/v1/exceptions": ["limit"],
    "/v1/deliveries": ["status", "order_id", "limit", "cursor"],
    "/v1/deliveries/{id}": [],
    "/v1/deliveries/counts": [],
    "/v1/connections": ["limit", "cursor"],
    "/v1/uploads": ["limit", "cursor"],
    "/v1/ledger/blocks": ["limit", "cursor"],
    "/v1/ledger/blocks/{id}": [],
}
CURSORS = [
    "x",
    "====",
    encode_cursor(["a"]),
    encode_cursor([1]),
    encode_cursor([2**63 - 1]),
    encode_cursor([uuid4()]),
    base64.b64encode(b"[]").decode(),
]


async def test_no_query_of_any_reader_is_answered_with_a_fault(
    shop: Any, order: Make, printed: Counter[tuple[str, str]]
) -> None:
    await shop.post("orders/create", order())
    await shop.drain()
    order_id = await shop.order_id("820982911946154508")
    values = [*WORDS.split(), *TIMES.split(), *TEXTS, *CURSORS]
    seen: set[str] = set()
    for path, names in PATHS.items():
        ids = [
            str(order_id),
            str(uuid4()),
            "%00",
            "%ff",
            "nil",
            "-1",
            "0",
            str(2**62),
            str(2**70),
            "x" * 2_000,
        ]
        for one in ids if "{id}" in path else [""]:
            answer = await shop.http.get(path.replace("{id}", one))
            assert answer.status_code in (200, 400, 404, 422), (path, one, answer.text)
            printed["path", str(answer.status_code)] += 1
        for name in names:
            # The kit reads `limit` and `cursor` alike everywhere: in full once, then a sample.
            for value in values if name not in seen else values[::7]:
                sent = str(
                    httpx.QueryParams(
                        {name: value.encode("utf-8", "replace")[:4_000].decode("utf-8", "replace")}
                    )
                )
                answer = await shop.http.get(f"{path.replace('{id}', str(order_id))}?{sent}")
                assert answer.status_code in (200, 400, 422), (path, name, value[:100], answer.text)
                printed["query", str(answer.status_code)] += 1
            seen.add(name)
