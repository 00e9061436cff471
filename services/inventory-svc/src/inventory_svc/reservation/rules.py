"""What other systems may ask of stock, and when it is refused.

Pure. These are our own commands, so unlike an order's facts they can be refused: a whole reservation that stock
cannot cover, a commit of claims that ran out and cannot be had again. A partial one takes what there is; the rest
stays short and is served when stock comes, as long as the reservation lives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple
from uuid import UUID

from inventory_svc.hold.rules import settle
from inventory_svc.hold.values import ZERO, Hold, Target, Terms, Want
from inventory_svc.stock.rules import Refusal, Shelves, StockKey

Verb = Literal["commit", "release", "issue"]


class Wish(NamedTuple):
    """One line of a request."""

    sku: str
    location: str
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Request:
    """What another system wants to hold. `partner_id` is the caller's; null for staff."""

    reservation_id: UUID
    lines: tuple[Wish, ...]
    hold_seconds: int
    whole: bool
    partner_id: UUID | None = None

    def shelves(self) -> set[StockKey]:
        """Every shelf it draws on."""
        return {(wish.sku, wish.location) for wish in self.lines}


def missing(shelves: Shelves, needs: Sequence[tuple[StockKey, Decimal]]) -> list[Refusal]:
    """The shelves that cannot cover all these needs together."""
    sums: dict[StockKey, Decimal] = {}
    for key, quantity in needs:
        sums[key] = sums.get(key, ZERO) + quantity
    return [
        Refusal(*key, shelves[key].available) for key, need in sums.items() if need > shelves[key].available
    ]


def grant(request: Request, shelves: Shelves, terms: Terms) -> dict[int, Hold] | list[Refusal]:
    """The holds of a request, taken from the shelves; or what is missing for a whole one, and nothing is taken."""
    if request.whole:
        needs = [((wish.sku, wish.location), wish.quantity) for wish in request.lines]
        if refusals := missing(shelves, needs):
            return refusals
    return {
        no: settle(
            Hold(request.reservation_id, no, wish.location),
            Want(None, wish.sku, wish.quantity),
            shelves,
            terms,
        )
        for no, wish in enumerate(request.lines, 1)
    }


def targets(verb: Verb, lines: Mapping[int, Hold]) -> list[Target]:
    """What a verb makes of each line: a release keeps only what left, an issue sends out what is claimed."""
    return [Target(line, _want(verb, line)) for line in lines.values()]


def _want(verb: Verb, line: Hold) -> Want:
    if verb == "release":
        return line.want._replace(demanded=line.shipped)
    if verb == "issue":
        return line.want._replace(shipped=line.shipped + line.held + line.committed)
    return line.want


def reacquired(lines: Mapping[int, Hold]) -> list[tuple[StockKey, Decimal]]:
    """What a commit must get anew, since its time ran out."""
    return [((line.sku, line.location), line.expired) for line in lines.values() if line.sku and line.expired]
