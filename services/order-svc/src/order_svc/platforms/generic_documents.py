"""Reading the bodies of the generic contract, field by field, as strictly as `schemas/` describes them.

Amounts and quantities are decimal strings, ids are strings, times are RFC 3339 with a zone; a field that
may be absent may also be null. Unknown fields are ignored. Called by `generic` only.
"""

import re
from datetime import datetime
from decimal import Decimal
from typing import Final, NoReturn, TypeVar

from order_svc.order.values import (
    FULFILMENTS,
    LINES_MAX,
    PAYMENTS,
    ZERO,
    OrderDocument,
    Refund,
    RefundLine,
)
from order_svc.platforms.bill import Bill, minor, places_of, refund_lines
from order_svc.platforms.contract import Unreadable
from order_svc.platforms.reading import ID_MAX, TITLE_MAX, Node, clean, instant_of, micros

T = TypeVar("T")

LIFECYCLES: Final = ("draft", "open", "completed", "cancelled")
KINDS: Final = ("product", "gift_card", "freight", "tip", "fee", "platform_fee")
SEQUENCE_MAX: Final = 2**63 - 1
REASON_MAX: Final = 255
_COMPONENTS: Final = {
    "promotion": "promo",
    "platform_coupon": "platform_coupon",
    "merchant_coupon": "merchant_coupon",
    "tax": "tax",
    "freight": "freight",
}
_DEDUCTIONS: Final = frozenset({"promotion", "platform_coupon", "merchant_coupon"})
_AMOUNT: Final = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,6})?", re.A)
_QUANTITY: Final = re.compile(r"[0-9]{1,14}(?:\.[0-9]{1,6})?", re.A)
_CURRENCY: Final = re.compile(r"[A-Z]{3}", re.A)
_RFC_3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})",
    re.A,
)


class Fields(Node):
    """Typed fields of one object: `need_…` refuses an absent field, `may_…` gives None for it."""

    __slots__ = ()

    def need_string(self, name: str, limit: int = ID_MAX) -> str:
        return self._needed(name, self.may_string(name, limit))

    def may_string(self, name: str, limit: int = ID_MAX) -> str | None:
        text = self._text(name, "a string")
        if text is None:
            return None
        if not text.strip() or len(text) > limit:
            self.refuse("bad-value", name, f"give 1 to {limit} characters, not only blanks")
        return text

    def may_text(self, name: str, limit: int) -> str | None:
        """Free text, cut at `limit`."""
        text = self._text(name, "a string")
        return text[:limit] if text else None

    def need_amount(self, name: str) -> Decimal:
        return self._needed(name, self.may_amount(name))

    def may_amount(self, name: str, *, deduction: bool = False) -> Decimal | None:
        text = self._matching(name, _AMOUNT, 'a decimal string such as "12.50"')
        if text is None:
            return None
        amount = Decimal(text)
        if deduction and amount > 0:
            self.refuse("bad-value", name, 'a deduction is negative: give "-5.00" for 5.00 off')
        return amount if amount else ZERO

    def need_positive(self, name: str) -> Decimal:
        return self._needed(name, self.may_positive(name))

    def may_positive(self, name: str) -> Decimal | None:
        amount = self.may_amount(name)
        if amount is not None and amount < 0:
            self.refuse("bad-value", name, "give an amount of zero or more")
        return amount

    def need_quantity(self, name: str) -> Decimal:
        return self._needed(name, self.may_quantity(name))

    def may_quantity(self, name: str) -> Decimal | None:
        text = self._matching(name, _QUANTITY, 'a decimal string such as "1" or "0.5", zero or more')
        return None if text is None else Decimal(text)

    def need_instant(self, name: str) -> datetime:
        return self._needed(name, self.may_instant(name))

    def may_instant(self, name: str) -> datetime | None:
        wanted = 'an RFC 3339 time with its zone, such as "2026-03-01T09:30:00+08:00"'
        text = self._matching(name, _RFC_3339, wanted)
        if text is None:
            return None
        at = instant_of(text, self.pointer(name))
        return at if at else self.refuse("bad-value", name, f"give {wanted}")

    def need_word(self, name: str, words: tuple[str, ...]) -> str:
        word = self._needed(name, self._text(name, "a string"))
        if word not in words:
            self.refuse("bad-value", name, f"give one of {', '.join(words)}")
        return word

    def need_currency(self) -> str:
        currency = self._needed(
            "currency", self._matching("currency", _CURRENCY, "three capitals such as CNY")
        )
        places_of(currency)
        return currency

    def may_flag(self, name: str) -> bool:
        value = self.value.get(name)
        if value is not None and not isinstance(value, bool):
            self.refuse("wrong-type", name, "give true or false")
        return value is True

    def may_sequence(self, name: str) -> int | None:
        value = self.value.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse("wrong-type", name, "give a whole number")
        if not 1 <= value <= SEQUENCE_MAX:
            self.refuse("bad-value", name, f"give a whole number from 1 to {SEQUENCE_MAX}")
        return int(value)

    def need_object(self, name: str) -> "Fields":
        value = self._needed(name, self.value.get(name))
        if not isinstance(value, dict):
            self.refuse("wrong-type", name, "give an object")
        return Fields(value, self.pointer(name))

    def may_objects(self, name: str, most: int) -> "list[Fields]":
        value = self.value.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.refuse("wrong-type", name, "give a list")
        if len(value) > most:
            raise Unreadable("order-too-large", f"{self.pointer(name)}: at most {most} entries")
        for index, one in enumerate(value):
            if not isinstance(one, dict):
                self.refuse("wrong-type", f"{name}/{index}", "give an object")
        return [Fields(one, f"{self.pointer(name)}/{index}") for index, one in enumerate(value)]

    def need_objects(self, name: str, most: int) -> "list[Fields]":
        self._needed(name, self.value.get(name))
        return self.may_objects(name, most)

    def _text(self, name: str, wanted: str) -> str | None:
        value = self.value.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self.refuse("wrong-type", name, f"give {wanted}")
        return clean(value, self.pointer(name))

    def _matching(self, name: str, pattern: re.Pattern[str], wanted: str) -> str | None:
        text = self._text(name, wanted)
        if text is not None and not pattern.fullmatch(text):
            self.refuse("bad-value", name, f"give {wanted}")
        return text

    def _needed(self, name: str, value: T | None) -> T:
        if value is None:
            self.refuse("missing-field", name, "this field is required")
        return value

    def refuse(self, code: str, name: str, what: str) -> NoReturn:
        raise Unreadable(code, f"{self.pointer(name)}: {what}")


def version(data: Fields) -> tuple[int, str | None]:
    """(version, its source text): the sender's own sequence, else its time of change, else 0."""
    sequence, updated = data.may_sequence("sequence"), data.may_instant("updated_at")
    if sequence is not None:
        return sequence, str(sequence)
    return (micros(updated), data.value["updated_at"]) if updated else (0, None)


def order(data: Fields) -> OrderDocument:
    """`qudao.order.v1`: one full account of an order."""
    order_id, currency = data.need_string("order_id"), data.need_currency()
    lifecycle = data.need_word("lifecycle", LIFECYCLES)
    payment, fulfilment = data.need_word("payment", PAYMENTS), data.need_word("fulfilment", FULFILMENTS)
    placed_at, (number, text) = data.need_instant("placed_at"), version(data)
    bill = Bill(currency)
    for line in data.need_objects("lines", LINES_MAX):
        _add(bill, line)
    lines, total = bill.close(data.need_amount("total"), data.pointer("total"))
    paid_minor = _paid(data, bill, payment, total)
    paid_at, shipped_at = data.may_instant("paid_at"), data.may_instant("shipped_at")
    if paid_minor and paid_at is None:
        paid_at = placed_at
        bill.flags.add("paid-at-not-stated")
    if shipped_at is None and any(line.shipped for line in lines):
        bill.flags.add("shipped-at-not-stated")
    return OrderDocument(
        platform_order_id=order_id,
        currency=currency,
        version=number,
        lifecycle=lifecycle,
        payment=payment,
        fulfilment=fulfilment,
        placed_at=placed_at,
        lines=lines,
        paid_minor=paid_minor,
        paid_at=paid_at,
        shipped_at=shipped_at,
        cancelled_at=data.may_instant("cancelled_at"),
        completed_at=data.may_instant("completed_at"),
        tax_included=data.may_flag("tax_included"),
        refunds=tuple(
            _refund(one, order_id, currency, number) for one in data.may_objects("refunds", LINES_MAX)
        ),
        refunds_complete=data.may_flag("refunds_complete"),
        number=data.may_string("number"),
        source_status=data.may_string("source_status"),
        version_text=text,
        flags=tuple(sorted(bill.flags)),
    )


def refund(data: Fields) -> Refund:
    """`qudao.refund.v1`: one refund on its own."""
    return _refund(data, data.need_string("order_id"), data.need_currency(), version(data)[0])


def _paid(data: Fields, bill: Bill, payment: str, total: int) -> int:
    paid = data.may_positive("paid")
    if paid is not None:
        return bill.minor(paid, data.pointer("paid"))
    if payment == "partially_paid":
        data.need_positive("paid")
    return max(0, total) if payment in {"paid", "partially_refunded", "refunded"} else 0


def _add(bill: Bill, line: Fields) -> None:
    kind, total = line.need_word("kind", KINDS), line.need_amount("total")
    ordered = line.need_quantity("quantity")
    removed, shipped = line.may_quantity("removed") or ZERO, line.may_quantity("shipped") or ZERO
    if removed > ordered:
        line.refuse("bad-value", "removed", "more was taken off than was ordered")
    if kind == "platform_fee" and total > 0:
        line.refuse("bad-value", "total", "a platform fee is a deduction: give a negative amount")
    if kind == "product" and total < 0:
        line.refuse(
            "bad-value", "total", 'a product line costs zero or more: use the kind "fee" for a credit'
        )
    stated = {
        ours: line.may_amount(theirs, deduction=theirs in _DEDUCTIONS) for theirs, ours in _COMPONENTS.items()
    }
    known = {ours: amount for ours, amount in stated.items() if amount is not None}
    listed = line.may_amount("list")
    if listed is not None and listed + sum(known.values(), ZERO) != total:
        bill.flags.add("line-mismatch")
    bill.add(
        kind,
        line.need_string("line_id"),
        total,
        ordered=ordered,
        removed=removed,
        shipped=shipped,
        sku=line.may_string("sku"),
        title=line.may_text("title", TITLE_MAX),
        pointer=line.at,
        **known,
    )


def _refund(data: Fields, order_id: str, currency: str, number: int) -> Refund:
    units = minor(data.need_positive("amount"), currency, data.pointer("amount"))
    at = data.need_instant("at")
    lines = [_refund_line(one, currency) for one in data.may_objects("lines", LINES_MAX)]
    return Refund(
        external_id=data.need_string("refund_id"),
        platform_order_id=order_id,
        currency=currency,
        amount_minor=units,
        at=at,
        lines=refund_lines(lines, units, data.pointer("lines")),
        version=number,
        reason=data.may_text("reason", REASON_MAX),
    )


def _refund_line(line: Fields, currency: str) -> RefundLine:
    amount = minor(line.need_positive("amount"), currency, line.pointer("amount"))
    parts = {
        name: None if part is None else minor(part, currency, line.pointer(name))
        for name in ("tax", "freight")
        for part in (line.may_amount(name),)
    }
    return RefundLine(
        line.may_string("line_id"),
        line.need_quantity("quantity"),
        amount,
        tax_minor=parts["tax"],
        freight_minor=parts["freight"],
        restocked=line.may_quantity("restocked") or ZERO,
    )
