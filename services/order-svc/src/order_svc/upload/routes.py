"""`/v1/uploads`: a till's file, with a verdict for every row."""

import asyncio
import hashlib
import json
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import Query, Request

from channel_kit.auth import Caller, scope
from channel_kit.clock import now
from channel_kit.files import Table, read_table, upload_body
from channel_kit.http import CurrencyCode, Router, View, database
from channel_kit.pagination import Cursor, Page
from channel_kit.problems import Unprocessable
from order_svc.platforms import pos
from order_svc.upload import actions, store
from order_svc.upload.rules import Receipts, UploadedFile

router = Router(tags=["uploads"])

PRINTABLE = r"^[^\x00-\x1f]+$"
REQUIRED = ("business_date", "terminal", "receipt", "sku", "quantity")


class UnknownZone(Unprocessable):
    code = "unknown-time-zone"
    title = "Use an IANA time zone such as Asia/Shanghai"


class Refusal(View):
    """`line` is the row's line in the file; the header is line 1."""

    line: int
    reason: str


class UploadView(View):
    """`known`: this very file was taken before, and nothing was done again."""

    upload_id: UUID
    rows: int
    accepted: int
    refused: int
    receipts: int
    receipts_new: int
    known: bool
    refusals: list[Refusal]


class UploadItem(View):
    upload_id: UUID
    platform: str
    shop_id: str
    file_name: str | None
    rows: int
    accepted: int
    refused: int
    subject: str
    received_at: datetime


@router.post("/v1/uploads", status_code=201)
async def upload(
    caller: Annotated[Caller, scope("orders:write", staff=True)],
    raw: Annotated[bytes, upload_body()],
    request: Request,
    shop_id: Annotated[str, Query(min_length=1, max_length=255, pattern=PRINTABLE)],
    time_zone: Annotated[str, Query(max_length=64)] = "",
    currency: Annotated[CurrencyCode, Query()] = "CNY",
    file_name: Annotated[str | None, Query(max_length=255, pattern=PRINTABLE)] = None,
) -> UploadView:
    """Takes a POS file (CSV; UTF-8 or GB18030). Bad rows are refused one by one; the rest goes to the ledger.

    `shop_id` is the shop of rows that name no `store`, `time_zone` the zone of the file's dates (the enterprise's,
    when not said), `currency` that of rows without one.
    """
    zone, at = time_zone or request.app.state.settings.time_zone, now()
    try:
        ZoneInfo(zone)
    except (OSError, ValueError, KeyError):  # an unknown name is a KeyError
        raise UnknownZone from None
    # Reading and judging a large file takes seconds, during which webhooks are to be answered.
    table, judged = await asyncio.to_thread(_judge, raw, zone, at, currency)
    digest = hashlib.sha256(raw).digest()
    file = UploadedFile(shop_id, file_name, digest, table.rows, table.lines, zone, currency)
    async with database(request).write(caller.actor) as tx:
        upload_id, report = await actions.take(tx, file, judged, subject=caller.subject, at=at)
    return UploadView.model_validate({"upload_id": upload_id, **report})


def _judge(raw: bytes, zone: str, at: datetime, currency: str) -> tuple[Table, Receipts]:
    table = read_table(raw, required=REQUIRED)
    return table, Receipts(
        pos.rows_to_documents(table.rows, time_zone=zone, received_at=at, currency=currency)
    )


@router.get("/v1/uploads")
async def uploads(
    caller: Annotated[Caller, scope("orders:read", staff=True)], cursor: Cursor, request: Request
) -> Page[UploadItem]:
    """The files taken so far, latest first."""
    before = cursor.values(UUID)
    async with database(request).read(caller.actor) as tx:
        rows = await store.page(tx, before[0] if before else None, cursor.limit + 1)
    items = [_item(row) for row in rows[: cursor.limit]]
    return cursor.page(items, len(rows), (items[-1].upload_id,) if items else ())


def _item(row: Any) -> UploadItem:
    report = json.loads(row.report)
    return UploadItem(
        upload_id=row.upload_id,
        platform=row.platform,
        shop_id=row.shop_id,
        file_name=row.file_name,
        rows=row.rows,
        accepted=report["accepted"],
        refused=report["refused"],
        subject=row.subject,
        received_at=row.received_at,
    )
