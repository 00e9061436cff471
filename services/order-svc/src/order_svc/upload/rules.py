"""What a till's file says, row by row. Pure: grouping and judging are the adapter's, the report is ours."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from order_svc.platforms import pos

REFUSED_SHOWN_MAX = 200


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file as it came: `rows` by column name, `lines` where they stand in the file.

    `shop_id` is the shop of receipts that name no store of their own; `time_zone` and `currency` are what the
    uploader says of all rows, so the same rows with another zone are another file.
    """

    shop_id: str
    name: str | None
    content_sha256: bytes
    rows: Sequence[Mapping[str, str]]
    lines: Sequence[int]
    time_zone: str
    currency: str

    @property
    def key(self) -> bytes:
        """Identifies the file, and what was said with it."""
        said = f"{self.time_zone}|{self.currency}|".encode()
        return hashlib.sha256(said + self.content_sha256).digest()

    def receipt_key(self, receipt: pos.Receipt) -> bytes:
        """Identifies what a receipt says, whichever file and day it came with."""
        rows = [dict(sorted(self.rows[index].items())) for index in receipt.rows]
        said = ["receipt", receipt.platform_order_id, self.time_zone, self.currency, rows]
        return hashlib.sha256(json.dumps(said).encode()).digest()


@dataclass(frozen=True, slots=True)
class Receipts:
    """A judged file."""

    upload: pos.Upload

    def report(self, lines: Sequence[int]) -> dict[str, object]:
        """Counts, and the first refused rows by their line in the file."""
        refused = [
            {"line": line, "reason": verdict}
            for line, verdict in zip(lines, self.upload.verdicts, strict=True)
            if verdict != pos.OK
        ]
        return {
            "rows": len(self.upload.verdicts),
            "accepted": len(self.upload.verdicts) - len(refused),
            "refused": len(refused),
            "receipts": len(self.upload.receipts),
            "refusals": refused[:REFUSED_SHOWN_MAX],
        }
