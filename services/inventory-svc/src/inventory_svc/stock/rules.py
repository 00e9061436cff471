"""Stock rows while a batch is being decided: what may be promised, what moves, what was freed.

Pure. A `Shelf` is the working copy of one locked stock row: every rule of a batch draws on the same object, so
two lines of one SKU can never both get the last unit. Quantities are exact decimals. `on_hand` changes by
movements only; `reserved` is the sum of what is held, `allocated` of what is committed and not yet issued.
`stock.actions` loads and saves shelves; `hold.rules` decides on them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from inventory_svc.location.rules import MAIN
from inventory_svc.rows import QUANTITY_END, code
from inventory_svc.rows import quantity as read_quantity

ZERO = Decimal(0)

StockKey = tuple[str, str]
"""SKU and location code."""

KINDS = ("receipt", "issue", "adjustment", "return", "transfer_in", "transfer_out", "scrap")


class Movement(NamedTuple):
    """A change of what is physically there; positive comes in, negative goes out."""

    stock_id: UUID
    sku: str
    location: str
    kind: str
    quantity: Decimal
    cause: str
    order_id: UUID | None = None
    line_no: int | None = None
    reason: str | None = None


@dataclass(slots=True)
class Shelf:
    """One stock row under lock."""

    stock_id: UUID
    sku: str
    location: str
    on_hand: Decimal = ZERO
    reserved: Decimal = ZERO
    allocated: Decimal = ZERO
    quarantined: Decimal = ZERO
    safety: Decimal = ZERO
    stream_version: int = 0
    scale: int | None = None
    """Digits after the point that a quantity of its item may have; null where nobody registered the SKU."""
    movements: list[Movement] = field(default_factory=list)
    freed: bool = False
    """Something that waits for this SKU might now be served."""
    loaded: tuple[Decimal, ...] = ()

    def __post_init__(self) -> None:
        self.loaded = self.levels

    @property
    def unclaimed(self) -> Decimal:
        """Physically there and nobody's: what a shipment that already happened may still be taken from."""
        return self.on_hand - self.quarantined - self.reserved - self.allocated

    @property
    def available(self) -> Decimal:
        """What may still be promised; zero while the safety stock is being eaten into."""
        return max(ZERO, self.unclaimed - self.safety)

    @property
    def room(self) -> Decimal:
        """What may still come in before the quantity no longer fits its column."""
        return QUANTITY_END - Decimal("0.000001") - self.on_hand

    @property
    def levels(self) -> tuple[Decimal, ...]:
        """All quantities of the row, to tell whether it changed."""
        return self.on_hand, self.reserved, self.allocated, self.quarantined, self.safety

    @property
    def changed(self) -> bool:
        """Whether this batch left a trace in the row or beside it."""
        return bool(self.movements) or self.levels != self.loaded

    @property
    def moved(self) -> dict[str, Decimal]:
        """The movements of this batch, summed by kind."""
        sums: dict[str, Decimal] = {}
        for movement in self.movements:
            sums[movement.kind] = sums.get(movement.kind, ZERO) + movement.quantity
        return sums

    def move(
        self,
        kind: str,
        quantity: Decimal,
        cause: str,
        order_id: UUID | None = None,
        line_no: int | None = None,
        reason: str | None = None,
    ) -> None:
        """Change `on_hand` and record why. A quantity of zero leaves no trace."""
        if not quantity:
            return
        self.on_hand += quantity
        self.freed = self.freed or quantity > 0
        self.movements.append(
            Movement(self.stock_id, self.sku, self.location, kind, quantity, cause, order_id, line_no, reason)
        )

    def release(self, held: Decimal, committed: Decimal) -> None:
        """Take claims off again."""
        self.reserved -= held
        self.allocated -= committed
        self.freed = self.freed or held > 0 or committed > 0


Shelves = Mapping[StockKey, Shelf]


class Refusal(NamedTuple):
    """A line of a command that the stock does not allow, and how much it would allow."""

    sku: str
    location: str
    free: Decimal


def refused(shelves: Shelves, lines: Iterable[tuple[str, str, Decimal]]) -> list[Refusal]:
    """The (sku, location, signed quantity) lines of a command that would eat into what others were promised.

    Lines count together, in order: the first that goes too far is refused, and so is each after it that does not
    fit into what is left. An increase is refused only where the sum would no longer fit its column.
    """
    change: dict[StockKey, Decimal] = {}
    refusals = []
    for sku, location, quantity in lines:
        shelf, before = shelves[sku, location], change.get((sku, location), ZERO)
        if -(before + quantity) > shelf.unclaimed or before + quantity > shelf.room:
            refusals.append(Refusal(sku, location, max(ZERO, shelf.unclaimed + before)))
        else:
            change[sku, location] = before + quantity
    return refusals


class Opening(NamedTuple):
    """The quantity a shelf begins with."""

    sku: str
    location: str
    quantity: Decimal

    @property
    def key(self) -> StockKey:
        return self.sku, self.location


def of_row(row: Mapping[str, str]) -> Opening:
    """The opening a row of a file describes; without a location it is `main`. Raises `BadRow`."""
    return Opening(
        code(row["sku"], "sku"),
        code(row["location"] or MAIN, "location"),
        read_quantity(row["quantity"], "quantity"),
    )
