"""What stands between a socket and a route: keys, queries, JSON, tables, uploads, as the kit reads them for everybody.

Without a database: a small application of the kit takes the bytes as a server hands them on.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from channel_kit import strictjson
from channel_kit.auth import public
from channel_kit.files import BadFile, Table, read_table, upload_body
from channel_kit.http import Router, View, create_app
from channel_kit.idempotency import IdempotencyKey
from channel_kit.pagination import Cursor
from channel_kit.problems import MEDIA_TYPE, MalformedJson
from order_svc.platforms.pos import COLUMNS, OK, rows_to_documents

from .budget import tries
from .furniture import NEXT
from .mutations import mutated, written

NOW = datetime(2026, 3, 1, 2, 0, 10, tzinfo=UTC)
KEY = re.compile(r'"[A-Za-z0-9_-]{16,128}"|[A-Za-z0-9_-]{16,128}', re.A)
ROW = {"business_date": "2026-02-01", "terminal": "T1", "receipt": "R1", "sku": "TEA", "quantity": "2",
       "unit_price": "4.50", "discount": "0.10", "tax": "", "line": "", "currency": "CNY"}  # fmt: skip
PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n%b\r\n--x--\r\n'
KINDS = (b"text/csv", b"multipart/form-data; boundary=x", b"multipart/form-data", b"text/csv; charset=utf-16")
seen: Counter[str] = Counter()

router = Router()


class Said(View):
    """What the small application understood."""

    key: str = ""
    size: int = 0


@router.post("/key", dependencies=[public])
async def take_key(key: IdempotencyKey) -> Said:
    return Said(key=key)


@router.post("/file", dependencies=[public])
async def take_file(raw: Annotated[bytes, upload_body()]) -> Said:
    return Said(size=len(raw))


@router.get("/page", dependencies=[public])
async def take_page(cursor: Cursor) -> Said:
    cursor.values(str, UUID)
    return Said(size=cursor.limit)


APP = create_app(title="small", routers=[router])


async def asked(
    method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes = b"", query: bytes = b""
) -> tuple[int, Any]:
    """Status and JSON of the application's answer to exactly these bytes."""
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
             "path": path, "raw_path": path.encode(), "query_string": query, "root_path": "", "headers": headers,
             "client": ("127.0.0.1", 1), "server": ("small", 80), "state": {}}  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await APP(scope, receive, send)
    status, kind = sent[0]["status"], dict(sent[0]["headers"]).get(b"content-type")
    assert status == 200 or kind == MEDIA_TYPE.encode(), (status, kind)
    seen[f"{path} {status}"] += 1
    return status, json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


@tries(250)
@given(
    values=st.lists(
        st.binary(max_size=140) | st.from_regex(rb'"?[A-Za-z0-9_-]{14,130}"?', fullmatch=True), max_size=2
    )
)
@example(values=[b'"' + b"a" * 16])
@example(values=[b"\xc3\xa9" * 16])
@example(values=[b"a" * 16 + b"\n"])
async def test_idempotency_keys(values: list[bytes]) -> None:
    status, said = await asked("POST", "/key", [(b"idempotency-key", value) for value in values])
    good = len(values) == 1 and KEY.fullmatch(values[0].decode("latin-1")) is not None
    assert (status == 200) is good
    if good:
        assert said["key"] == values[0].decode().strip('"')
    else:
        assert said["code"] == ("idempotency-key-malformed" if values else "idempotency-key-missing")


@tries(200)
@given(name=st.sampled_from((b"", b"limit=", b"cursor=", b"limit=5&cursor=")), text=st.binary(max_size=120))
@example(name=b"cursor=", text=b"%00")
@example(name=b"limit=", text=b"%D9%A1")
@example(name=b"cursor=", text=b"%ED%A0%80")
async def test_queries_of_pages(name: bytes, text: bytes) -> None:
    status, said = await asked("GET", "/page", [], query=name + text)
    assert status in (200, 400, 422), said


@tries(300)
@given(raw=st.binary(max_size=200), chance=st.randoms(use_true_random=False))
@example(raw=b"[" * 100_000, chance=random.Random(1))
@example(raw=b'{"a":"\\ud800"}', chance=random.Random(1))
@example(raw=b"\xed\xa0\x80", chance=random.Random(1))
def test_strict_json(raw: bytes, chance: random.Random) -> None:
    for body in (raw, written(chance, mutated(chance, chance.choice([*NEXT.values()]), 1))):
        try:
            value = strictjson.loads(body)
        except MalformedJson:
            seen["JSON refused"] += 1
            continue
        seen["JSON read"] += 1
        assert value == json.loads(body)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """A till's file, now and then with odd names, cells, delimiters and encodings."""
    chance = draw(st.randoms(use_true_random=False))
    delimiter = chance.choice(",,,;\t")
    names = chance.sample([*ROW], len(ROW))
    rows = [[ROW[name] for name in names] for _ in range(chance.randrange(1, 6))]
    for _ in range(chance.choice((0, 0, 1, 3))):
        row = chance.choice([names, *rows])
        row[chance.randrange(len(row))] = draw(ODD_CELLS)
    if chance.random() < 0.1:
        chance.choice(rows).append(draw(ODD_CELLS))
    text = chance.choice(("\n", "\r\n")).join(delimiter.join(row) for row in [names, *rows])
    encoding = chance.choice(("utf-8", "utf-8", "utf-8-sig", "gb18030", "utf-16"))
    return text.encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace")


ODD_CELLS = st.text(st.characters(exclude_categories=()), max_size=12) | st.sampled_from(
    (
        "",
        "-1",
        "0",
        "1e400",
        "NaN",
        "٣",
        "９",
        "=1+1",
        '"',
        '"a\nb"',
        "ｓｋｕ",
        "SKU ",
        "\x00",
        "x" * 300,
        "2026-02-30",
    )
)


@tries(400)
@given(raw=st.binary(max_size=200) | tables() | tables() | tables())
@example(raw=b"business_date,quantity\n" + b"," * 100_000)
@example(raw=b'sku\n"' + b"a" * 200_000)
@example(raw=b"PK\x03\x04" + bytes(range(256)))
def test_tables_and_till_files(raw: bytes) -> None:
    table(raw)
    found = table(raw, required=("business_date", "quantity"), optional=COLUMNS)
    if found is None:
        seen["files refused"] += 1
        return
    seen["files read"] += 1
    upload = rows_to_documents(found.rows, time_zone="Asia/Shanghai", received_at=NOW, currency="CNY")
    assert len(upload.verdicts) == len(found.rows)
    taken = sorted(row for receipt in upload.receipts for row in receipt.rows)
    assert taken == [n for n, verdict in enumerate(upload.verdicts) if verdict == OK]
    seen["till rows taken"] += len(taken)
    seen["till rows refused"] += len(found.rows) - len(taken)


def table(raw: bytes, **wanted: Any) -> Table | None:
    """The table in these bytes, None where they are refused."""
    try:
        found = read_table(raw, **wanted)
    except BadFile:
        return None
    assert len(found.lines) == len(found.rows)
    assert all(set(row) == set(found.header) for row in found.rows)
    return found


@tries(200)
@given(
    kind=st.binary(max_size=60) | st.sampled_from(KINDS),
    body=st.binary(max_size=200) | st.binary(max_size=60).map(lambda raw: PART.replace(b"%b", raw)),
)
@example(kind=KINDS[1], body=PART.replace(b'"f"', b'"a\x00"'))
@example(kind=KINDS[1] + b"\xff" * 10, body=b"--")
async def test_uploads(kind: bytes, body: bytes) -> None:
    status, said = await asked("POST", "/file", [(b"content-type", kind)], body)
    assert status in (200, 400, 415), said


@pytest.fixture(scope="module", autouse=True)
def _told(tell: Callable[[str], None]) -> Iterator[None]:
    yield
    tell("fuzz, edges: " + ", ".join(f"{n} × {what}" for what, n in sorted(seen.items())))
