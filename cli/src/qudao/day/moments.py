"""What can happen in the day, as plain values: `plan` lines them up, `play` performs them.

A moment says everything that is needed to perform it but for secrets and the clock, which only the player has.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from qudao.day.catalog import Shop
from qudao.day.sales import Run


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook request. `nature`: order, test, ignored, poison, tampered or ping.

    The signature is made over `signed`, which differs from the body of a tampered one, `age_seconds` ago, and with
    the secret before the last rotation when `old_secret`.
    """

    shop: Shop
    topic: str
    body: bytes
    message_id: str
    nature: str
    order_id: str | None = None
    signed: bytes | None = None
    age_seconds: int = 0
    old_secret: bool = False
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Upload:
    """A till's file. `nature`: first, again (the very same file) or corrected."""

    shop: Shop
    file_name: str
    raw: bytes
    nature: str


@dataclass(frozen=True, slots=True)
class Receive:
    """Goods that come in: (sku, location, quantity)."""

    name: str
    lines: tuple[tuple[str, str, Decimal], ...]


@dataclass(frozen=True, slots=True)
class Reserve:
    """Another system holds stock; `then`: release, commit, issue, or expire (nobody comes back)."""

    name: str
    lines: tuple[tuple[str, str, Decimal], ...]
    hold_seconds: int
    whole: bool
    then: str


@dataclass(frozen=True, slots=True)
class Bind:
    """A shop is bound to its partner."""

    shop: Shop


@dataclass(frozen=True, slots=True)
class MapSkus:
    """Platform SKUs that nobody knew are mapped: (platform, shop, platform SKU, our SKU)."""

    rows: tuple[tuple[str, str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Rotate:
    """A shop gets a new secret; the old one stays good for an hour."""

    shop: Shop


Moment = Delivery | Upload | Receive | Reserve | Bind | MapSkus | Rotate


@dataclass(frozen=True, slots=True)
class Expected:
    """How an order must stand in the end, by what was sold and not by what was sent."""

    shop: Shop
    order_id: str
    lifecycle: str
    total_minor: int
    paid_minor: int
    refunded_minor: int


@dataclass(frozen=True, slots=True)
class Day:
    """A whole day: what is on the shelves before it, what happens, how every order must end."""

    run: Run
    begins_at: datetime
    opening: tuple[tuple[str, str, Decimal], ...]
    moments: tuple[Moment, ...]
    expected: tuple[Expected, ...]
    reordered: int
