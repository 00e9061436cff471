"""Reading the rows of one point-of-sale receipt into an order, and its returns into refunds.

`judge` says what is wrong with a single row, `documents` reads a whole receipt. Called by `pos` only.
"""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from hashlib import sha256
from typing import Final
from zoneinfo import ZoneInfo

from order_svc.order.values import LINES_MAX, ZERO, OrderDocument, Refund, RefundLine
from order_svc.platforms.bill import Bill, minor
from order_svc.platforms.contract import Documents, Unreadable
from order_svc.platforms.reading import EPOCH, ID_MAX, YEARS, Node, micros

VERSION_MAX: Final = 2**63 - 1
_NOON: Final = time(12)
_DATE: Final = re.compile(r"([0-9]{4})[-/.]?([0-9]{2})[-/.]?([0-9]{2})", re.A)
_TIME: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?", re.A)
_REVISION: Final = re.compile(r"[0-9]{1,18}", re.A)


def key_of(row: Node) -> tuple[str, str] | None:
    """(store, order id) of the receipt that a row belongs to, None when the row does not say it."""
    try:
        day, terminal, receipt = _day(row), row.ident("terminal"), row.ident("receipt")
        store = row.code("store") or ""
    except Unreadable:
        return None
    if not day or not terminal or not receipt:
        return None
    order_id = f"{day.isoformat()}/{terminal}/{receipt}"
    return (store, order_id) if len(order_id) <= ID_MAX else None


def judge(row: Node) -> str | None:
    """What is wrong with a row taken by itself, as a kebab-case reason; None when nothing is."""
    try:
        if _day(row) is None:
            return "bad-date"
        if row.ident("terminal") is None or row.ident("receipt") is None:
            return "receipt-not-stated"
        if key_of(row) is None:
            return "id-too-long"
        if row.get("time") and _clock(row) is None:
            return "bad-time"
        quantity = row.quantity("quantity")
        if quantity is None or quantity == 0:
            return "quantity-not-stated"
        if _total(row, quantity) is None:
            return "amount-not-stated"
        for name in ("discount", "tax"):
            row.number(name)
        row.code("sku"), row.text("title"), row.ident("line")
        if row.get("revision") and not _REVISION.fullmatch(row.text("revision") or ""):
            return "bad-revision"
        if quantity < 0:
            return _judge_return(row)
    except Unreadable as problem:
        return problem.code
    return None


def _judge_return(row: Node) -> str | None:
    if row.ident("original_receipt") is None:
        return "return-without-original"
    return None if row.ident("original_line") else "return-without-original-line"


def documents(body: Node, received_at: datetime) -> Documents:
    """The documents of one receipt: its sale as an order, its returns as a refund each original."""
    rows = body.children("rows")
    if not rows:
        raise Unreadable("no-rows", "/rows: the receipt has no rows")
    if len(rows) > LINES_MAX:
        raise Unreadable("order-too-large", f"/rows: more than {LINES_MAX} rows on one receipt")
    for row in rows:
        reason = judge(row)
        if reason:
            raise Unreadable(reason, f"{row.at}: {reason}")
    keys = {key_of(row) for row in rows}
    key = keys.pop()
    if keys or key is None:
        raise Unreadable("several-receipts", "/rows: the rows are not of one receipt")
    order_id, currency = key[1], _currency(rows)
    version, at = _version(body, rows, received_at), _at(body, rows)
    sold = [row for row in rows if (row.quantity("quantity") or ZERO) > 0]
    back = [row for row in rows if (row.quantity("quantity") or ZERO) < 0]
    orders = (_order(order_id, currency, version, at, sold),) if sold else ()
    return Documents(orders, _refunds(order_id, currency, version, at, back))


def _order(order_id: str, currency: str, version: int, at: datetime, rows: Sequence[Node]) -> OrderDocument:
    bill = Bill(currency)
    for number, row in enumerate(rows, 1):
        quantity = row.quantity("quantity") or ZERO
        total = _total(row, quantity) or ZERO
        bill.add(
            "product",
            row.ident("line") or f"line:{number}",
            total,
            ordered=quantity,
            shipped=quantity,
            sku=row.code("sku"),
            title=row.text("title"),
            pointer=row.at,
            merchant_coupon=-abs(row.number("discount") or ZERO),
            tax=row.number("tax") or ZERO,
        )
    if not any(row.get("time") for row in rows):
        bill.flags.add("time-not-stated")
    stated = sum((_total(row, row.quantity("quantity") or ZERO) or ZERO for row in rows), ZERO)
    lines, total_minor = bill.close(stated, "/rows")
    return OrderDocument(
        platform_order_id=order_id,
        currency=currency,
        version=version,
        lifecycle="completed",
        payment="paid",
        fulfilment="shipped",
        placed_at=at,
        lines=lines,
        paid_minor=max(0, total_minor),
        paid_at=at,
        shipped_at=at,
        completed_at=at,
        tax_included=True,
        number=rows[0].ident("receipt"),
        flags=tuple(sorted(bill.flags)),
    )


def _refunds(
    order_id: str, currency: str, version: int, at: datetime, rows: Sequence[Node]
) -> tuple[Refund, ...]:
    """One refund for each receipt that the returned goods were sold on; the goods go back on the shelf."""
    by_original: dict[str, list[Node]] = {}
    for row in rows:
        by_original.setdefault(_original(row), []).append(row)
    return tuple(
        Refund(
            external_id=_short(f"{order_id}>{original}"),
            platform_order_id=original,
            currency=currency,
            amount_minor=sum(line.amount_minor for line in lines),
            at=at,
            lines=lines,
            version=version,
        )
        for original, group in by_original.items()
        for lines in (tuple(_refund_line(row, currency) for row in group),)
    )


def _short(text: str) -> str:
    """A text that is too long for an id, by its hash: cutting it could make two ids one."""
    return text if len(text) <= ID_MAX else sha256(text.encode()).hexdigest()


def _refund_line(row: Node, currency: str) -> RefundLine:
    quantity = row.quantity("quantity") or ZERO
    total, tax = abs(_total(row, quantity) or ZERO), abs(row.number("tax") or ZERO)
    return RefundLine(
        row.ident("original_line"),
        -quantity,
        minor(total, currency, row.at),
        tax_minor=minor(tax, currency, row.at),
        restocked=-quantity,
    )


def _original(row: Node) -> str:
    """The order id of the original receipt: written in full, or by its number on the same day and till."""
    stated = row.ident("original_receipt") or ""
    if stated.count("/") >= 2:
        return stated
    key = key_of(row)
    own = key[1] if key else ""
    return _short(f"{own.rsplit('/', 1)[0]}/{stated}")


def _total(row: Node, quantity: Decimal) -> Decimal | None:
    """What the row costs, signed like its quantity: stated, else unit price × quantity less the discount."""
    total, price = row.number("total"), row.number("unit_price")
    if total is None:
        if price is None:
            return None
        total = abs(price * quantity) - abs(row.number("discount") or ZERO)
    if total < 0 < quantity:
        raise Unreadable("negative-amount", f"{row.pointer('total')}: below zero though goods were sold")
    return -abs(total) if quantity < 0 else total


def _day(row: Node) -> date | None:
    match = _DATE.fullmatch(row.text("business_date") or "")
    try:
        day = date(int(match[1]), int(match[2]), int(match[3])) if match else None
    except ValueError:
        return None
    if day and not YEARS[0] <= day.year <= YEARS[1]:
        raise Unreadable(
            "time-out-of-range", f"{row.pointer('business_date')}: outside the years of business"
        )
    return day


def _clock(row: Node) -> time | None:
    match = _TIME.fullmatch(row.text("time") or "")
    try:
        return time(int(match[1]), int(match[2]), int(match[3] or 0)) if match else None
    except ValueError:
        return None


def _at(body: Node, rows: Sequence[Node]) -> datetime:
    """The earliest time on the receipt, noon where none is stated, in the zone of the upload."""
    name = body.text("time_zone") or ""
    try:
        zone = ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise Unreadable("unknown-time-zone", f"/time_zone: {name!r} is not an IANA time zone") from None
    clock = min((at for row in rows if (at := _clock(row))), default=_NOON)
    day = next(day for row in rows if (day := _day(row)))
    return datetime.combine(day, clock, zone).astimezone(UTC)


def _currency(rows: Sequence[Node]) -> str:
    stated = {(row.code("currency") or "").upper() for row in rows}
    if len(stated) > 1:
        raise Unreadable("several-currencies", "/rows: one receipt is in one currency")
    currency = stated.pop()
    if not currency:
        raise Unreadable("currency-not-stated", "/rows: no currency column and no default currency")
    return currency


def _version(body: Node, rows: Sequence[Node], received_at: datetime) -> int:
    """The file's own revision where it counts them, else the moment of the upload."""
    revisions = [int(text) for row in rows if (text := row.text("revision"))]
    if revisions:
        return max(revisions)
    received = body.get("received")
    if isinstance(received, int) and not isinstance(received, bool) and 0 <= received <= VERSION_MAX:
        return received
    return micros(max(received_at, EPOCH))
