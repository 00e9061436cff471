"""The canonical order: what every platform's message becomes before anything is decided.

Pure values, built by `platforms`, merged by `order.rules`, turned into entries by `ledger.rules`.
Money is integer minor units of the order's currency and already rounded (once, by the adapter);
quantities are exact decimals; times are aware UTC. Nothing here does I/O or looks at the clock.

They are msgspec structs: an order makes some eighty of them, and each costs a tenth of a frozen dataclass.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import NamedTuple
from uuid import UUID

import msgspec
from msgspec import Struct, field
from msgspec.structs import astuple, force_setattr

LIFECYCLES = ("draft", "open", "completed", "cancelled", "deleted")
PAYMENTS = ("unpaid", "authorized", "partially_paid", "paid", "partially_refunded", "refunded", "voided")
FULFILMENTS = ("unfulfilled", "on_hold", "partial", "shipped", "delivered", "returned")
LINE_KINDS = ("product", "gift_card", "freight", "tip", "fee", "platform_fee", "adjustment")

LINES_MAX = 2_000
ID_MAX = 500
AMOUNT_MAX = 10**15
QUANTITY_LIMIT = Decimal(10**14)
ZERO = Decimal(0)


class Components(Struct, frozen=True):
    """The gross-to-net bridge of one line, in minor units; deductions are negative.

    `net_minor`, what the buyer pays for the line (tax included), is always their sum:
    `list_minor` is the remainder after the components that the platform states.
    """

    list_minor: int = 0
    promo_minor: int = 0
    platform_coupon_minor: int = 0
    merchant_coupon_minor: int = 0
    freight_minor: int = 0
    tax_minor: int = 0
    platform_fee_minor: int = 0

    @property
    def parts(self) -> tuple[int, ...]:
        return astuple(self)

    @property
    def net_minor(self) -> int:
        return sum(astuple(self))

    @property
    def net_sales_minor(self) -> int:
        """Net − tax − freight − platform coupon (the platform's coupon is the platform's money)."""
        return self.net_minor - self.tax_minor - self.freight_minor - self.platform_coupon_minor


class Line(Struct, frozen=True):
    """One line of the order, by the platform's own line id.

    `ordered` is the quantity first bought, `removed` what an edit took off again (refunded units are
    *not* counted here: the refund says them), `shipped` everything that ever left, returns included.
    """

    external_id: str
    line_kind: str
    ordered: Decimal
    components: Components
    platform_sku: str | None = None
    title: str | None = None
    removed: Decimal = ZERO
    shipped: Decimal = ZERO

    def __post_init__(self) -> None:
        for name in ("ordered", "removed", "shipped"):
            force_setattr(self, name, _canonical(getattr(self, name)))


class RefundLine(Struct, frozen=True):
    """A refund's share of one line. `quantity` 0 is a concession in money only.

    `line_external_id` None spreads the amount over the order's lines. `tax_minor` and `freight_minor`
    are parts of `amount_minor` where the refund names them. `restocked` counts units back on the shelf.
    """

    line_external_id: str | None
    quantity: Decimal
    amount_minor: int
    tax_minor: int | None = None
    freight_minor: int | None = None
    restocked: Decimal = ZERO

    def __post_init__(self) -> None:
        for name in ("quantity", "restocked"):
            force_setattr(self, name, _canonical(getattr(self, name)))


class Refund(Struct, frozen=True):
    """Money given back under one external refund id; positive amounts.

    `detail` ranks two accounts of the same refund (a bare total inside an order < a full document).
    `at_exact` is False where the platform gives no time of its own; then `at` is the earliest stamp seen.
    `version` is epoch microseconds of the source, 0 where it has none.
    """

    external_id: str
    platform_order_id: str
    currency: str
    amount_minor: int
    at: datetime
    lines: tuple[RefundLine, ...] = ()
    version: int = 0
    detail: int = 1
    at_exact: bool = True
    reason: str | None = None


class OrderDocument(Struct, frozen=True, dict=True):  # the dict keeps the text
    """One full account of an order by its platform.

    `version` is epoch microseconds of the platform's own stamp (0 = none given). `paid_minor` is all money
    captured so far, before refunds. `refunds_complete` says that `refunds` is the whole list: a refund known
    only from an older document and missing here was deleted. Times that are None were not stated.
    """

    platform_order_id: str
    currency: str
    version: int
    lifecycle: str
    payment: str
    fulfilment: str
    placed_at: datetime
    lines: tuple[Line, ...]
    paid_minor: int = 0
    paid_at: datetime | None = None
    shipped_at: datetime | None = None
    cancelled_at: datetime | None = None
    completed_at: datetime | None = None
    tax_included: bool = False
    refunds: tuple[Refund, ...] = ()
    refunds_complete: bool = False
    number: str | None = None
    source_status: str | None = None
    version_text: str | None = None
    flags: tuple[str, ...] = ()
    alt_ids: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def text(self) -> str:
        """The canonical form, as `dump` gives it: worked out once, since it is hashed and stored twice."""
        return dump(self)

    @property
    def content_hash(self) -> str:
        """SHA-256 of the canonical form: the last key of the total order between two documents."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class Deletion(Struct, frozen=True):
    """The platform removed the order.

    `version` is compared with documents' versions; `at` is when we received it, stored with the delivery,
    since the version may be a counter and no time at all. Intake fills in an `at` that is None.
    """

    platform_order_id: str
    version: int
    at: datetime | None = None


class Triple(NamedTuple):
    """What identifies an order outside."""

    platform: str
    shop_id: str
    platform_order_id: str


class News(Struct, frozen=True):
    """One document that a delivery carried. `reused_id`: its signed id came before with another body."""

    delivery_id: UUID
    triple: Triple
    document: OrderDocument | Refund | Deletion
    reused_id: bool = False


_encoder = msgspec.json.Encoder(order="sorted")
_order_decoder = msgspec.json.Decoder(OrderDocument)
_refund_decoder = msgspec.json.Decoder(Refund)


def dump(value: OrderDocument | Refund) -> str:
    """Canonical JSON: sorted keys, quantities as plain text, instants as RFC 3339."""
    return _encoder.encode(value).decode()


def load_order(text: str) -> OrderDocument:
    """The inverse of `dump` for an order document."""
    return _order_decoder.decode(text)


def load_refund(text: str) -> Refund:
    """The inverse of `dump` for a refund."""
    return _refund_decoder.decode(text)


def _canonical(value: Decimal) -> Decimal:
    """The same quantity in its one spelling, so that equal documents are equal texts."""
    if str(value).isdigit():  # nearly all are whole and stand so already
        return value
    whole = value.to_integral_value()
    return Decimal(int(whole)) if whole == value else value.normalize()
