"""What order-svc knows of each platform: pure functions from bytes to canonical documents.

One file per platform. Nothing here does I/O, reads the clock or knows a table; `intake` calls it with the
raw bytes and stores what it says. An adapter fits the platform's contract, not the payloads seen so far:
an unknown field is ignored, an unknown topic is `Ignored`, a broken document raises `Unreadable`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from order_svc.order.values import Deletion, OrderDocument, Refund

Headers = Mapping[str, str]
"""Lower-case names; a repeated header is joined by ", ", so a doubled signature can never match."""


class BadSignature(Exception):
    """The request cannot be trusted: answered 401, nothing stored. `code` is kebab-case."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


class Unreadable(Exception):
    """A trusted body that cannot become a document: quarantined under `code`, answered with success."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


@dataclass(frozen=True, slots=True)
class Message:
    """What intake stores beside the body. `dedupe_key` identifies the delivery within (platform, shop)."""

    topic: str
    dedupe_key: bytes
    message_id: str | None = None
    signed_id: bool = False


@dataclass(frozen=True, slots=True)
class Ignored:
    """Understood and of no consequence for the ledger; `reason` is kebab-case."""

    reason: str


@dataclass(frozen=True, slots=True)
class Documents:
    """What one delivery says."""

    orders: tuple[OrderDocument, ...] = ()
    refunds: tuple[Refund, ...] = ()
    deletions: tuple[Deletion, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The HTTP answer a platform expects."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain"


class Platform(Protocol):
    """The contract every adapter keeps; see the module docstring."""

    name: str

    def handshake(self, raw: bytes, headers: Headers) -> Answer | None:
        """An unsigned set-up call that is answered and forgotten (WooCommerce's ping); else None."""

    def verify(self, raw: bytes, headers: Headers, secrets: Sequence[str], now: datetime) -> int:
        """Index of the secret that signed `raw`; raises BadSignature. Every secret is tried."""

    def describe(self, raw: bytes, headers: Headers) -> Message:
        """Topic, ids and dedupe key, without trusting unsigned ids. Never raises on a verified body."""

    def normalise(self, topic: str, raw: bytes, received_at: datetime) -> Documents | Ignored:
        """Raises Unreadable. An empty topic is guessed from the shape of the body."""

    def accepted(self) -> Answer:
        """What the platform expects for a delivery that is safely stored."""
