"""What the buyer is billed: collects lines, rounds each amount once, and makes them add up to the total.

An adapter adds its lines in exact decimals; `close` turns them into `Line`s whose nets sum to the stated
total, an `adjustment` line taking what the lines do not explain; a refund's lines are completed likewise. Line
ids are made unique here, in document order. Raises Unreadable for a currency, a number or a size beyond the
ledger's bounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from channel_kit import money
from order_svc.order.values import LINES_MAX, ZERO, Components, Line, RefundLine
from order_svc.platforms.contract import Unreadable

ONE: Final = Decimal(1)

# The component that takes what the stated components leave of the net.
_REMAINDER: Final = {"freight": "freight_minor", "platform_fee": "platform_fee_minor"}
_TAXED_KINDS: Final = frozenset({"product", "freight"})


@dataclass(slots=True)
class _Draft:
    """A line whose amounts are not settled yet; `stated` are components by name."""

    external_id: str
    line_kind: str
    ordered: Decimal
    net_minor: int
    stated: dict[str, int] = field(default_factory=dict)
    sku: str | None = None
    title: str | None = None
    removed: Decimal = ZERO
    shipped: Decimal = ZERO

    def finish(self) -> Line:
        rest = self.net_minor - sum(self.stated.values())
        name = _REMAINDER.get(self.line_kind, "list_minor")
        components = Components(**{**self.stated, name: self.stated.get(name, 0) + rest})
        return Line(
            self.external_id,
            self.line_kind,
            self.ordered,
            components,
            self.sku,
            self.title,
            self.removed,
            self.shipped,
        )


def places_of(currency: str) -> int:
    """The decimals of a currency; raises Unreadable for one that ISO 4217 does not know."""
    try:
        return money.exponent(currency)
    except money.UnknownCurrency:
        raise Unreadable("unknown-currency", f"{currency!r} is not a currency of ISO 4217") from None


def minor(amount: Decimal, currency: str, pointer: str = "") -> int:
    """Minor units, rounded once, half to even; raises Unreadable beyond the ledger's range."""
    try:
        scaled = amount.scaleb(places_of(currency))
        units = int(scaled)
        if units != scaled:
            units, _ = money.to_minor(amount, currency)
    except money.BadNumber as error:
        raise Unreadable("number-out-of-range", f"{pointer}: {error}") from None
    if abs(units) > money.MINOR_UNITS_MAX:
        raise Unreadable("number-out-of-range", f"{pointer}: beyond ±10^15 minor units")
    return units


def refund_lines(lines: Sequence[RefundLine], amount: int, pointer: str) -> tuple[RefundLine, ...]:
    """The lines of a refund of `amount`, with one more that names no line for what they do not explain."""
    rest = amount - sum(line.amount_minor for line in lines)
    _check_range(rest, pointer)
    if len(lines) >= LINES_MAX:
        raise Unreadable("order-too-large", f"{pointer}: more than {LINES_MAX} lines in a refund")
    return (*lines, RefundLine(None, ZERO, rest)) if rest else tuple(lines)


class Bill:
    """The lines of one order in one currency, and the flags that reading them raised."""

    def __init__(self, currency: str) -> None:
        places_of(currency)
        self.currency = currency
        self.flags: set[str] = set()
        self._drafts: list[_Draft] = []
        self._ids: dict[str, int] = {}
        self._exact = ZERO

    def minor(self, amount: Decimal, pointer: str = "") -> int:
        return minor(amount, self.currency, pointer)

    def add(
        self,
        kind: str,
        external_id: str,
        net: Decimal,
        *,
        ordered: Decimal = ONE,
        removed: Decimal = ZERO,
        shipped: Decimal = ZERO,
        sku: str | None = None,
        title: str | None = None,
        pointer: str = "",
        **stated: Decimal,
    ) -> str:
        """Add a line that costs the buyer `net`, tax included; returns the id that it got.

        `stated` are components by name without the `_minor` (deductions negative); what they leave of the
        net is the list price, or the freight on a freight line. `pointer` names the line in errors.
        """
        for quantity in (ordered, removed, shipped):
            if quantity < 0:
                raise Unreadable("negative-quantity", f"{pointer}: a quantity on an order line is below zero")
        components = {
            f"{name}_minor": self.minor(amount, pointer) for name, amount in stated.items() if amount
        }
        units = self.minor(net, pointer)
        self._exact += ZERO if kind == "platform_fee" else net
        if kind == "product" and units < 0:
            # The ledger takes no sale below zero; the adjustment line carries what goes beyond it.
            self.flags.add("negative-line")
            units = 0
        identity = self._unique(external_id)
        self._drafts.append(_Draft(identity, kind, ordered, units, components, sku, title, removed, shipped))
        self._check_size()
        return identity

    def spread_tax(self, tax: Decimal | None, *, included: bool, pointer: str = "") -> None:
        """Split a tax that only the header states over the lines, in proportion to what they cost."""
        if not tax or any(draft.stated.get("tax_minor") for draft in self._drafts):
            return
        taxed = [draft for draft in self._drafts if draft.line_kind in _TAXED_KINDS and draft.net_minor > 0]
        if not taxed:
            return
        self.flags.add("tax-apportioned")
        self._exact += ZERO if included else tax
        shares = money.apportion(self.minor(tax, pointer), [draft.net_minor for draft in taxed])
        for draft, share in zip(taxed, shares, strict=True):
            draft.stated["tax_minor"] = share
            draft.net_minor += 0 if included else share

    def close(self, total: Decimal | None, pointer: str = "") -> tuple[tuple[Line, ...], int]:
        """All lines and the total in minor units; the nets of the lines sum to it, platform fees apart."""
        billed = sum(draft.net_minor for draft in self._drafts if draft.line_kind != "platform_fee")
        if total is None:
            self.flags.add("total-not-stated")
            total_minor = billed
            _check_range(billed, pointer)
        else:
            total_minor = self.minor(total, pointer)
            if total_minor != billed:
                self._adjust(total_minor - billed, pointer)
            if self._exact != total and self._off(total):
                self.flags.add("totals-mismatch")
        return tuple(draft.finish() for draft in self._drafts), total_minor

    def _off(self, total: Decimal) -> bool:
        """More than the rounding of single amounts explains."""
        difference = total - self._exact
        return abs(difference.scaleb(places_of(self.currency))) > Decimal("0.5")

    def _adjust(self, difference: int, pointer: str) -> None:
        _check_range(difference, pointer)
        self._drafts.append(_Draft(self._unique("adjustment"), "adjustment", ONE, difference))
        self._check_size()

    def _unique(self, wanted: str) -> str:
        identity = wanted
        while identity in self._ids:
            self._ids[wanted] += 1
            identity = f"{wanted}#{self._ids[wanted]}"
        self._ids[identity] = 1
        return identity

    def _check_size(self) -> None:
        if len(self._drafts) > LINES_MAX:
            raise Unreadable("order-too-large", f"more than {LINES_MAX} lines: split the order")


def _check_range(units: int, pointer: str) -> None:
    if abs(units) > money.MINOR_UNITS_MAX:
        raise Unreadable("number-out-of-range", f"{pointer}: beyond ±10^15 minor units")
