"""JSON that parsers accept and we must not, and bodies that never end: refused, and never a 5xx."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from channel_kit import http

MEBIBYTE = 1024 * 1024
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


def padded(size: int) -> bytes:
    body = changed()
    return body + b" " * (size - len(body))


JSON: list[tuple[str, bytes, dict[str, str], int]] = [
    ("sound", changed(), {}, 201),
    ("sound with charset", changed(), {"content-type": "application/json; charset=UTF-8"}, 201),
    ("duplicate key", raw("x", "1")[:-1] + b', "sku": "other"}', {}, 400),
    ("duplicate key spelt with an escape", changed()[:-1] + b', "s\\u006bu": "other"}', {}, 400),
    ("duplicate key inside", raw("tags", '[{"key":"a","key":"b","value":"c"}]'), {}, 400),
    ("NaN", raw("count", "NaN"), {}, 400),
    ("Infinity", raw("count", "Infinity"), {}, 400),
    ("-Infinity", raw("count", "-Infinity"), {}, 400),
    ("1e400", raw("count", "1e400"), {}, 400),
    ("-1e400 deep", raw("tags", '[{"key":"a","value":[-1e400]}]'), {}, 400),
    ("arrays 100,000 deep", b"[" * 100_000 + b"]" * 100_000, {}, 400),
    ("objects 100,000 deep", b'{"a":' * 100_000, {}, 400),
    ("65 deep", b"[" * 65 + b"]" * 65, {}, 400),
    ("64 deep is read, and is no command", b"[" * 64 + b"]" * 64, {}, 422),
    ("byte order mark", b"\xef\xbb\xbf" + changed(), {}, 400),
    ("UTF-16", changed().decode().encode("utf-16"), {}, 400),
    ("UTF-16 without mark", changed().decode().encode("utf-16-le"), {}, 400),
    ("UTF-32", changed().decode().encode("utf-32-be"), {}, 400),
    ("lone surrogate escaped", raw("name", '"\\ud800"'), {}, 400),
    ("lone low surrogate escaped", raw("name", '"a\\udc00b"'), {}, 400),
    ("lone surrogate as a key", changed()[:-1] + b', "\\ud800": 1}', {}, 400),
    ("lone surrogate encoded", raw("name", '"\ud800"'), {}, 400),
    ("surrogate pair", raw("name", '"\\ud83d\\ude00"'), {}, 201),
    ("overlong UTF-8", changed().replace(b"Tea", b"\xc0\xaf"), {}, 400),
    ("overlong NUL", changed().replace(b"Tea", b"\xc0\x80"), {}, 400),
    ("cut UTF-8", changed().replace(b"Tea", b"\xe8\x8c"), {}, 400),
    ("trailing bytes", changed() + b"x", {}, 400),
    ("two documents", changed() + changed(), {}, 400),
    ("trailing NUL", changed() + b"\0", {}, 400),
    ("trailing blanks", changed() + b" \r\n\t", {}, 201),
    ("scalar", b"7", {}, 422),
    ("string", b'"x"', {}, 422),
    ("null", b"null", {}, 422),
    ("list", b"[]", {}, 422),
    ("empty object", b"{}", {}, 422),
    ("empty", b"", {}, 400),
    ("blank", b"  ", {}, 400),
    ("single quotes", b"{'sku': 'x'}", {}, 400),
    ("comment", b"{/* */}", {}, 400),
    ("trailing comma", changed()[:-1] + b",}", {}, 400),
    ("raw control character", changed().replace(b"Tea", b"T\na"), {}, 400),
    ("exactly 1 MiB", padded(MEBIBYTE), {}, 201),
    ("1 MiB and one", padded(MEBIBYTE + 1), {}, 413),
    ("2 MiB", padded(2 * MEBIBYTE), {}, 413),
    ("gzip", b"\x1f\x8b\x08\x00", {"content-encoding": "gzip"}, 415),
    ("gzip and identity", changed(), {"content-encoding": "gzip, identity"}, 415),
    ("no content type", changed(), {"content-type": ""}, 415),
    ("text", changed(), {"content-type": "text/plain"}, 415),
    ("form", b"sku=x", {"content-type": "application/x-www-form-urlencoded"}, 415),
    ("multipart", b"--x--", {"content-type": "multipart/form-data; boundary=x"}, 415),
    ("JSON in latin1", changed(), {"content-type": "application/json; charset=latin1"}, 415),
    ("wrong Content-Length, beyond the cap", changed(), {"content-length": "99999999999999999999"}, 413),
    ("odd Content-Length", changed(), {"content-length": "٣"}, 201),
    ("unknown member", changed(role="admin"), {}, 422),
    ("own partner", changed(partner_id=COMMAND["receipt_id"]), {}, 422),
    ("100,000 unknown members", json.dumps({f"k{i}": 1 for i in range(60_000)}).encode(), {}, 422),
    ("prototype", raw("__proto__", '{"a": 1}'), {}, 422),
]


@pytest.mark.parametrize(("name", "body", "headers", "expected"), JSON, ids=[row[0] for row in JSON])
async def test_json(
    edge: httpx.AsyncClient, tally: Judge, name: str, body: bytes, headers: dict[str, str], expected: int
) -> None:
    encoded = [(key.encode(), value.encode()) for key, value in (SENT | headers).items()]
    tally("JSON", await edge.post("/v1/receipts", content=body, headers=encoded), expected)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"\xff", "UTF-8"),
        (b'{"a": 1, "a": 2}', "same key twice"),
        (b'["\\u0000"]', "U+0000"),
        (b"[NaN]", "NaN"),
        (b"[1e999]", "too large"),
        (b"[" * 99 + b"]" * 99, "64 levels"),
        (b'{\n"a" 1}', "line 2, column 5"),
        (b'["\\ud800"]', "Unicode"),
    ],
)
async def test_the_answer_says_what_is_wrong(edge: httpx.AsyncClient, body: bytes, said: str) -> None:
    answer = await edge.post("/v1/receipts", content=body, headers=SENT)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-json")
    assert said in answer.json()["detail"]


async def test_a_body_without_end_is_cut_at_the_cap(edge: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 64 * 1024
            yield b" " * 64 * 1024

    answer = await edge.post("/v1/receipts", content=endless(), headers=SENT)
    assert answer.status_code == 413
    assert sent <= 2 * MEBIBYTE


async def test_a_slow_body_is_given_up(edge: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_SECONDS_MAX", 0.05)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)
        yield b"}"

    answer = await edge.post("/v1/receipts", content=slow(), headers=SENT)
    assert answer.status_code == 408
