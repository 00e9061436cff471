"""Paths, queries, headers and files that make no sense: refused by name, never a 5xx."""

import base64
from collections.abc import Callable
from uuid import UUID

import httpx
import pytest

from channel_kit.pagination import encode_cursor

MEBIBYTE = 1024 * 1024
PARTNER = UUID("0190a5a2-0000-7000-8000-000000000001")
Judge = Callable[[str, httpx.Response, int], None]

TARGETS: list[tuple[str, str, int]] = [
    ("sound", "/v1/receipts", 200),
    ("NUL in path", "/v1/receipts/%00", 400),
    ("invalid UTF-8 in path", "/v1/receipts/%ff", 400),
    ("overlong slash in path", "/v1/receipts/%c0%af", 400),
    ("surrogate in path", "/v1/receipts/%ed%a0%80", 400),
    ("NUL in query", "/v1/receipts?cursor=%00", 400),
    ("invalid UTF-8 in query", "/v1/receipts?x=%fe", 400),
    ("broken escape", "/v1/receipts?x=%zz", 200),
    ("long", "/v1/receipts?x=" + "y" * 20_000, 400),
    ("not a UUID", "/v1/receipts/1", 422),
    ("traversal", "/v1/receipts/..%2f..%2fetc", 404),
    ("10 kB id", "/v1/receipts/" + "1" * 10_000, 422),
    ("unknown path", "/v2/receipts", 404),
    ("trailing slash", "/v1/receipts/", 404),
    ("docs are off", "/docs", 404),
    ("document is off", "/openapi.json", 404),
    *(
        (f"limit {limit}", f"/v1/receipts?limit={limit}", status)
        for limit, status in [
            ("1", 200), ("200", 200), ("201", 422), ("0", 422), ("-1", 422), ("", 422), ("1_0", 422),
            ("%2B5", 422), ("5.0", 422), ("1e1", 422), ("%D9%A3", 422), ("9" * 5000, 422), ("true", 422),
            ("%205", 422), ("null", 422), ("%EF%BC%91", 422),
        ]
    ),
    *(
        (f"cursor {cursor[:20]}", f"/v1/receipts?cursor={cursor}", status)
        for cursor, status in [
            (encode_cursor([PARTNER, 7]), 200),
            (encode_cursor([PARTNER, 2**63]), 400),
            (encode_cursor([PARTNER]), 400),
            (encode_cursor([7, PARTNER]), 400),
            (encode_cursor(["not a uuid", 7]), 400),
            (encode_cursor([PARTNER, 7])[:-1], 400),
            ("A" + encode_cursor([PARTNER, 7])[1:], 400),
            ("", 400),
            ("AAAA", 400),
            ("%2B%2F%3D", 400),
            ("garbage!", 400),
            ("x" * 2001, 422),
            ("%E8%8C%B6", 400),
            (base64.urlsafe_b64encode(b'["' + str(PARTNER).encode() + b'",7]').decode().rstrip("="), 400),
        ]
    ),
]  # fmt: skip

KEYS: list[tuple[str, list[tuple[str, str]], int]] = [
    ("sound", [("idempotency-key", "a" * 16)], 200),
    ("quoted", [("idempotency-key", f'"{"a" * 16}"')], 200),
    ("128", [("idempotency-key", "a" * 128)], 200),
    ("none", [], 400),
    ("empty", [("idempotency-key", "")], 400),
    ("15", [("idempotency-key", "a" * 15)], 400),
    ("129", [("idempotency-key", "a" * 129)], 400),
    ("half quoted", [("idempotency-key", '"' + "a" * 16)], 400),
    ("blank inside", [("idempotency-key", "a" * 8 + " " + "a" * 8)], 400),
    ("path", [("idempotency-key", "../" * 8)], 400),
    ("latin1", [("idempotency-key", "ä" * 16)], 400),
    ("two", [("idempotency-key", "a" * 16), ("idempotency-key", "b" * 16)], 400),
]

BOUNDARY = {"content-type": "multipart/form-data; boundary=b"}
CSV = {"content-type": "text/csv"}


def multipart(content: bytes, name: str = "file") -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="a.csv"\r\n\r\n'
    return head.encode() + content + b"\r\n--b--\r\n"


UPLOADS: list[tuple[str, bytes, dict[str, str], int]] = [
    ("sound", b"sku,quantity\na,1\n", CSV, 200),
    ("multipart", multipart(b"sku,quantity\na,1\n"), BOUNDARY, 200),
    ("other field", multipart(b"sku,quantity\na,1\n", "upload"), BOUNDARY, 400),
    ("no boundary", multipart(b"sku"), {"content-type": "multipart/form-data"}, 400),
    ("other boundary", multipart(b"sku"), {"content-type": "multipart/form-data; boundary=c"}, 400),
    ("cut form", multipart(b"sku,quantity\na,1\n")[:40], BOUNDARY, 400),
    ("field without file", b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n', BOUNDARY, 400),
    ("nameless part", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", BOUNDARY, 400),
    ("bad header bytes", b"--b\r\n\xff\xfe: \x00\r\n\r\nx\r\n--b--\r\n", BOUNDARY, 400),
    ("bad charset", b"--b\r\nContent-Disposition: form-data; name=\"\xff\"\r\n\r\nx\r\n--b--\r\n", BOUNDARY, 400),
    ("100 files", multipart(b"x")[:-7] * 100 + b"\r\n--b--\r\n", BOUNDARY, 400),
    ("json", b"{}", {"content-type": "application/json"}, 415),
    ("exactly the cap", b"sku,quantity\n" + b"\n" * (MEBIBYTE - 13), CSV, 200),
    ("beyond the cap", b"sku,quantity\n" + b" " * (MEBIBYTE - 12), CSV, 413),
    ("beyond the cap in a form", multipart(b"sku,quantity\n" + b" " * (MEBIBYTE - 12)), BOUNDARY, 413),
    ("empty", b"", CSV, 422),
    ("NUL", b"sku,quantity\na\0,1\n", CSV, 422),
    ("UTF-16 with its mark", "sku,quantity\na,1\n".encode("utf-16"), CSV, 200),
    ("UTF-16 without", "sku,quantity\na,1\n".encode("utf-16-le"), CSV, 422),
    ("workbook", b"PK\x03\x04\x14\0\x06\0", CSV, 422),
    ("missing column", b"sku\na\n", CSV, 422),
    ("doubled column", b"sku,quantity,SKU\na,1,b\n", CSV, 422),
    ("open quote", b'sku,quantity\n"a,1\n', CSV, 422),
    ("huge cell", b"sku,quantity\n" + b"a" * 200_000 + b",1\n", CSV, 422),
    ("too many cells", b"sku,quantity\na,1,2\n", CSV, 422),
]  # fmt: skip


@pytest.mark.parametrize(("name", "target", "expected"), TARGETS, ids=[row[0][:40] for row in TARGETS])
async def test_targets(edge: httpx.AsyncClient, tally: Judge, name: str, target: str, expected: int) -> None:
    url = httpx.URL("http://kit").copy_with(raw_path=target.encode())
    answer = await edge.get(url)
    tally("Targets", answer, expected)


@pytest.mark.parametrize(("name", "headers", "expected"), KEYS, ids=[row[0] for row in KEYS])
async def test_idempotency_keys(
    edge: httpx.AsyncClient, tally: Judge, name: str, headers: list[tuple[str, str]], expected: int
) -> None:
    sent = [(key.encode(), value.encode("latin-1")) for key, value in headers]
    tally("Idempotency keys", await edge.post("/v1/keyed", headers=sent), expected)


@pytest.mark.parametrize(("name", "body", "headers", "expected"), UPLOADS, ids=[row[0] for row in UPLOADS])
async def test_uploads(
    edge: httpx.AsyncClient, tally: Judge, name: str, body: bytes, headers: dict[str, str], expected: int
) -> None:
    tally("Uploads", await edge.post("/v1/imports", content=body, headers=headers), expected)
