"""A till's file becomes deliveries, one per receipt, which the drain reads like any other.

The same file again is a no-op; a corrected file stores only the receipts that changed, and the later account
of a receipt wins.
"""

import hashlib
from datetime import datetime
from uuid import UUID

from channel_kit.database import Write
from channel_kit.ids import uuid7
from order_svc.intake import store as intake_store
from order_svc.intake.store import Incoming
from order_svc.platforms import pos
from order_svc.upload import store
from order_svc.upload.rules import Receipts, UploadedFile
from order_svc.upload.store import Upload

RECEIPTS_MAX = 1_000


async def take(
    tx: Write, file: UploadedFile, receipts: Receipts, *, subject: str, at: datetime
) -> tuple[UUID, dict[str, object]]:
    """Stores the file and its receipts; returns the upload and its report. A file known already changes nothing."""
    report = receipts.report(file.lines)
    name = pos.ADAPTER.name
    upload = Upload(uuid7(), name, file.shop_id, file.key, file.name, report, len(file.rows), subject, at)
    if not await store.insert(tx, upload):
        known = await store.find(tx, name, file.shop_id, file.key)
        assert known is not None  # noqa: S101  the insert just met it
        return known.upload_id, {**report, "receipts_new": 0, "known": True}
    incoming = [
        Incoming(
            uuid7(),
            name,
            receipt.store or file.shop_id,
            pos.TOPIC,
            None,
            file.receipt_key(receipt),
            b"",
            hashlib.sha256(receipt.raw).digest(),
            receipt.raw,
            "{}",
            None,
            at,
        )
        for receipt in receipts.upload.receipts
    ]
    fresh = 0
    for start in range(0, len(incoming), RECEIPTS_MAX):
        fresh += len(await intake_store.record(tx, incoming[start : start + RECEIPTS_MAX]))
    return upload.upload_id, {**report, "receipts_new": fresh, "known": False}
