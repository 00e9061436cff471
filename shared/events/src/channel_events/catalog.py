"""Every event type there is, and the codec between an event and the text on its topic.

`encode` refuses what would not decode; `decode` raises `UndecodableEvent` and nothing else, whatever the
bytes are, so a consumer can park a bad record and go on. Called for every event by the kit's outbox and feed.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from channel_events import incentive, inventory, order, partner, topics
from channel_events.envelope import Event
from channel_events.values import INTEGER_MAX

EVENT_BYTES_MAX: Final = 900 * 1024

PARTNER_REGISTERED: Final = "channel.partner.registered.v1"
PARTNER_CHANGED: Final = "channel.partner.changed.v1"
PARTNER_SHOP_BOUND: Final = "channel.partner.shop-bound.v1"
PARTNER_CONTRACT_APPROVED: Final = "channel.partner.contract-approved.v1"
PARTNER_SIGNING_KEY_PUBLISHED: Final = "channel.partner.signing-key-published.v1"

ORDER_PLACED: Final = "channel.order.placed.v1"
ORDER_CHANGED: Final = "channel.order.changed.v1"
ORDER_CANCELLED: Final = "channel.order.cancelled.v1"
ORDER_REFUNDED: Final = "channel.order.refunded.v1"
ORDER_ATTRIBUTED: Final = "channel.order.attributed.v1"
ORDER_RESOLVED: Final = "channel.order.resolved.v1"

INVENTORY_ITEM_REGISTERED: Final = "channel.inventory.item-registered.v1"
INVENTORY_ITEM_CHANGED: Final = "channel.inventory.item-changed.v1"
INVENTORY_LISTING_MAPPED: Final = "channel.inventory.listing-mapped.v1"
INVENTORY_HELD: Final = "channel.inventory.held.v1"
INVENTORY_SHORT: Final = "channel.inventory.short.v1"
INVENTORY_RELEASED: Final = "channel.inventory.released.v1"
INVENTORY_ISSUED: Final = "channel.inventory.issued.v1"
INVENTORY_EXPIRED: Final = "channel.inventory.expired.v1"
INVENTORY_STOCK_CHANGED: Final = "channel.inventory.stock-changed.v1"

INCENTIVE_PLAN_ACTIVATED: Final = "channel.incentive.plan-activated.v1"
INCENTIVE_ACCRUED: Final = "channel.incentive.accrued.v1"


BodyClass = type[BaseModel]


@dataclass(frozen=True, slots=True)
class EventType:
    """One type: where it travels, what it is about, and the class of its data."""

    type: str
    topic: topics.Topic
    aggregate_type: str
    body: BodyClass


_ROWS: Final[tuple[tuple[topics.Topic, str, BodyClass, tuple[str, ...]], ...]] = (
    (topics.PARTNER, "partner", partner.PartnerBody, (PARTNER_REGISTERED, PARTNER_CHANGED)),
    (topics.PARTNER, "shop", partner.ShopBody, (PARTNER_SHOP_BOUND,)),
    (topics.PARTNER, "contract", partner.ContractBody, (PARTNER_CONTRACT_APPROVED,)),
    (topics.PARTNER, "key", partner.SigningKeyBody, (PARTNER_SIGNING_KEY_PUBLISHED,)),
    (
        topics.ORDER,
        "order",
        order.OrderBody,
        (ORDER_PLACED, ORDER_CHANGED, ORDER_CANCELLED, ORDER_REFUNDED, ORDER_ATTRIBUTED, ORDER_RESOLVED),
    ),
    (topics.INVENTORY, "item", inventory.ItemBody, (INVENTORY_ITEM_REGISTERED, INVENTORY_ITEM_CHANGED)),
    (topics.INVENTORY, "listing", inventory.ListingBody, (INVENTORY_LISTING_MAPPED,)),
    (
        topics.INVENTORY,
        "reservation",
        inventory.ReservationBody,
        (INVENTORY_HELD, INVENTORY_SHORT, INVENTORY_RELEASED, INVENTORY_ISSUED, INVENTORY_EXPIRED),
    ),
    (topics.INVENTORY, "stock", inventory.StockBody, (INVENTORY_STOCK_CHANGED,)),
    (topics.INCENTIVE, "plan", incentive.PlanBody, (INCENTIVE_PLAN_ACTIVATED,)),
    (topics.INCENTIVE, "cell", incentive.AccrualBody, (INCENTIVE_ACCRUED,)),
)

CATALOG: Final = MappingProxyType(
    {
        name: EventType(name, topic, aggregate_type, body)
        for topic, aggregate_type, body, names in _ROWS
        for name in names
    }
)

# Parametrised once per body; pydantic builds a validator for each, which takes milliseconds.
_ENVELOPES: Final[dict[str, type[Event[Any]]]] = {
    name: Event[entry.body]  # type: ignore[name-defined]
    for name, entry in CATALOG.items()
}


class UndecodableEvent(Exception):
    """A record that is no event of ours.

    `code`: tombstone, not-json, bad-envelope, unknown-type or bad-body. `detail` names the place and the
    rule, never the content.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Head(NamedTuple):
    """What could still be read of an undecodable record: enough to park it under its aggregate."""

    aggregate_id: UUID
    aggregate_type: str
    aggregate_version: int
    id: UUID | None
    type: str | None


class _TypeOnly(BaseModel):
    model_config = ConfigDict(strict=True)

    type: str


def envelope_class(type_name: str) -> type[Event[Any]]:
    """The event class of a catalogued type; KeyError for others."""
    return _ENVELOPES[type_name]


def encode(event: Event[Any]) -> str:
    """The exact text to store and send. ValueError when it contradicts the catalogue or is too large."""
    entry = CATALOG.get(event.type)
    if entry is None:
        raise ValueError(f"{event.type} is not in the catalogue")
    if event.aggregatetype != entry.aggregate_type:
        raise ValueError(
            f"the aggregate of {event.type} is {entry.aggregate_type}, not {event.aggregatetype}"
        )
    if not isinstance(event.data, entry.body):
        raise ValueError(f"{event.type} carries a {entry.body.__name__}, not a {type(event.data).__name__}")
    text = event.model_dump_json()
    # A character is at most four bytes: only large texts need to be measured.
    if len(text) * 4 > EVENT_BYTES_MAX and len(text.encode()) > EVENT_BYTES_MAX:
        raise ValueError(f"{event.type} of {event.subject} is larger than {EVENT_BYTES_MAX} bytes")
    return text


def decode(raw: bytes | str | None, type_hint: str | None = None) -> Event[Any]:
    """The event in a record's value.

    `type_hint` (the record's `ce_type` header) saves a second look at the text; a wrong one does no harm.
    Raises UndecodableEvent, and nothing else.
    """
    if raw is None:
        raise UndecodableEvent("tombstone", "the record has no value")
    if type_hint is not None and (event := _as_hinted(raw, type_hint)) is not None:
        return event
    try:
        named = _TypeOnly.model_validate_json(raw).type
        if (envelope := _ENVELOPES.get(named)) is None:
            raise UndecodableEvent("unknown-type", f"{named[:100]!a} is not in the catalogue")
        return _about_its_aggregate(envelope.model_validate_json(raw))
    except ValidationError as failure:
        raise _classified(failure) from None


def head(raw: bytes | str | None) -> Head | None:
    """What an undecodable record still says about its aggregate; None when it does not say which it is."""
    try:
        value = from_json(raw) if raw is not None else None
    except (ValueError, TypeError):  # A text that is not Unicode counts as the wrong type there.
        return None
    if not isinstance(value, dict):
        return None
    aggregate_id = _as_uuid(value.get("subject"))
    aggregate_type = _as_code(value.get("aggregatetype"))
    version = value.get("aggregateversion")
    if aggregate_id is None or aggregate_type is None or type(version) is not int:
        return None
    if not 1 <= version <= INTEGER_MAX:
        return None
    return Head(aggregate_id, aggregate_type, version, _as_uuid(value.get("id")), _as_code(value.get("type")))


def _as_hinted(raw: bytes | str, type_hint: str) -> Event[Any] | None:
    hinted = _ENVELOPES.get(type_hint)
    if hinted is None:
        return None
    try:
        event = hinted.model_validate_json(raw)
    except ValueError:
        return None  # The way without the hint names the fault, or finds that only the hint was wrong.
    return _about_its_aggregate(event) if event.type == type_hint else None


def _about_its_aggregate(event: Event[Any]) -> Event[Any]:
    expected = CATALOG[event.type].aggregate_type
    if event.aggregatetype != expected:
        raise UndecodableEvent("bad-envelope", f"aggregatetype: of {event.type} it is {expected!r}")
    return event


def _classified(failure: ValidationError) -> UndecodableEvent:
    errors = failure.errors(include_url=False, include_context=False, include_input=False)
    if errors[0]["type"] in ("json_invalid", "string_unicode"):
        return UndecodableEvent("not-json", errors[0]["msg"][:200])
    # A fault in the envelope outranks one in the body: without a sound envelope the body means nothing.
    worst = next((error for error in errors if error["loc"][:1] != ("data",)), errors[0])
    code = "bad-body" if worst["loc"][:1] == ("data",) else "bad-envelope"
    # The place may hold a key of the sender's: escaped, since the detail is stored and logged.
    place = ascii(".".join(str(part) for part in worst["loc"]))[1:-1][:200]
    return UndecodableEvent(code, f"{place or 'event'}: {worst['msg'][:200]}")


def _as_uuid(value: Any) -> UUID | None:
    if not isinstance(value, str):
        return None
    try:
        return UUID(value)
    except ValueError:
        return None


def _as_code(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= 100 and "\0" not in value else None
