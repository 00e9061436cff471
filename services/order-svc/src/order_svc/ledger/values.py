"""What a ledger entry is, before and after it has an identity.

Pure values. A `Wanted` is what should stand in the ledger for one line and kind; an `Entry` is a row that does
(or did, until its reversal), with a `Wanted` in it, which is how posting compares the two.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from operator import neg, sub
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import astuple, replace

from channel_kit.money import share
from order_svc.order.values import Components, RefundLine

DEMAND = ("ordered", "cancelled", "returned")
CASH = ("paid", "refunded")
KINDS = (*DEMAND, *CASH, "shipped", "fee")
ORIGIN_KIND = {"cancelled": "ordered", "returned": "ordered", "refunded": "paid"}


class Wanted(Struct, frozen=True):
    """One entry as it should be. Components and quantity carry the sign of the kind (undo rows negative)."""

    line_no: int
    line_kind: str
    kind: str
    quantity: Decimal
    components: Components
    currency: str
    tax_included: bool
    partner_id: UUID | None
    channel: str | None
    sku: str | None
    business_at: datetime
    origin_at: datetime


class Entry(Struct, frozen=True, dict=True):  # the dict keeps the hash
    """One row of the ledger."""

    entry_id: UUID
    order_id: UUID
    wanted: Wanted
    recorded_at: datetime
    cause_delivery_id: UUID | None = None
    reverses_entry_id: UUID | None = None
    origin_entry_id: UUID | None = None

    @cached_property
    def entry_hash(self) -> str:
        """SHA-256 of the canonical form of every column: what blocks are chained over. Worked out once."""
        facts = self.wanted
        canonical = _encode(
            [
                self.entry_id,
                self.order_id,
                facts.line_no,
                facts.line_kind,
                facts.kind,
                plain(facts.quantity),
                facts.currency,
                *astuple(facts.components),
                facts.tax_included,
                facts.partner_id,
                facts.channel,
                facts.sku,
                instant(facts.business_at),
                instant(facts.origin_at),
                instant(self.recorded_at),
                self.cause_delivery_id,
                self.reverses_entry_id,
                self.origin_entry_id,
            ]
        )
        return hashlib.sha256(canonical).hexdigest()


_encode = msgspec.json.Encoder().encode


def sums(entries: Sequence[Wanted]) -> dict[int, dict[str, tuple[str, int]]]:
    """Per line {kind: (Σ quantity, Σ net)}: what the audit compares with the sums of the table."""
    found: dict[int, dict[str, tuple[Decimal, int]]] = {}
    for entry in entries:
        line = found.setdefault(entry.line_no, {})
        quantity, net = line.get(entry.kind, (Decimal(0), 0))
        line[entry.kind] = (quantity + entry.quantity, net + entry.components.net_minor)
    return {no: {kind: (plain(q), net) for kind, (q, net) in line.items()} for no, line in found.items()}


def plain(quantity: Decimal) -> str:
    """A quantity as plain digits without trailing zeros, so that equal quantities are equal texts."""
    text = str(quantity)
    if text.isdigit():  # nearly all are whole and written so already
        return text
    return format(quantity.normalize(), "f") if quantity else "0"


def instant(at: datetime) -> str:
    """Microseconds since 1970 as text: the same whatever zone the value came in."""
    since = at - _EPOCH
    return str((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def split(total: int, weights: Sequence[int]) -> list[int]:
    """`total` in proportion to `weights`, by largest remainder; the parts sum to it, ties go to the earlier line.

    Weights have either sign and sum to more than 0; `total` is from 0 to that sum. So no part is beyond its
    weight, and splitting the whole sum gives the weights themselves.
    """
    whole = sum(weights)
    parts = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(parts)), key=lambda i: -(total * weights[i] % whole))
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    return parts


def scaled(components: Components, part: Decimal | int, whole: Decimal | int) -> Components:
    """Each component × part ÷ whole, half-even; the net is exact to half a unit and `list_minor` takes the rest.

    Nothing of anything is nothing; all of it is the components as they are.
    """
    if not part:
        return Components()
    if part == whole:
        return components
    _, *others = astuple(components)
    stated = [share(amount, part, whole) if amount else 0 for amount in others]
    return Components(share(components.net_minor, part, whole) - sum(stated), *stated)


def minus(left: Components, right: Components) -> Components:
    return Components(*map(sub, astuple(left), astuple(right)))


def negated(components: Components) -> Components:
    return Components(*map(neg, astuple(components)))


def taken_back(money: Components, value: int, part: RefundLine | None) -> Components:
    """`value` taken out of `money`, which is worth something: with the tax and freight that the refund names
    for it, the rest in the proportion of what is there."""
    even = scaled(money, value, money.net_minor)
    if part is None or not value or (part.tax_minor is None and part.freight_minor is None):
        return even
    named = {
        name: share(amount, value, part.amount_minor)
        for name in ("tax_minor", "freight_minor")
        if (amount := getattr(part, name)) is not None
    }
    tax = named.get("tax_minor", even.tax_minor)
    freight = named.get("freight_minor", even.freight_minor)
    others, rest = replace(money, tax_minor=0, freight_minor=0), value - tax - freight
    within = max(0, min(rest, others.net_minor))
    kept = scaled(others, within, others.net_minor)
    return replace(kept, list_minor=kept.list_minor + rest - within, tax_minor=tax, freight_minor=freight)
