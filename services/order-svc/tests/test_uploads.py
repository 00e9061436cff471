"""A till's file: read in whatever encoding, judged row by row, taken once, corrected by a later one."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

HEADER = "business_date,terminal,receipt,line,sku,title,quantity,unit_price"
ROWS = (
    "2026-03-02,T1,0001,1,TEA-250,龙井茶,2,100.00",
    "2026-03-02,T1,0001,2,CUP,茶杯,1,35.00",
    "2026-03-02,T1,0002,1,TEA-250,龙井茶,1,100.00",
)
FIRST, SECOND = "2026-03-02/T1/0001", "2026-03-02/T1/0002"


def table(*rows: str, header: str = HEADER, encoding: str = "utf-8") -> bytes:
    return "\n".join([header, *rows, ""]).encode(encoding)


@pytest.fixture
async def till(connect: Any) -> Any:
    """A shop without a webhook: its files come by hand."""
    shop = await connect("shopify")
    shop.platform, shop.shop_id = "pos", f"till-{uuid4().hex[:8]}"
    return shop


async def send(till: Any, raw: bytes, **query: str) -> httpx.Response:
    answer: httpx.Response = await till.http.post(
        "/v1/uploads",
        content=raw,
        params={"shop_id": till.shop_id, **query},
        headers={"content-type": "text/csv"},
    )
    await till.drain()
    return answer


async def ordered(till: Any, receipt: str) -> dict[int, int]:
    return {e["line_no"]: e["net_minor"] for e in await till.entries(receipt) if e["kind"] == "ordered"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
async def test_a_file_becomes_orders_whatever_its_encoding(till: Any, encoding: str) -> None:
    answer = await send(till, table(*ROWS, encoding=encoding))
    assert answer.status_code == 201, answer.text
    report = answer.json()
    counts = ("rows", "accepted", "refused", "receipts", "receipts_new", "known", "refusals")
    assert [report[name] for name in counts] == [3, 3, 0, 2, 2, False, []]
    assert await ordered(till, FIRST) == {1: 20000, 2: 3500}
    detail = (await till.http.get(f"/v1/orders/{await till.order_id(FIRST)}")).json()
    assert [line["title"] for line in detail["lines"]] == ["龙井茶", "茶杯"]
    assert (detail["payment"], detail["fulfilment"], detail["paid_minor"]) == ("paid", "shipped", 23500)


async def test_the_same_file_again_is_known_and_changes_nothing(till: Any) -> None:
    first = (await send(till, table(*ROWS))).json()
    again = (await send(till, table(*ROWS))).json()
    assert (again["upload_id"], again["known"], again["receipts_new"]) == (first["upload_id"], True, 0)
    entries = await till.rows(
        "select 1 from ledger_entry join order_head h using (order_id) where h.shop_id = $1", till.shop_id
    )
    assert len(entries) == 9
    listed = (await till.http.get("/v1/uploads")).json()["items"]
    assert [item["upload_id"] for item in listed if item["shop_id"] == till.shop_id] == [first["upload_id"]]


async def test_a_corrected_file_changes_only_the_receipts_that_differ(till: Any) -> None:
    await send(till, table(*ROWS))
    corrected = (await send(till, table(*ROWS[:1], ROWS[1].replace("35.00", "30.00"), ROWS[2]))).json()
    assert (corrected["receipts"], corrected["receipts_new"]) == (2, 1)
    assert (await ordered(till, FIRST), await ordered(till, SECOND)) == ({1: 20000, 2: 3000}, {1: 10000})
    versions = await till.rows(
        "select platform_order_id, stream_version from order_head where shop_id = $1 order by 1", till.shop_id
    )
    assert [row.stream_version for row in versions] == [2, 1]


async def test_the_same_rows_in_another_zone_or_currency_are_another_file(till: Any) -> None:
    await send(till, table(*ROWS))
    assert (await send(till, table(*ROWS), time_zone="Asia/Tokyo")).json()["receipts_new"] == 2
    assert (await send(till, table(*ROWS), currency="HKD")).json()["receipts_new"] == 2
    assert {entry["currency"] for entry in await till.entries(FIRST)} == {"HKD"}


async def test_a_receipt_with_a_bad_row_is_refused_whole_and_the_others_are_taken(till: Any) -> None:
    bad = "2026-02-30,T1,0003,1,TEA-250,x,1,1.00"
    answer = await send(till, table(ROWS[0], ROWS[1].replace(",1,35", ",one,35"), bad, ROWS[2]))
    report = answer.json()
    assert (report["accepted"], report["refused"], report["receipts_new"]) == (1, 3, 1)
    assert [(each["line"], each["reason"]) for each in report["refusals"]] == [
        (2, "receipt-refused"),
        (3, "not-a-number"),
        (4, "bad-date"),
    ]
    assert await ordered(till, SECOND) == {1: 10000}


async def test_a_return_is_set_against_the_receipt_it_was_sold_on(till: Any) -> None:
    header = HEADER + ",original_receipt,original_line"
    back = "2026-03-02,T1,0009,1,TEA-250,龙井茶,-1,100.00,0001,1"
    await send(till, table(*(row + ",," for row in ROWS), back, header=header))
    kinds = {(e["kind"], e["line_no"]): e["net_minor"] for e in await till.entries(FIRST)}
    assert (kinds["returned", 1], kinds["refunded", 1]) == (-10000, -10000)


async def test_one_file_of_several_stores_keeps_their_receipts_apart(till: Any) -> None:
    """Two tills of the same name in two stores print the same receipt numbers."""
    north, south = f"north-{uuid4().hex[:8]}", f"south-{uuid4().hex[:8]}"
    rows = (
        f"{ROWS[2]},{north}",
        f"{ROWS[2].replace('100.00', '90.00')},{south}",
        f"{ROWS[2].replace('100.00', '80.00')},",
    )
    report = (await send(till, table(*rows, header=HEADER + ",store"))).json()
    assert report["receipts_new"] == 3
    found = await till.rows(
        "select shop_id, ordered_net_minor from order_head where platform_order_id = $1 and shop_id = any($2)",
        SECOND,
        [north, south, till.shop_id],
    )
    assert {row.shop_id: row.ordered_net_minor for row in found} == {
        north: 10000,
        south: 9000,
        till.shop_id: 8000,
    }


@pytest.mark.parametrize(
    ("raw", "query", "status", "code"),
    [
        (b"", {}, 422, "bad-file"),
        (b"a,b\n1,2\n", {}, 422, "bad-file"),
        (table(*ROWS) + b"\x00", {}, 422, "bad-file"),
        (b"PK\x03\x04\x14\x00\x06\x00", {}, 422, "bad-file"),
        (table(*ROWS), {"time_zone": "Mars/Olympus"}, 422, "unknown-time-zone"),
        (table(*ROWS), {"time_zone": "../../etc/passwd"}, 422, "unknown-time-zone"),
        (table(*ROWS), {"time_zone": "Asia"}, 422, "unknown-time-zone"),
        (table(*ROWS), {"currency": "cny"}, 422, "invalid-request"),
        (table(*ROWS), {"currency": "XXX"}, 422, "invalid-request"),
        (table(*ROWS), {"shop_id": ""}, 422, "invalid-request"),
        (table(*ROWS), {"shop_id": "s" * 256}, 422, "invalid-request"),
        (table(*ROWS), {"file_name": "f" * 256}, 422, "invalid-request"),
    ],
)
async def test_a_file_that_cannot_be_read_is_refused_whole(
    till: Any, raw: bytes, query: dict[str, str], status: int, code: str
) -> None:
    answer = await send(till, raw, **query)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await till.deliveries() == []
