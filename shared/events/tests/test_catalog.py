"""The codec: what it gives back, what it refuses, and that no bytes whatever raise anything else."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channel_events.catalog import (
    CATALOG,
    EVENT_BYTES_MAX,
    INVENTORY_LISTING_MAPPED,
    INVENTORY_STOCK_CHANGED,
    ORDER_PLACED,
    Head,
    UndecodableEvent,
    decode,
    encode,
    head,
)
from channel_events.envelope import Event
from channel_events.inventory import ItemBody, ListingBody
from channel_events.topics import TOPICS

EXAMPLES = Path(__file__).parents[1] / "examples"
PLACED = (EXAMPLES / ORDER_PLACED / "paid-with-freight.json").read_bytes()
STOCK = (EXAMPLES / INVENTORY_STOCK_CHANGED / "by-weight.json").read_bytes()
AGGREGATE = UUID("019a8e31-0a0b-7c0d-8e0f-101112131415")


def listing(**changes: Any) -> Event[Any]:
    fields: dict[str, Any] = {
        "id": UUID(int=1),
        "source": "/qudao/inventory",
        "type": INVENTORY_LISTING_MAPPED,
        "subject": str(AGGREGATE),
        "time": datetime(2026, 3, 8, 12, 0, 0, 250, tzinfo=timezone(timedelta(hours=8))),
        "aggregatetype": "listing",
        "aggregateversion": 1,
        "correlationid": UUID(int=2),
        "data": ListingBody(platform="shopify", shop_id="s", platform_sku="p"),
    }
    return Event[Any](**{**fields, **changes})


def changed(raw: bytes, place: str, value: Any) -> bytes:
    """The same record with one value replaced; `place` is a dotted path."""
    document = json.loads(raw)
    *way, last = place.split(".")
    inner = document
    for step in way:
        inner = inner[int(step)] if step.isdigit() else inner[step]
    inner[last] = value
    return json.dumps(document).encode()


def refusal(raw: bytes | str | None, type_hint: str | None = None) -> str:
    with pytest.raises(UndecodableEvent) as caught:
        decode(raw, type_hint)
    assert "\0" not in caught.value.detail
    assert len(caught.value.detail) < 500
    return caught.value.code


def test_every_type_is_on_its_own_familys_topic() -> None:
    assert len(CATALOG) == 22
    assert {entry.topic for entry in CATALOG.values()} == set(TOPICS)
    for name, entry in CATALOG.items():
        assert name.startswith(f"{entry.topic.name}.")
        assert name.endswith(".v1")


def test_event_comes_back_equal_and_in_utc() -> None:
    event = listing()
    text = encode(event)
    assert '"time":"2026-03-08T04:00:00.000250Z"' in text
    for hint in (None, event.type, ORDER_PLACED, "channel.listing.unheard-of.v1"):
        back = decode(text.encode(), hint)
        assert back == event
        assert isinstance(back.data, ListingBody)
        assert back.aggregate_id == AGGREGATE
        assert encode(back) == text


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "channel.inventory.unheard-of.v1"},
        {"aggregatetype": "item"},
        {"data": ItemBody(sku="a", name="a", uom="kg", quantity_scale=0)},
    ],
)
def test_event_that_contradicts_the_catalogue_is_not_encoded(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="channel"):
        encode(listing(**changes))


def test_event_beyond_the_byte_limit_is_not_encoded() -> None:
    body = decode(PLACED).data
    line = body.order.lines[0].model_copy(update={"platform_sku": "茶" * 500})
    order = body.order.model_copy(update={"lines": (line,) * 600})
    event = decode(PLACED).model_copy(update={"data": body.model_copy(update={"order": order})})
    assert len(event.model_dump_json()) < EVENT_BYTES_MAX
    with pytest.raises(ValueError, match="larger than"):
        encode(event)


def test_unknown_fields_are_ignored() -> None:
    raw = changed(changed(PLACED, "later", [1]), "data.order.later", {"x": 1})
    assert decode(raw) == decode(PLACED)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (None, "tombstone"),
        (b"", "not-json"),
        (b"{", "not-json"),
        (b"\xff\xfe{}", "not-json"),
        (b"\xef\xbb\xbf{}", "not-json"),
        (PLACED + b"x", "not-json"),
        ("\ud800", "not-json"),
        (b'{"type":"\\ud800"}', "not-json"),
        (b"[" * 100_000, "not-json"),
        (b"[" * 100_000 + b"]" * 100_000, "not-json"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "not-json"),
        (b"1" * 5_000, "not-json"),
        (b"null", "bad-envelope"),
        (b"3", "bad-envelope"),
        (b"NaN", "bad-envelope"),
        (b"[]", "bad-envelope"),
        (b"{}", "bad-envelope"),
        (b'{"type":null}', "bad-envelope"),
        (b'{"type":"channel.order.placed.v2"}', "unknown-type"),
        (changed(PLACED, "type", "x" * 10_000), "unknown-type"),
    ],
)
def test_undecodable_record_says_why(raw: bytes | str | None, code: str) -> None:
    assert refusal(raw) == code
    assert refusal(raw, ORDER_PLACED) == code
    assert refusal(raw, INVENTORY_STOCK_CHANGED) == code


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("specversion", "0.3"),
        ("datacontenttype", "text/plain"),
        ("id", "1"),
        ("source", "/elsewhere/order"),
        ("subject", "019A9B5C-3F20-7C11-8A55-0B1D2F3A4C5D"),
        ("subject", "{019a9b5c-3f20-7c11-8a55-0b1d2f3a4c5d}"),
        ("time", "1772942400"),
        ("time", "2026-03-08"),
        ("time", "2026-03-08T04:15:30"),
        ("time", "2026-03-08T04:15:30+08:00"),
        ("time", "0000-01-01T00:00:00Z"),
        ("time", 1772942400),
        ("aggregatetype", "reservation"),
        ("aggregateversion", 0),
        ("aggregateversion", "3"),
        ("aggregateversion", True),
        ("aggregateversion", 1.0),
        ("aggregateversion", 10**23),
        ("correlationid", None),
    ],
)
def test_unsound_envelope_is_refused(place: str, value: Any) -> None:
    assert refusal(changed(PLACED, place, value), ORDER_PLACED) == "bad-envelope"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("data", None),
        ("data", []),
        ("data.order", None),
        ("data.order.lines", {}),
        ("data.order.tax_included", 1),
        ("data.order.currency", "cny"),
        ("data.order.shop_id", "a\0b"),
        ("data.order.shop_id", ""),
        ("data.order.shop_id", "x" * 501),
        ("data.entries.0.net_minor", "3"),
        ("data.entries.0.net_minor", True),
        ("data.entries.0.net_minor", 3.0),
        ("data.entries.0.net_minor", float("nan")),
        ("data.entries.0.net_minor", float("inf")),
        ("data.entries.0.net_minor", 10**23),
        ("data.entries.0.net_minor", 10**15 + 1),
        ("data.entries.0.quantity", 1),
        ("data.entries.0.quantity", 1.5),
        ("data.entries.0.quantity", "1e3"),
        ("data.entries.0.quantity", "NaN"),
        ("data.entries.0.quantity", "Infinity"),
        ("data.entries.0.quantity", " 1"),
        ("data.entries.0.quantity", "１"),
        ("data.entries.0.quantity", "1_0"),
        ("data.entries.0.quantity", "1.0000001"),
        ("data.entries.0.quantity", "100000000000000"),
        ("data.entries.0.entry_hash", "00"),
        ("data.entries.0.business_at", "1772942400"),
    ],
)
def test_unsound_body_is_refused(place: str, value: Any) -> None:
    assert refusal(changed(PLACED, place, value), ORDER_PLACED) == "bad-body"


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"1E2", b"0.1", b"-0.0"])
def test_number_that_is_no_integer_is_refused_as_money(number: bytes) -> None:
    raw = PLACED.replace(b'"net_minor": 22600', b'"net_minor": ' + number)
    assert raw != PLACED
    assert refusal(raw) == "bad-body"


def test_senders_own_key_is_escaped_in_the_detail() -> None:
    assert refusal(changed(STOCK, "data.moved", {"a\0\n": "1"})) == "bad-body"


def test_head_of_a_bad_body_names_its_aggregate() -> None:
    raw = changed(PLACED, "data", {"order": float("inf")})
    assert refusal(raw) == "bad-body"
    event = decode(PLACED)
    assert head(raw) == Head(event.aggregate_id, "order", 1, event.id, ORDER_PLACED)
    assert head(changed(changed(raw, "id", 3), "type", None)) == Head(
        event.aggregate_id, "order", 1, None, None
    )


@pytest.mark.parametrize(
    "raw",
    [
        None,
        b"",
        "\ud800",
        b"[" * 100_000,
        b"[]",
        b"{}",
        changed(PLACED, "subject", "order-1"),
        changed(PLACED, "subject", 7),
        changed(PLACED, "aggregatetype", "a\0"),
        changed(PLACED, "aggregatetype", ""),
        changed(PLACED, "aggregateversion", True),
        changed(PLACED, "aggregateversion", 0),
        changed(PLACED, "aggregateversion", 10**23),
    ],
)
def test_head_of_a_record_without_an_aggregate_is_none(raw: bytes | str | None) -> None:
    assert head(raw) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(sorted(CATALOG)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def only_undecodable(raw: bytes | str, type_hint: str | None) -> None:
    head(raw)
    with suppress(UndecodableEvent):
        decode(raw, type_hint)


@given(raw=st.binary() | st.text(st.characters()), hint=st.none() | st.sampled_from(sorted(CATALOG)))
def test_arbitrary_bytes_raise_nothing_else(raw: bytes | str, hint: str | None) -> None:
    only_undecodable(raw, hint)


@given(value=json_values, hint=st.none() | st.sampled_from(sorted(CATALOG)))
def test_arbitrary_json_raises_nothing_else(value: Any, hint: str | None) -> None:
    only_undecodable(json.dumps(value), hint)


def places(value: Any, place: str = "") -> list[str]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    own = [place[1:]] if place and not place.rsplit(".", 1)[1].isdigit() else []
    return own + [found for name, part in inner for found in places(part, f"{place}.{name}")]


@settings(max_examples=300)
@given(data=st.data())
def test_example_with_one_arbitrary_value_raises_nothing_else(data: st.DataObject) -> None:
    raw = data.draw(st.sampled_from([PLACED, STOCK]))
    place = data.draw(st.sampled_from(places(json.loads(raw))))
    only_undecodable(
        changed(raw, place, data.draw(json_values)), data.draw(st.sampled_from([None, ORDER_PLACED]))
    )


@given(at=st.datetimes(timezones=st.timezones()))
def test_any_instant_keeps_its_moment(at: datetime) -> None:
    try:
        expected = at.astimezone(UTC)
    except OverflowError:
        with pytest.raises(ValueError, match="no UTC form"):
            listing(time=at)
        return
    assert decode(encode(listing(time=at))).time == expected
