"""Numbers and texts that are no amounts, quantities, instants or names: refused with a pointer, never a 5xx."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

Judge = Callable[[str, httpx.Response, int], None]
SENT = {"content-type": "application/json"}
COMMAND: dict[str, Any] = {
    "sku": "SKU-1",
    "name": "Tea",
    "quantity": "1.5",
    "amount_minor": 1050,
    "currency": "CNY",
    "count": 3,
    "at": "2026-03-01T10:00:00Z",
    "receipt_id": "0190a5a2-0000-7000-8000-000000000002",
    "accepted": True,
    "tags": [{"key": "a", "value": "b"}],
}


def changed(**changes: Any) -> bytes:
    return json.dumps(COMMAND | changes).encode()


def raw(field: str, literal: str) -> bytes:
    """The command with one member's value written as given."""
    text = json.dumps({key: value for key, value in COMMAND.items() if key != field})
    return f'{text[:-1]}, "{field}": {literal}}}'.encode("utf-8", "surrogatepass")


NUMBERS: list[tuple[str, bytes, int]] = [
    *((f"count {literal}", raw("count", literal), status) for literal, status in [
        ("true", 422), ("false", 422), ('"3"', 422), ("3.0", 422), ("3e0", 422), ("null", 422), ("[]", 422),
        ("-1", 201), ("0", 201), ("-0", 201), ("2147483648", 201), ("9223372036854775807", 201), ("9223372036854775808", 400),
        ("9" * 5000, 400), ("1_000", 400), ("+1", 400), ("01", 400), ("0x10", 400), ("1.", 400), (".5", 400),
        ("1E-400", 422), ("٣", 400), ("１", 400), ("--1", 400), ("1e", 400),
    ]),
    *((f"amount {literal}", raw("amount_minor", literal), status) for literal, status in [
        ("true", 422), ('"1050"', 422), ("10.50", 422), ("1e3", 422), ("1000000000000000", 201),
        ("1000000000000001", 422), ("-1000000000000001", 422), ("9223372036854775807", 422),
        ("100000000000000000000000", 400), ("-0", 201), ("-0.0", 422), ("9" * 4000, 400),
    ]),
    *((f"quantity {literal}", raw("quantity", literal), status) for literal, status in [
        ('"0"', 201), ('"-1"', 201), ('"0.000001"', 201), ('"0.0000001"', 422), ("1", 422), ("1.5", 422),
        ("true", 422), ('"1_000"', 422), ('" 12"', 422), ('"12 "', 422), ('"12\\n"', 422), ('"٣"', 422),
        ('"１２"', 422), ('"NaN"', 422), ('"Infinity"', 422), ('"-Infinity"', 422), ('"sNaN"', 422),
        ('"1e2"', 422), ('"1E-400"', 422), ('"+1"', 422), ('"01"', 422), ('""', 422), ('"."', 422),
        ('"0x10"', 422), (f'"{"9" * 5000}"', 422), ('"123456789012345"', 422), ('"1,5"', 422), ("null", 422),
    ]),
    *((f"currency {code}", changed(currency=code), status) for code, status in [
        ("CNY", 201), ("KWD", 201), ("cny", 422), ("CN", 422), ("CNYY", 422), ("XXX", 422), ("ZZZ", 422),
        ("ＣＮＹ", 422), ("CNY ", 422), ("", 422), ("￥", 422), (156, 422), (None, 422), ("CN\u0423", 422),
    ]),
    *((f"at {literal}", raw("at", literal), status) for literal, status in [
        ("0", 422), ("1767225600", 422), ("1767225600000", 422), ('"1767225600"', 422), ('"2026-02-30T00:00:00Z"', 422),
        ('"2026-03-01T10:00:00"', 422), ('"2026-03-01"', 422), ('"0000-01-01T00:00:00Z"', 422),
        ('"9999-12-31T23:59:59Z"', 201), ('"2026-03-01T24:00:00Z"', 422), ('"2026-03-01T10:00:60Z"', 422),
        ('"10000-01-01T00:00:00Z"', 422), ('"２026-03-01T10:00:00Z"', 422), ("null", 422), ("{}", 422),
    ]),
]  # fmt: skip

TEXT: list[tuple[str, Any, int]] = [
    ("NUL", "a\0b", 400),
    ("right-to-left override", "\u202egnp.exe", 201),
    ("zero width", "T\u200bea", 201),
    ("emoji with joiners", "👩‍👩‍👧‍👦", 201),
    ("four-byte CJK", "𠮷野家", 201),
    ("decomposed", "Cafe\u0301", 201),
    ("full width", "ＴＥＡ１２", 201),
    ("10 kB", "x" * 10_000, 422),
    ("500 characters", "茶" * 500, 201),
    ("501 characters", "茶" * 501, 422),
    ("empty", "", 422),
    ("line breaks", "a\r\nset-cookie: x=1", 201),
    ("formula", "=cmd|' /C calc'!A0", 201),
    ("percent NUL", "%00", 201),
    ("path traversal", "../../etc/passwd", 201),
    ("SQL", "'; drop table stock; --", 201),
    ("template", "{{7*7}}${7*7}<%= 7*7 %>", 201),
    ("LDAP", "*)(uid=*))(|(uid=*", 201),
    ("log line", '\n{"level":"error"}', 201),
    ("format string", "%s%n{0.__class__}", 201),
    ("escape sequence", "\x1b[2J", 201),
    ("non-character", "\uffff", 201),
    ("replacement", "\ufffd", 201),
    ("backslash u0000 as text", "\\u0000", 201),
    ("two backslashes u0000", "\\\\u0000", 201),
    ("a number", 7, 422),
    ("a list", ["Tea"], 422),
    ("null", None, 422),
]


@pytest.mark.parametrize(("name", "body", "expected"), NUMBERS, ids=[row[0][:40] for row in NUMBERS])
async def test_numbers(edge: httpx.AsyncClient, tally: Judge, name: str, body: bytes, expected: int) -> None:
    answer = await edge.post("/v1/receipts", content=body, headers=SENT)
    tally("Numbers", answer, expected)


@pytest.mark.parametrize(("name", "text", "expected"), TEXT, ids=[row[0] for row in TEXT])
async def test_text(edge: httpx.AsyncClient, tally: Judge, name: str, text: Any, expected: int) -> None:
    answer = await edge.post("/v1/receipts", content=changed(name=text), headers=SENT)
    tally("Text", answer, expected)
    if expected == 201:
        assert answer.json()["name"] == text
    elif isinstance(text, str) and len(text) > 3:
        assert text not in answer.text
