"""Uploaded files: each content once per shop, with the report that was given."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from channel_kit.database import Read, Row, Write


class Upload(NamedTuple):
    upload_id: UUID
    platform: str
    shop_id: str
    file_key: bytes
    file_name: str | None
    report: dict[str, Any]
    rows: int
    subject: str
    received_at: datetime


async def find(tx: Read, platform: str, shop_id: str, file_key: bytes) -> Row | None:
    return await tx.row(
        """
        select upload_id, rows, received_at, report::text as report from upload
        where platform = $1 and shop_id = $2 and file_key = $3
        """,
        platform,
        shop_id,
        file_key,
    )


async def insert(tx: Write, upload: Upload) -> bool:
    """False when this very file was there before."""
    return bool(
        await tx.execute(
            """
            insert into upload (upload_id, platform, shop_id, file_key, file_name, report, rows, subject, received_at)
            values ($1, $2, $3, $4, $5, $6::text::json, $7, $8, $9) on conflict do nothing
            """,
            *upload._replace(report=json.dumps(upload.report)),  # type: ignore[arg-type]
        )
    )


async def page(tx: Read, before: UUID | None, limit: int) -> Sequence[Row]:
    return await tx.rows(
        """
        select upload_id, platform, shop_id, file_name, rows, subject, received_at, report::text as report from upload
        where $1::uuid is null or upload_id < $1 order by upload_id desc limit $2
        """,
        before,
        limit,
    )
