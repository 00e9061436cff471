"""Reservations of other systems: made by the batch, then committed, issued or released one at a time.

`reserve` gets all requests that wait at one moment and decides them in turn over the same locked shelves: one
transaction, one answer each. Refusals are answers, not errors: they never fail a neighbour. Runs with the rights
of staff, since partners have none on stock; whose a reservation is, the routes have checked.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from channel_kit.database import StaleWrite, Write
from channel_kit.idempotency import InFlight, KeyReused
from channel_kit.ids import uuid7
from channel_kit.outbox import announce
from channel_kit.problems import Conflict, NotFound, Problem
from channel_kit.statements import together
from inventory_svc.hold import actions as holds
from inventory_svc.hold.actions import Work
from inventory_svc.hold.values import Hold, Reservation, Windows
from inventory_svc.item import actions as items
from inventory_svc.location import actions as locations
from inventory_svc.reservation import rules, store
from inventory_svc.reservation.rules import Request, Verb
from inventory_svc.reservation.store import Claims, Kept
from inventory_svc.rows import fits
from inventory_svc.stock import actions as stock
from inventory_svc.stock.rules import Refusal, Shelf, StockKey

Render = Callable[[Reservation, Sequence[Hold]], str]
"""The answer's JSON, kept for repetitions."""


class InsufficientStock(Conflict):
    code = "insufficient-stock"
    title = "There is not that much to promise; ask for less, or for a partial reservation"


class OrderReservation(Conflict):
    code = "order-reservation"
    title = "This reservation follows its order; change the order instead"


class ReservationReleased(Conflict):
    code = "reservation-released"
    title = "This reservation was released; make a new one"


class NothingToIssue(Conflict):
    code = "nothing-to-issue"
    title = "This reservation claims nothing that could go out"


class Command(NamedTuple):
    """A request with what makes it one and the same when it is sent again."""

    subject: str
    key: str
    fingerprint: bytes
    request: Request


class Answer(NamedTuple):
    """What to answer: status and JSON."""

    status: int
    body: str
    replayed: bool = False


async def reserve(
    tx: Write, commands: Sequence[Command], windows: Windows, render: Render
) -> list[Answer | Exception]:
    """Decides requests in turn; one answer or problem each, in order.

    Problems: `InFlight`, `KeyReused`, `UnknownSku`, `UnknownLocation`, `QuantityTooFine`, `InsufficientStock`.
    """
    claims = await store.claim(tx, [(command.subject, command.key) for command in commands])
    answers = _known(commands, claims)
    fresh = [command for at, command in enumerate(commands) if at not in answers]
    refusals, shelves = await _look(tx, [command.request for command in fresh])
    asked = [each for each, refusal in zip(fresh, refusals, strict=True) if refusal is None]
    batch, granted = _grant([command.request for command in asked], shelves, claims.now, windows)
    results: dict[tuple[str, str], Answer | Exception] = {
        (command.subject, command.key): refusal
        for command, refusal in zip(fresh, refusals, strict=True)
        if refusal is not None
    }
    keep = []
    for command, outcome in zip(asked, granted, strict=True):
        if isinstance(outcome, Problem):
            results[command.subject, command.key] = outcome
            continue
        answer = Answer(201, render(*outcome))
        results[command.subject, command.key] = answer
        keep.append((command.subject, command.key, Kept(command.fingerprint, answer.status, answer.body)))
    if keep and await together(tx, [*batch.statements, store.keep(keep)]) != len(keep):
        raise StaleWrite  # a key was answered while it was being claimed; see `store.claim`
    await announce(tx, batch.told)
    refused = [key for key, result in results.items() if isinstance(result, Problem)]
    if refused and await store.answered(tx, refused):
        raise StaleWrite
    return [
        answers[at] if at in answers else results[command.subject, command.key]
        for at, command in enumerate(commands)
    ]


def _known(commands: Sequence[Command], claims: Claims) -> dict[int, Answer | Exception]:
    """Answers, by position, that need no decision: repetitions, and keys that somebody is working on."""
    answers: dict[int, Answer | Exception] = {}
    seen: set[tuple[str, str]] = set()
    for at, command in enumerate(commands):
        key, kept = (command.subject, command.key), claims.kept.get(at)
        if not claims.mine[at] or key in seen:
            answers[at] = InFlight()
        elif kept is not None and kept.fingerprint != command.fingerprint:
            answers[at] = KeyReused()
        elif kept is not None:
            answers[at] = Answer(kept.status, kept.body, replayed=True)
        seen.add(key)
    return answers


async def _look(
    tx: Write, requests: Sequence[Request]
) -> tuple[list[Problem | None], Mapping[StockKey, Shelf]]:
    """What is wrong with each request before quantities are compared, and the locked shelves of all others.

    Where there is a shelf, its location exists and it knows its item's scale: one statement tells all. Only when a
    shelf is missing are items and locations asked, before it is made.
    """
    if not requests:
        return [], {}
    wishes = [wish for request in requests for wish in request.lines]
    shelves = await stock.lock_existing(tx, {(wish.sku, wish.location) for wish in wishes})
    if shelves:
        scales = {shelf.sku: shelf.scale for shelf in shelves.values() if shelf.scale is not None}
        places = {shelf.location for shelf in shelves.values()}
    else:
        scales = await items.scales(tx, {wish.sku for wish in wishes})
        places = await locations.known(tx, {wish.location for wish in wishes})
    refusals = [_refusal(request, scales, places) for request in requests]
    if not shelves:
        sound = [request for request, refusal in zip(requests, refusals, strict=True) if refusal is None]
        shelves = await stock.lock(tx, {key for request in sound for key in request.shelves()})
    return refusals, shelves


def _refusal(request: Request, scales: Mapping[str, int], places: set[str]) -> Problem | None:
    if skus := {wish.sku for wish in request.lines if wish.sku not in scales}:
        return items.UnknownSku(skus=sorted(skus)[:50])
    if elsewhere := {wish.location for wish in request.lines if wish.location not in places}:
        return locations.UnknownLocation(locations=sorted(elsewhere)[:50])
    if fine := {wish.sku for wish in request.lines if not fits(wish.quantity, scales[wish.sku])}:
        return items.QuantityTooFine(skus=sorted(fine)[:50])
    return None


def _grant(
    requests: Sequence[Request], shelves: Mapping[StockKey, Shelf], now: datetime, windows: Windows
) -> tuple[holds.Saving, list[tuple[Reservation, Sequence[Hold]] | Problem]]:
    """Takes requests from the shelves in turn: what is to be saved of them together, and each one's outcome."""
    works: list[Work] = []
    outcomes: list[Work | Problem] = []
    for request in requests:
        head = Reservation(
            request.reservation_id,
            "api",
            partner_id=request.partner_id,
            whole=request.whole,
            hold_seconds=request.hold_seconds,
        )
        terms = windows.terms(head, now)
        lines = rules.grant(request, shelves, terms)
        if isinstance(lines, list):
            outcomes.append(_insufficient(lines))
            continue
        works.append(Work(head, {}, (), terms, uuid7(), None, request.partner_id, lines))
        outcomes.append(works[-1])
    batch = holds.saving(works, shelves, new=True)
    heads = iter(batch.heads)
    return batch, [
        each if isinstance(each, Problem) else (next(heads), list(each.lines().values())) for each in outcomes
    ]


def _insufficient(refusals: Sequence[Refusal]) -> InsufficientStock:
    return InsufficientStock(lines=[stock.refusal_view(each) for each in refusals])


async def act(
    tx: Write, reservation_id: UUID, verb: Verb, windows: Windows
) -> tuple[Reservation, list[Hold]]:
    """Commits, issues or releases one reservation; a verb that is done already changes nothing.

    Raises `NotFound`, `OrderReservation`, `ReservationReleased`, `NothingToIssue`, and `InsufficientStock` where a
    commit after the expiry cannot get back the whole of it.
    """
    loaded = await holds.load(tx, [reservation_id])
    if not loaded:
        raise NotFound
    head, before, now = loaded[0]
    _check(head, before, verb)
    head = head._replace(firm=head.firm or verb != "release")
    work = holds.work_on(head, before, rules.targets(verb, before), windows.terms(head, now))
    shelves = await stock.lock(tx, set(work.shelves()))
    if head.whole and verb == "commit" and (short := rules.missing(shelves, rules.reacquired(before))):
        raise _insufficient(short)
    work.settle(shelves)
    saved = await holds.save(tx, [work], shelves)
    return saved[0], list(work.lines().values())


def _check(head: Reservation, lines: dict[int, Hold], verb: Verb) -> None:
    if head.source != "api":
        raise OrderReservation
    if verb != "release" and head.state == "released":
        raise ReservationReleased
    claims = any(line.held or line.committed for line in lines.values())
    if verb == "issue" and not claims and not any(line.issued for line in lines.values()):
        raise NothingToIssue
