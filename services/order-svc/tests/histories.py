"""Order histories as platforms play them, and a ledger in memory that takes them; shared by several tests.

Loaded by the fixture `histories`. Platforms keep to their own rules here: edits, partial shipments, cancellations,
refunds with and without lines, deletions, and refunds told inside the order like WooCommerce's.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import count
from uuid import UUID

from hypothesis import strategies as st
from msgspec.structs import replace

from order_svc.ledger.rules import post
from order_svc.ledger.values import Entry
from order_svc.order import rules
from order_svc.order.rules import Head
from order_svc.order.values import (
    FULFILMENTS,
    LIFECYCLES,
    PAYMENTS,
    Components,
    Deletion,
    Line,
    OrderDocument,
    Refund,
    RefundLine,
)

Document = OrderDocument | Refund | Deletion
ORDER = UUID(int=7)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PLACED = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
GOODS = ("product", "gift_card")


def micros(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


@st.composite
def components(draw: st.DrawFn, kind: str) -> Components:
    if kind == "platform_fee":
        return Components(platform_fee_minor=-draw(st.integers(0, 900)))
    if kind == "freight":
        return Components(freight_minor=draw(st.integers(0, 2_000)), tax_minor=draw(st.integers(0, 200)))
    if kind in ("adjustment", "fee"):
        return Components(list_minor=draw(st.integers(-1_500, 1_500)))
    listed = draw(st.integers(0, 30_000))
    off = [draw(st.integers(0, listed // 3)) for _ in range(3)]
    return Components(listed, -off[0], -off[1], -off[2], tax_minor=draw(st.integers(0, 900)))


@st.composite
def order_line(draw: st.DrawFn, number: int) -> Line:
    kind = draw(
        st.sampled_from(
            ("product", "product", "product", "gift_card", "freight", "fee", "adjustment", "platform_fee")
        )
    )
    ordered = Decimal(draw(st.integers(0, 4))) if kind in GOODS else Decimal(1)
    if kind == "product" and draw(st.booleans()):
        ordered *= Decimal("0.25")
    return Line(
        f"line-{number}",
        kind,
        ordered,
        draw(components(kind)),
        platform_sku=f"SKU-{number % 3}" if kind in GOODS else None,
    )


@dataclass
class Platform:
    """One order as its platform keeps it, and every message it ever sent about it."""

    lines: list[Line]
    embeds: str  # full, bare (complete list of totals, as WooCommerce), or none
    at: datetime = PLACED
    lifecycle: str = "open"
    paid_minor: int = 0
    paid_at: datetime | None = None
    shipped_at: datetime | None = None
    cancelled_at: datetime | None = None
    completed_at: datetime | None = None
    refunds: list[Refund] = field(default_factory=list)
    sent: list[Document] = field(default_factory=list)
    number: "count[int]" = field(default_factory=count)

    @property
    def total(self) -> int:
        return sum(line.components.net_minor for line in self.lines if line.line_kind != "platform_fee")

    def document(self, version: int) -> OrderDocument:
        back = sum(refund.amount_minor for refund in self.refunds)
        paid = "unpaid" if not self.paid_at else "partially_paid" if self.paid_minor < self.total else "paid"
        shipped = [line.shipped >= line.ordered for line in self.lines if line.line_kind in GOODS]
        none = not any(line.shipped for line in self.lines)
        return OrderDocument(
            "9001",
            "CNY",
            version,
            self.lifecycle,
            "refunded" if back and back >= self.paid_minor else "partially_refunded" if back else paid,
            "unfulfilled" if none else "shipped" if all(shipped) else "partial",
            PLACED,
            tuple(self.lines),
            self.paid_minor,
            self.paid_at,
            self.shipped_at,
            self.cancelled_at,
            self.completed_at,
            refunds=self._embedded(version),
            refunds_complete=self.embeds == "bare",
        )

    def _embedded(self, version: int) -> tuple[Refund, ...]:
        if self.embeds == "full":
            return tuple(self.refunds)
        if self.embeds == "bare":
            bare = {
                "lines": (),
                "detail": 0,
                "at_exact": False,
                "version": version,
                "at": EPOCH + timedelta(microseconds=version),
            }
            return tuple(replace(refund, **bare) for refund in self.refunds)
        return ()


def refunded_units(platform: Platform, line: Line) -> Decimal:
    return sum(
        (
            part.quantity
            for refund in platform.refunds
            for part in refund.lines
            if part.line_external_id == line.external_id
        ),
        Decimal(0),
    )


@st.composite
def refund_of(draw: st.DrawFn, platform: Platform) -> Refund:
    """What a platform gives back: units of lines, a concession on one, shipping, or a sum that names nothing."""
    parts: list[RefundLine] = []
    for line in draw(
        st.lists(st.sampled_from(platform.lines), max_size=2, unique_by=lambda line: line.external_id)
    ):
        if line.line_kind == "platform_fee":
            continue
        left = line.ordered - line.removed - refunded_units(platform, line)
        units = (
            max(Decimal(0), min(Decimal(draw(st.integers(0, 2))), left))
            if line.line_kind in GOODS
            else Decimal(0)
        )
        whole = max(0, line.components.net_minor)
        amount = (
            round(Fraction(whole) * Fraction(units) / Fraction(line.ordered))
            if units
            else draw(st.integers(0, whole))
        )
        tax = draw(st.none() | st.integers(0, amount // 5))
        restocked = Decimal(draw(st.integers(0, int(units))))
        parts.append(RefundLine(line.external_id, units, amount, tax_minor=tax, restocked=restocked))
    rest = draw(st.sampled_from((0, 0, 1, 333, 2_500, platform.total)))
    if draw(st.booleans()) and sum(part.amount_minor for part in parts) > 100:
        rest = -100  # kept back for the trouble
    rest = max(rest, -sum(part.amount_minor for part in parts))
    if draw(st.sampled_from((False, False, False, True))):
        parts.append(RefundLine("no-such-line", Decimal(1), 70))
    if rest:
        parts.append(RefundLine(None, Decimal(0), rest))
    amount = sum(part.amount_minor for part in parts)
    lines = tuple(parts) if draw(st.booleans()) else ()
    return Refund(
        f"refund-{next(platform.number)}",
        "9001",
        "CNY",
        amount,
        platform.at,
        lines,
        version=micros(platform.at),
    )


@st.composite
def histories(draw: st.DrawFn, most: int = 8) -> list[Document]:
    """All messages of one order, in the order in which a faultless world would deliver them."""
    lines = [draw(order_line(number)) for number in range(draw(st.integers(1, 4)))]
    platform = Platform(lines, draw(st.sampled_from(("full", "bare", "none"))))
    if platform.total < 0:
        lines.append(Line("line-x", "adjustment", Decimal(1), Components(list_minor=-platform.total)))
    for _ in range(draw(st.integers(0, most))):
        # Versions of a whole second tie now and then, as many platforms' do.
        platform.at += timedelta(seconds=draw(st.sampled_from((0, 1, 3_600, 86_400))))
        step = draw(
            st.sampled_from(
                (
                    "pay",
                    "ship",
                    "edit",
                    "refund",
                    "refund",
                    "cancel",
                    "complete",
                    "delete",
                    "unrefund",
                    "reprice",
                )
            )
        )
        _take(draw, platform, step)
        if step != "delete" or draw(st.booleans()):
            platform.sent.append(platform.document(micros(platform.at)))
    platform.sent.append(platform.document(micros(platform.at)))
    return platform.sent


def _take(draw: st.DrawFn, platform: Platform, step: str) -> None:
    index = draw(st.integers(0, len(platform.lines) - 1))
    line = platform.lines[index]
    if step == "pay":
        platform.paid_at = platform.paid_at or platform.at
        platform.paid_minor = draw(
            st.sampled_from((platform.total, platform.total, platform.total // 3, platform.total + 50))
        )
    elif step == "ship" and line.line_kind in GOODS:
        left = line.ordered - line.removed - line.shipped
        platform.shipped_at = platform.shipped_at or platform.at
        platform.lines[index] = replace(
            line, shipped=line.shipped + max(Decimal(0), draw(st.sampled_from((left, min(left, Decimal(1))))))
        )
    elif step == "edit":
        left = line.ordered - line.shipped - line.removed - refunded_units(platform, line)
        platform.lines[index] = replace(line, removed=line.removed + max(Decimal(0), min(left, Decimal(1))))
    elif step == "reprice":
        platform.lines.append(draw(order_line(len(platform.lines))))
        if platform.total < 0:
            platform.lines.pop()
    elif step == "refund":
        refund = draw(refund_of(platform))
        if refund.amount_minor or refund.lines:
            platform.refunds.append(refund)
            if platform.embeds != "bare":
                platform.sent.append(refund)
    elif step == "unrefund" and platform.embeds == "bare" and platform.refunds:
        platform.refunds.pop()
    elif step == "cancel":
        platform.lifecycle, platform.cancelled_at = "cancelled", platform.at if draw(st.booleans()) else None
    elif step == "complete" and platform.lifecycle == "open":
        platform.lifecycle, platform.completed_at = "completed", platform.at
    elif step == "delete":
        platform.sent.append(Deletion("9001", micros(platform.at) + draw(st.integers(-1, 1)), platform.at))


@st.composite
def deliveries(draw: st.DrawFn, history: Sequence[Document]) -> list[list[Document]]:
    """A history out of order, with repetitions, in batches."""
    arrivals = draw(st.permutations([*history, *draw(st.lists(st.sampled_from(history), max_size=4))]))
    cuts = sorted(draw(st.lists(st.integers(0, len(arrivals)), max_size=3)))
    return [arrivals[start:end] for start, end in zip([0, *cuts], [*cuts, len(arrivals)], strict=True)]


@dataclass
class Ledger:
    """Everything appended for one order, in memory; takes batches as the drain does."""

    head: Head = field(default_factory=lambda: Head(ORDER, "shopify", "shop", "9001"))
    entries: list[Entry] = field(default_factory=list)
    ids: "count[int]" = field(default_factory=count)

    def take(self, batch: Sequence[Document]) -> None:
        for document in batch:
            self.head, _ = rules.absorb(self.head, document)
        if account := rules.account(self.head):
            posting = post(
                ORDER,
                self.live,
                account.entries,
                cause=None,
                at=EPOCH,
                identify=lambda: UUID(int=next(self.ids)),
            )
            self.entries += posting.entries

    @property
    def live(self) -> list[Entry]:
        taken_back = {entry.reverses_entry_id for entry in self.entries}
        return [
            entry
            for entry in self.entries
            if not entry.reverses_entry_id and entry.entry_id not in taken_back
        ]

    @property
    def flags(self) -> tuple[str, ...]:
        account = rules.account(self.head)
        return account.snapshot.flags if account else ()


def told(batches: Sequence[Sequence[Document]]) -> Ledger:
    ledger = Ledger()
    for batch in batches:
        ledger.take(batch)
    return ledger


def contents(entries: Sequence[Entry]) -> Counter[object]:
    """Entries without identities, each with whether it points to what it undoes."""
    return Counter((entry.wanted, entry.origin_entry_id is not None) for entry in entries)


def greatest(history: Sequence[Document]) -> OrderDocument:
    """The newest document, judged once more and differently: by places in lists and by the text of the content."""
    documents = [document for document in history if isinstance(document, OrderDocument)]
    ranked = sorted(
        documents,
        key=lambda d: (
            d.version,
            PAYMENTS.index(d.payment),
            FULFILMENTS.index(d.fulfilment),
            LIFECYCLES.index(d.lifecycle),
        ),
    )
    last = [
        d
        for d in ranked
        if (d.version, d.payment, d.fulfilment, d.lifecycle)
        == (ranked[-1].version, ranked[-1].payment, ranked[-1].fulfilment, ranked[-1].lifecycle)
    ]
    return max(last, key=lambda document: document.content_hash)
