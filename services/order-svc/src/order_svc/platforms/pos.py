"""Point of sale: rows of an uploaded file, grouped by receipt and read as paid, shipped, finished orders.

There is no webhook. `rows_to_documents` judges every row and makes one body per receipt; `normalise` reads
such a body, so that a receipt can be reprocessed like any delivery. Prices include tax. A negative quantity
is a return against the receipt it was sold on. A later upload of a receipt wins over an earlier one, unless
the file counts revisions itself.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from order_svc.platforms import pos_receipts
from order_svc.platforms.contract import (
    Answer,
    BadSignature,
    Documents,
    Headers,
    Ignored,
    Message,
    Unreadable,
)
from order_svc.platforms.reading import Node, exact, micros, parse
from order_svc.platforms.signing import content_key

TOPIC: Final = "receipt"
OK: Final = "ok"
COLUMNS: Final = (
    "store",
    "business_date",
    "time",
    "terminal",
    "receipt",
    "line",
    "sku",
    "title",
    "quantity",
    "unit_price",
    "discount",
    "tax",
    "total",
    "currency",
    "payment",
    "original_receipt",
    "original_line",
    "revision",
)
Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Receipt:
    """One receipt of a file: the body to store, what it says, and the rows (from 0) that it came from."""

    store: str
    platform_order_id: str
    raw: bytes
    documents: Documents
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Upload:
    """A file's receipts in the order of their first row, and one verdict a row: "ok" or a reason."""

    receipts: tuple[Receipt, ...]
    verdicts: tuple[str, ...]


class PointOfSale:
    """The adapter; see `contract.Platform`."""

    name = "pos"

    def handshake(self, raw: bytes, headers: Headers) -> Answer | None:
        return None

    def verify(self, raw: bytes, headers: Headers, secrets: Sequence[str], now: datetime) -> int:
        raise BadSignature("no-webhook", "a point of sale sends files: upload them")

    def describe(self, raw: bytes, headers: Headers) -> Message:
        return Message(TOPIC, content_key(TOPIC, raw))

    def normalise(self, topic: str, raw: bytes, received_at: datetime) -> Documents | Ignored:
        if topic not in ("", TOPIC):
            return Ignored("topic-not-used")
        with exact():
            body = parse(raw)
            if not isinstance(body, dict):
                raise Unreadable("not-an-object", "the body is not a receipt")
            return pos_receipts.documents(Node(body), received_at)

    def accepted(self) -> Answer:
        return Answer(200)


ADAPTER: Final = PointOfSale()


def guess_topic(body: Node) -> str:
    """A receipt is the only thing there is."""
    return TOPIC if "rows" in body else ""


def encode_receipt(
    rows: Sequence[Row], *, time_zone: str, received_at: datetime, currency: str = ""
) -> bytes:
    """The body of one receipt: its rows as given, known columns only, and what the upload adds to them.

    `currency` stands in where the file has no such column.
    """
    kept = [{name: row[name].strip() for name in COLUMNS if (row.get(name) or "").strip()} for row in rows]
    for row in kept:
        if currency:
            row.setdefault("currency", currency)
    body: dict[str, Any] = {"received": micros(received_at), "rows": kept, "time_zone": time_zone}
    return json.dumps(body, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode()


def rows_to_documents(
    rows: Sequence[Row], *, time_zone: str, received_at: datetime, currency: str = ""
) -> Upload:
    """Group a file's rows by receipt and judge each row.

    A receipt is taken whole or not at all: when one of its rows is refused for a reason of its own, the
    others say `receipt-refused`. `time_zone` is an IANA name, the zone of the business dates and times.
    """
    with exact():
        verdicts = [pos_receipts.judge(Node(row, f"/rows/{index}")) or OK for index, row in enumerate(rows)]
    groups: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(rows):
        key = pos_receipts.key_of(Node(row))
        if key is not None:
            groups.setdefault(key, []).append(index)
    receipts = []
    for (store, order_id), indexes in groups.items():
        if any(verdicts[index] != OK for index in indexes):
            _refuse(verdicts, indexes, "receipt-refused")
            continue
        raw = encode_receipt(
            [rows[index] for index in indexes],
            time_zone=time_zone,
            received_at=received_at,
            currency=currency,
        )
        try:
            documents = ADAPTER.normalise(TOPIC, raw, received_at)
        except Unreadable as problem:
            _refuse(verdicts, indexes, problem.code)
            continue
        if isinstance(documents, Documents):
            receipts.append(Receipt(store, order_id, raw, documents, tuple(indexes)))
    return Upload(tuple(receipts), tuple(verdicts))


def _refuse(verdicts: list[str], indexes: Sequence[int], reason: str) -> None:
    for index in indexes:
        if verdicts[index] == OK:
            verdicts[index] = reason
