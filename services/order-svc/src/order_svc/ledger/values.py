"""What a ledger entry is, before and after it has an identity.

Pure values. A `Wanted` is what should stand in the ledger for one line and kind; an `Entry` is a row that does
(or did, until its reversal). Their `content` is the same tuple, which is how posting compares the two.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from channel_kit.money import share
from order_svc.order.values import Components

DEMAND = ("ordered", "cancelled", "returned")
CASH = ("paid", "refunded")
KINDS = (*DEMAND, *CASH, "shipped", "fee")
ORIGIN_KIND = {"cancelled": "ordered", "returned": "ordered", "refunded": "paid"}


@dataclass(frozen=True, slots=True)
class Wanted:
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

    @property
    def content(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in _CONTENT)


_CONTENT = tuple(field.name for field in fields(Wanted))


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the ledger."""

    entry_id: UUID
    order_id: UUID
    wanted: Wanted
    recorded_at: datetime
    cause_delivery_id: UUID | None = None
    reverses_entry_id: UUID | None = None
    origin_entry_id: UUID | None = None

    @property
    def entry_hash(self) -> str:
        """SHA-256 of the canonical form of every column: what blocks are chained over."""
        facts = self.wanted
        return hashlib.sha256(
            json.dumps(
                [
                    str(self.entry_id),
                    str(self.order_id),
                    facts.line_no,
                    facts.line_kind,
                    facts.kind,
                    plain(facts.quantity),
                    facts.currency,
                    *(getattr(facts.components, name) for name in _COMPONENTS),
                    facts.tax_included,
                    _text(facts.partner_id),
                    facts.channel,
                    facts.sku,
                    instant(facts.business_at),
                    instant(facts.origin_at),
                    instant(self.recorded_at),
                    _text(self.cause_delivery_id),
                    _text(self.reverses_entry_id),
                    _text(self.origin_entry_id),
                ],
                ensure_ascii=False,
                separators=(",", ":"),
            ).encode()
        ).hexdigest()


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
    return format(quantity.normalize(), "f") if quantity else "0"


def instant(at: datetime) -> str:
    """Microseconds since 1970 as text: the same whatever zone the value came in."""
    return str(int(at.replace(microsecond=0).timestamp()) * 1_000_000 + at.microsecond)


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


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
    stated = {
        name: share(getattr(components, name), part, whole) for name in _COMPONENTS if name != "list_minor"
    }
    return Components(list_minor=share(components.net_minor, part, whole) - sum(stated.values()), **stated)


def minus(left: Components, right: Components) -> Components:
    return Components(*(getattr(left, name) - getattr(right, name) for name in _COMPONENTS))


def negated(components: Components) -> Components:
    return minus(Components(), components)


_COMPONENTS = tuple(field.name for field in fields(Components))
