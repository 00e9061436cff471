"""What strangers send, class by class, against a small application made with the kit: never a 5xx.

Each row is (name, request, expected status). Every class prints how many rows it ran and what was answered.
"""

import base64
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI

from channel_events.values import Code, Instant, MinorUnits, Quantity, Text
from channel_kit import http
from channel_kit.auth import Caller, Key, KeyRing, new_key, public_key, scope, sign
from channel_kit.files import read_table, upload_body
from channel_kit.http import Body, CurrencyCode, Router, View, create_app, json_body
from channel_kit.idempotency import IdempotencyKey
from channel_kit.pagination import Cursor, encode_cursor

MEBIBYTE = 1024 * 1024
PARTNER = UUID("0190a5a2-0000-7000-8000-000000000001")
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


class Tag(Body):
    key: Code
    value: Text


class Receive(Body):
    sku: Code
    name: Text
    quantity: Quantity
    amount_minor: MinorUnits
    currency: CurrencyCode
    count: int
    at: Instant
    receipt_id: UUID
    accepted: bool
    tags: list[Tag]


class Received(View):
    sku: str
    name: str
    quantity: Quantity
    subject: str
    partner_id: UUID | None


router = Router()


@router.post("/v1/receipts", status_code=201)
async def receive(
    command: Annotated[Receive, json_body(Receive)], caller: Annotated[Caller, scope("stock:write")]
) -> Received:
    return Received(
        sku=command.sku,
        name=command.name,
        quantity=command.quantity,
        subject=caller.subject,
        partner_id=caller.partner_id,
    )


@router.post("/v1/keyed")
async def keyed(key: IdempotencyKey, caller: Annotated[Caller, scope("stock:write")]) -> dict[str, str]:
    return {"key": key}


@router.post("/v1/imports")
async def upload(
    raw: Annotated[bytes, upload_body(bytes_max=MEBIBYTE)], caller: Annotated[Caller, scope("stock:write")]
) -> dict[str, int]:
    return {"rows": len(read_table(raw, required=["sku", "quantity"]).rows)}


@router.get("/v1/receipts")
async def receipts(cursor: Cursor, caller: Annotated[Caller, scope("stock:read")]) -> dict[str, Any]:
    return {"limit": cursor.limit, "after": cursor.values(UUID, int) and "given"}


@router.get("/v1/receipts/{receipt_id}")
async def receipt(receipt_id: UUID, caller: Annotated[Caller, scope("stock:read")]) -> dict[str, str]:
    return {"receipt_id": str(receipt_id)}


KID, PEM, JWK = new_key()


def key_of(jwk: dict[str, str], kid: str = KID, **times: timedelta) -> Key:
    moment = datetime.now(UTC)
    return Key(
        kid,
        public_key(jwk),
        moment + times.get("since", timedelta(days=-1)),
        moment + times.get("until", timedelta(days=1)),
    )


OLD_KID, OLD_PEM, OLD_JWK = new_key()
NEW_KID, NEW_PEM, NEW_JWK = new_key()


async def load() -> list[Key]:
    return [
        key_of(JWK),
        key_of(OLD_JWK, OLD_KID, until=timedelta(seconds=-1)),
        key_of(NEW_JWK, NEW_KID, since=timedelta(hours=1)),
    ]


@pytest.fixture(scope="module")
def app() -> FastAPI:
    app = create_app(title="kit", routers=[router])
    app.state.key_ring = KeyRing(load)
    return app


@pytest.fixture(scope="module")
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://kit") as client:
        yield client


def token(**changes: Any) -> str:
    given: dict[str, Any] = {"subject": "till-7", "scopes": ["stock:read", "stock:write"]}
    return sign(PEM, KID, **(given | changes))


@pytest.fixture(scope="module")
def tally() -> Iterator[Callable[[str, httpx.Response, int], None]]:
    """Collects answers by class; prints the counts at the end; judges each answer."""
    seen: dict[str, Counter[int]] = {}

    def judge(kind: str, answer: httpx.Response, expected: int) -> None:
        seen.setdefault(kind, Counter())[answer.status_code] += 1
        assert answer.status_code < 500, answer.text
        assert answer.status_code == expected, answer.text
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        if expected >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            problem = json.loads(answer.content.decode())
            assert problem["status"] == expected
            assert problem["title"]
            assert problem["code"]
            assert "Traceback" not in answer.text

    yield judge
    for kind, statuses in seen.items():
        failures = sum(count for status, count in statuses.items() if status >= 500)
        print(f"\nbad input, {kind}: {sum(statuses.values())} rows, {dict(statuses)}, {failures} × 5xx")


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
    ("own partner", changed(partner_id=str(PARTNER)), {}, 422),
    ("100,000 unknown members", json.dumps({f"k{i}": 1 for i in range(60_000)}).encode(), {}, 422),
    ("prototype", raw("__proto__", '{"a": 1}'), {}, 422),
]

NUMBERS: list[tuple[str, bytes, int]] = [
    *((f"count {literal}", raw("count", literal), status) for literal, status in [
        ("true", 422), ("false", 422), ('"3"', 422), ("3.0", 422), ("3e0", 422), ("null", 422), ("[]", 422),
        ("-1", 201), ("0", 201), ("-0", 201), ("2147483648", 201), ("9223372036854775808", 201),
        ("9" * 5000, 400), ("1_000", 400), ("+1", 400), ("01", 400), ("0x10", 400), ("1.", 400), (".5", 400),
        ("1E-400", 422), ("٣", 400), ("１", 400), ("--1", 400), ("1e", 400),
    ]),
    *((f"amount {literal}", raw("amount_minor", literal), status) for literal, status in [
        ("true", 422), ('"1050"', 422), ("10.50", 422), ("1e3", 422), ("1000000000000000", 201),
        ("1000000000000001", 422), ("-1000000000000001", 422), ("9223372036854775807", 422),
        ("100000000000000000000000", 422), ("-0", 201), ("-0.0", 422), ("9" * 4000, 422),
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


def forged(claims: Any = None, header: Any = None, without: str = "") -> str:
    """A token signed with the right key, with other claims or header members."""
    moment = int(datetime.now(UTC).timestamp())
    sound = {
        "iss": "qudao", "aud": "qudao-api", "sub": "till-7", "scope": "stock:write",
        "iat": moment, "nbf": moment, "exp": moment + 600,
    }  # fmt: skip
    whole = {key: value for key, value in (sound | (claims or {})).items() if key != without}
    private = serialization.load_pem_private_key(PEM.encode(), None)
    assert isinstance(private, Ed25519PrivateKey)
    return by_hand({"alg": "EdDSA", "typ": "JWT", "kid": KID} | (header or {}), whole, private.sign)


def by_hand(header: Any, claims: Any, signer: Callable[[bytes], bytes]) -> str:
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    message = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    return (message + b"." + base64.urlsafe_b64encode(signer(message)).rstrip(b"=")).decode()


def with_public_key_as_secret() -> str:
    material = public_key(JWK).public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return jwt.encode({"sub": "x"}, material, algorithm="HS256", headers={"kid": KID})


def tokens() -> list[tuple[str, str | None, int, str]]:
    now = int(datetime.now(UTC).timestamp())
    sound = token()
    head, body, signature = sound.split(".")
    stranger = Ed25519PrivateKey.generate()
    rsa_key = rsa.generate_private_key(65537, 2048)
    ec_key = ec.generate_private_key(ec.SECP256R1())
    ed448_key = ed448.Ed448PrivateKey.generate()
    unsigned = by_hand({"alg": "none", "kid": KID}, {"sub": "x"}, lambda _: b"")
    deep = b'{"kid":' + b"[" * 2_000 + b"]" * 2_000 + b"}"
    bearer = "Bearer {}".format
    rows: list[tuple[str, str | None, int, str]] = [
        ("sound", bearer(sound), 201, ""),
        ("lower-case scheme", f"bearer {sound}", 201, ""),
        ("admin", bearer(token(scopes=["admin"])), 201, ""),
        ("partner", bearer(token(partner_id=PARTNER)), 201, ""),
        ("none", None, 401, "token-missing"),
        ("empty", "", 401, "token-invalid"),
        ("basic", "Basic dXNlcjpwYXNz", 401, "token-invalid"),
        ("no token", "Bearer", 401, "token-invalid"),
        ("two tokens", f"Bearer {sound} {sound}", 401, "token-invalid"),
        ("latin1", "Bearer ä.ö.ü", 401, "token-invalid"),
        ("long", bearer("a" * 10_000 + ".b.c"), 401, "token-invalid"),
        ("alg none", bearer(unsigned), 401, "token-invalid"),
        ("alg none with signature", bearer(unsigned + signature), 401, "token-invalid"),
        ("alg NONE", bearer(forged(header={"alg": "NoNe"})), 401, "token-invalid"),
        ("HS256 with the public key", bearer(with_public_key_as_secret()), 401, "token-invalid"),
        ("RS256", bearer(jwt.encode({"sub": "x"}, rsa_key, "RS256", {"kid": KID})), 401, "token-invalid"),
        ("ES256", bearer(jwt.encode({"sub": "x"}, ec_key, "ES256", {"kid": KID})), 401, "token-invalid"),
        ("Ed448", bearer(jwt.encode({"sub": "x"}, ed448_key, "EdDSA", {"kid": KID})), 401, "token-invalid"),
        ("foreign key", bearer(sign(stranger, KID, subject="x", scopes=[])), 401, "token-invalid"),
        (
            "other body",
            bearer(f"{head}.{token(scopes=['admin']).split('.')[1]}.{signature}"),
            401,
            "token-invalid",
        ),
        ("no signature", bearer(f"{head}.{body}."), 401, "token-invalid"),
        ("cut signature", bearer(sound[:-4]), 401, "token-invalid"),
        ("two parts", bearer(f"{head}.{body}"), 401, "token-invalid"),
        ("four parts", bearer(f"{sound}.x"), 401, "token-invalid"),
        ("padding", bearer(f"{head}=.{body}.{signature}"), 401, "token-invalid"),
        ("deep header", bearer(by_hand(deep, {}, lambda _: b"x")), 401, "token-invalid"),
        ("header no object", bearer(by_hand([1], {}, lambda _: b"x")), 401, "token-invalid"),
        ("header no JSON", bearer(by_hand(b"\xff", {}, lambda _: b"x")), 401, "token-invalid"),
        ("run-out key", bearer(sign(OLD_PEM, OLD_KID, subject="x", scopes=[])), 401, "token-invalid"),
        ("key of tomorrow", bearer(sign(NEW_PEM, NEW_KID, subject="x", scopes=[])), 401, "token-invalid"),
        ("expired", bearer(token(issued_at=datetime.now(UTC) - timedelta(minutes=16))), 401, "token-expired"),
        ("just expired", bearer(forged({"iat": now - 60, "exp": now - 1})), 401, "token-expired"),
    ]
    for name, header in [
        ("kid traversal", {"kid": "../../etc/passwd"}), ("kid URL", {"kid": "http://x/"}), ("kid unknown", {"kid": "k-0"}),
        ("kid number", {"kid": 7}), ("kid null", {"kid": None}), ("kid empty", {"kid": ""}), ("kid long", {"kid": "k" * 65}),
        ("kid NUL", {"kid": "k\0"}), ("kid SQL", {"kid": "' or 1=1 --"}), ("kid newline", {"kid": KID + "\n"}),
        ("jku", {"jku": "http://x/"}), ("jwk", {"jwk": JWK}), ("x5u", {"x5u": "http://x/"}), ("crit", {"crit": ["exp"]}),
        ("b64", {"b64": False}), ("zip", {"zip": "DEF"}), ("typ number", {"typ": 7}),
    ]:  # fmt: skip
        rows.append((name, bearer(forged(header=header)), 401, "token-invalid"))
    for name, claims in [
        ("wrong iss", {"iss": "someone"}), ("iss list", {"iss": ["qudao"]}), ("wrong aud", {"aud": "else"}), ("aud number", {"aud": 7}),
        ("nbf future", {"nbf": now + 120}), ("iat future", {"iat": now + 120}), ("nbf text", {"nbf": "x"}),
        ("life of 16 minutes", {"exp": now + 960}), ("exp before iat", {"exp": now - 1}), ("exp huge", {"exp": 10**30}),
        ("exp text", {"exp": "9999999999"}), ("exp float", {"exp": now + 60.5}), ("exp infinite", {"exp": float("inf")}),
        ("iat NaN", {"iat": float("nan")}), ("nbf infinite", {"nbf": float("inf")}), ("exp true", {"exp": True}),
        ("exp null", {"exp": None}), ("iat list", {"iat": []}), ("sub number", {"sub": 7}), ("sub empty", {"sub": ""}),
        ("sub long", {"sub": "s" * 129}), ("sub NUL", {"sub": "a\0"}), ("sub CRLF", {"sub": "a\r\nb"}),
        ("scope list", {"scope": ["admin"]}), ("scope number", {"scope": 7}), ("partner text", {"partner": "acme"}),
        ("partner null", {"partner": None}), ("partner number", {"partner": 7}), ("partner empty", {"partner": ""}),
        ("partner list", {"partner": [str(PARTNER)]}),
    ]:  # fmt: skip
        rows.append((name, bearer(forged(claims)), 401, "token-invalid"))
    for name in ("exp", "iat", "sub", "iss", "aud"):
        rows.append((f"without {name}", bearer(forged(without=name)), 401, "token-invalid"))
    for name, claims in [("no scope", {"scope": ""}), ("other scope", {"scope": "stock:read orders:write"}),
                         ("near scope", {"scope": "stock:write2 Stock:write admin2"})]:  # fmt: skip
        rows.append((name, bearer(forged(claims)), 403, "scope-missing"))
    return rows


Judge = Callable[[str, httpx.Response, int], None]
SENT = {"content-type": "application/json"}


def bearer() -> dict[str, str]:
    return {"authorization": f"Bearer {token()}"}


@pytest.mark.parametrize(("name", "body", "headers", "expected"), JSON, ids=[row[0] for row in JSON])
async def test_json(
    client: httpx.AsyncClient, tally: Judge, name: str, body: bytes, headers: dict[str, str], expected: int
) -> None:
    encoded = [(key.encode(), value.encode()) for key, value in (bearer() | SENT | headers).items()]
    answer = await client.post("/v1/receipts", content=body, headers=encoded)
    tally("JSON", answer, expected)


@pytest.mark.parametrize(("name", "body", "expected"), NUMBERS, ids=[row[0][:40] for row in NUMBERS])
async def test_numbers(
    client: httpx.AsyncClient, tally: Judge, name: str, body: bytes, expected: int
) -> None:
    answer = await client.post("/v1/receipts", content=body, headers=bearer() | SENT)
    tally("Numbers", answer, expected)


@pytest.mark.parametrize(("name", "text", "expected"), TEXT, ids=[row[0] for row in TEXT])
async def test_text(client: httpx.AsyncClient, tally: Judge, name: str, text: Any, expected: int) -> None:
    answer = await client.post("/v1/receipts", content=changed(name=text), headers=bearer() | SENT)
    tally("Text", answer, expected)
    if expected == 201:
        assert answer.json()["name"] == text
    elif isinstance(text, str) and len(text) > 3:
        assert text not in answer.text


@pytest.mark.parametrize(("name", "target", "expected"), TARGETS, ids=[row[0][:40] for row in TARGETS])
async def test_targets(
    client: httpx.AsyncClient, tally: Judge, name: str, target: str, expected: int
) -> None:
    url = httpx.URL("http://kit").copy_with(raw_path=target.encode())
    answer = await client.get(url, headers=bearer())
    tally("Targets", answer, expected)


@pytest.mark.parametrize(("name", "headers", "expected"), KEYS, ids=[row[0] for row in KEYS])
async def test_idempotency_keys(
    client: httpx.AsyncClient, tally: Judge, name: str, headers: list[tuple[str, str]], expected: int
) -> None:
    sent = [(key.encode(), value.encode("latin-1")) for key, value in [*headers, *bearer().items()]]
    tally("Idempotency keys", await client.post("/v1/keyed", headers=sent), expected)


@pytest.mark.parametrize(("name", "body", "headers", "expected"), UPLOADS, ids=[row[0] for row in UPLOADS])
async def test_uploads(
    client: httpx.AsyncClient, tally: Judge, name: str, body: bytes, headers: dict[str, str], expected: int
) -> None:
    tally("Uploads", await client.post("/v1/imports", content=body, headers=bearer() | headers), expected)


async def test_auth(client: httpx.AsyncClient, tally: Judge) -> None:
    for name, value, expected, code in tokens():
        headers = SENT | ({} if value is None else {"authorization": value})
        sent = [(key.encode(), text.encode("latin-1")) for key, text in headers.items()]
        answer = await client.post("/v1/receipts", content=changed(), headers=sent)
        tally("Auth", answer, expected)
        if code:
            assert answer.json()["code"] == code, name
        assert ("www-authenticate" in answer.headers) == (expected == 401), name


async def test_the_token_is_judged_before_the_body_is_read(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/receipts", content=b"{", headers={"content-type": "text/plain"})
    assert answer.status_code == 401


async def test_a_body_without_end_is_cut_at_the_cap(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 64 * 1024
            yield b" " * 64 * 1024

    answer = await client.post("/v1/receipts", content=endless(), headers=bearer() | SENT)
    assert answer.status_code == 413
    assert sent <= 2 * MEBIBYTE


async def test_a_slow_body_is_given_up(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    monkeypatch.setattr(http, "BODY_SECONDS_MAX", 0.05)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)
        yield b"}"

    answer = await client.post("/v1/receipts", content=slow(), headers=bearer() | SENT)
    assert answer.status_code == 408


async def test_a_caller_that_leaves_is_no_server_error(app: FastAPI) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(key.encode(), value.encode()) for key, value in (bearer() | SENT).items()]
    scope = {
        "type": "http", "method": "POST", "path": "/v1/receipts", "raw_path": b"/v1/receipts", "root_path": "",
        "query_string": b"", "headers": headers, "http_version": "1.1", "scheme": "http",
        "server": ("kit", 80), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    await app(scope, receive, send)
    assert sent[0]["status"] == 400
