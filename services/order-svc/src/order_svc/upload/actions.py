"""A till's file becomes deliveries, one per receipt, which the drain reads like any other.

The same file again is a no-op; a corrected file stores only the receipts that changed, and the later account
of a receipt wins.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from channel_kit.database import Write
from channel_kit.ids import uuid7
from order_svc.intake import store as intake_store
from order_svc.intake.store import Incoming
from order_svc.platforms import pos
from order_svc.upload import store
from order_svc.upload.rules import Receipts, dedupe_key
from order_svc.upload.store import Upload


async def take(
    tx: Write,
    *,
    shop_id: str,
    raw: bytes,
    file_name: str | None,
    rows: Sequence[Mapping[str, str]],
    receipts: Receipts,
    lines: Sequence[int],
    subject: str,
    at: datetime,
) -> tuple[UUID, dict[str, object]]:
    """Stores the file and its receipts; returns the upload and its report (the earlier one for a known file)."""
    report = receipts.report(lines)
    digest = hashlib.sha256(raw).digest()
    upload = Upload(uuid7(), pos.ADAPTER.name, shop_id, digest, file_name, report, len(rows), subject, at)
    if not await store.insert(tx, upload):
        known = await store.find(tx, pos.ADAPTER.name, shop_id, digest)
        assert known is not None  # noqa: S101  the insert just met it
        return known.upload_id, {**report, "receipts_new": 0, "known": True}
    incoming = [
        Incoming(
            uuid7(),
            pos.ADAPTER.name,
            shop_id,
            pos.TOPIC,
            None,
            dedupe_key(receipt, rows),
            b"",
            hashlib.sha256(receipt.raw).digest(),
            receipt.raw,
            "{}",
            None,
            at,
        )
        for receipt in receipts.upload.receipts
    ]
    fresh = await intake_store.record(tx, incoming) if incoming else set()
    return upload.upload_id, {**report, "receipts_new": len(fresh), "known": False}
