"""What a till's file says, row by row. Pure: grouping and judging are the adapter's, the report is ours."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from order_svc.platforms import pos

REFUSED_SHOWN_MAX = 200


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


def dedupe_key(receipt: pos.Receipt, rows: Sequence[Mapping[str, str]]) -> bytes:
    """Identifies what the receipt says, whichever file and day it came with."""
    said = [dict(sorted(rows[index].items())) for index in receipt.rows]
    return hashlib.sha256(json.dumps(["receipt", receipt.platform_order_id, said]).encode()).digest()
