"""HTTP of reservations: other systems hold stock for a time, then commit, issue or release it.

Requests that wait at one moment are gathered into one transaction, so a rush on one SKU costs one commit. A
partner's reservations carry its id; it sees its own and those of its orders, and nothing else exists for it.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, cast
from uuid import UUID

from fastapi import Request, Response
from pydantic import AfterValidator, Field
from pydantic_core import to_json

from channel_events.values import Code, Quantity, quantity_text
from channel_kit.auth import Caller, scope
from channel_kit.database import STAFF, Database, Write
from channel_kit.gather import Gather, Overloaded
from channel_kit.http import Body, Router, View, database, json_body
from channel_kit.idempotency import REPLAYED_HEADER, IdempotencyKey, fingerprint, once
from channel_kit.ids import uuid7
from channel_kit.problems import NotFound, Unavailable
from inventory_svc.hold import store as hold_store
from inventory_svc.hold.values import Hold, Reservation, Windows
from inventory_svc.location.rules import MAIN
from inventory_svc.reservation import actions, rules
from inventory_svc.reservation.actions import Answer, Command
from inventory_svc.reservation.rules import Verb, Wish

LINES_MAX = 200
HOLD_SECONDS_MAX = 7 * 24 * 3600
LINE_BYTES = 400
"""What a line of a request weighs among those that wait, roughly."""

router = Router()


def _positive(value: Decimal) -> Decimal:
    if value <= 0:
        raise ValueError("give a quantity above zero")
    return value


class WishLine(Body):
    """One line to hold."""

    sku: Code
    location: Code = MAIN
    quantity: Annotated[Quantity, AfterValidator(_positive)]


class ReserveStock(Body):
    """What to hold, for how long, and whether a part of it is of use."""

    lines: Annotated[list[WishLine], Field(min_length=1, max_length=LINES_MAX)]
    hold_seconds: Annotated[int, Field(ge=1, le=HOLD_SECONDS_MAX)]
    fulfil: Literal["whole", "partial"] = "whole"


class ReservationLine(View):
    """One line of a reservation."""

    line_no: int
    sku: str | None
    location: str
    demanded: Quantity
    held: Quantity
    committed: Quantity
    issued: Quantity
    short: Quantity
    expired: Quantity
    restocked: Quantity


class ReservationView(View):
    """All holds of one order, or of one request."""

    reservation_id: UUID
    source: str
    state: str
    order_version: int
    expires_at: datetime | None
    lines: list[ReservationLine]

    @classmethod
    def of(cls, head: Reservation, lines: Sequence[Hold]) -> "ReservationView":
        return cls(
            reservation_id=head.order_id,
            source=head.source,
            state=head.state,
            order_version=head.order_version,
            expires_at=head.expires_at,
            lines=[
                ReservationLine(**{name: getattr(line, name) for name in ReservationLine.model_fields})
                for line in sorted(lines, key=lambda line: line.line_no)
            ],
        )


class Busy(Unavailable):
    code = "too-many-reservations-waiting"
    title = "Too many reservations wait at this moment; send it again after the time in Retry-After"


ReservationGather = Gather[Command, Answer]


def gather(database: Database, windows: Windows) -> ReservationGather:
    """The group commit of one process; the application keeps it in `app.state.reservations`."""

    async def flush(commands: list[Command]) -> list[Answer | Exception]:
        return await database.transact(STAFF, lambda tx: actions.reserve(tx, commands, windows, _render))

    return Gather("reservations", flush)


def _render(head: Reservation, lines: Sequence[Hold]) -> str:
    """The text of `ReservationView.of(head, lines)`, without making the models first: a rush renders thousands."""
    return to_json(
        {
            "reservation_id": head.order_id,
            "source": head.source,
            "state": head.state,
            "order_version": head.order_version,
            "expires_at": head.expires_at,
            "lines": [
                {
                    "line_no": line.line_no,
                    "sku": line.sku,
                    "location": line.location,
                    "demanded": quantity_text(line.demanded),
                    "held": quantity_text(line.held),
                    "committed": quantity_text(line.committed),
                    "issued": quantity_text(line.issued),
                    "short": quantity_text(line.short),
                    "expired": quantity_text(line.expired),
                    "restocked": quantity_text(line.restocked),
                }
                for line in lines
            ],
        }
    ).decode()


@router.post("/v1/reservations", status_code=201, response_model=ReservationView)
async def reserve(
    command: Annotated[ReserveStock, json_body(ReserveStock)],
    caller: Annotated[Caller, scope("stock:write")],
    key: IdempotencyKey,
    request: Request,
) -> Response:
    """Holds stock until `hold_seconds` have passed. Whole: all of it or 409 with what is free. Partial: what there
    is; the rest is short and served when stock comes, as long as the reservation lives."""
    wanted = rules.Request(
        uuid7(),
        tuple(Wish(each.sku, each.location, each.quantity) for each in command.lines),
        command.hold_seconds,
        command.fulfil == "whole",
        caller.partner_id,
    )
    waiting = cast("ReservationGather", request.app.state.reservations)
    try:
        answer = await waiting.submit(
            Command(caller.subject, key, fingerprint(command), wanted), LINE_BYTES * len(command.lines)
        )
    except Overloaded:
        raise Busy from None
    headers = {REPLAYED_HEADER: "true"} if answer.replayed else {}
    return Response(answer.body, answer.status, headers=headers, media_type="application/json")


@router.get("/v1/reservations/{reservation_id}")
async def read_reservation(
    reservation_id: UUID, caller: Annotated[Caller, scope("stock:read")], request: Request
) -> ReservationView:
    """The holds of an order (its id is the reservation's) or of a request."""
    async with database(request).read(caller.actor) as tx:
        head = await hold_store.get(tx, reservation_id)
        lines = await hold_store.lines(tx, [reservation_id])
    if head is None:
        raise NotFound
    return ReservationView.of(head, list(lines.get(reservation_id, {}).values()))


@router.post("/v1/reservations/{reservation_id}/commit", response_model=ReservationView)
async def commit(
    reservation_id: UUID,
    caller: Annotated[Caller, scope("stock:write")],
    key: IdempotencyKey,
    request: Request,
) -> Response:
    """Makes the claims firm. After the expiry they are taken anew, or 409 says what is missing."""
    return await _act(request, caller, key, reservation_id, "commit")


@router.post("/v1/reservations/{reservation_id}/issue", response_model=ReservationView)
async def issue(
    reservation_id: UUID,
    caller: Annotated[Caller, scope("stock:write")],
    key: IdempotencyKey,
    request: Request,
) -> Response:
    """Sends out what is claimed."""
    return await _act(request, caller, key, reservation_id, "issue")


@router.post("/v1/reservations/{reservation_id}/release", response_model=ReservationView)
async def release(
    reservation_id: UUID,
    caller: Annotated[Caller, scope("stock:write")],
    key: IdempotencyKey,
    request: Request,
) -> Response:
    """Gives back what has not gone out."""
    return await _act(request, caller, key, reservation_id, "release")


async def _act(request: Request, caller: Caller, key: str, reservation_id: UUID, verb: Verb) -> Response:
    source, windows = database(request), cast("Windows", request.app.state.windows)
    async with source.read(caller.actor) as tx:
        if await hold_store.get(tx, reservation_id) is None:
            raise NotFound

    async def run(tx: Write) -> Response:
        async def effect() -> tuple[int, ReservationView]:
            head, lines = await actions.act(tx, reservation_id, verb, windows)
            return 200, ReservationView.of(head, lines)

        route = f"/v1/reservations/{reservation_id}/{verb}"
        return await once(tx, caller, route, key, b"", effect)

    return await source.transact(STAFF, run)
