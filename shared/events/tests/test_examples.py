"""Every example ever committed decodes with today's classes and loses nothing on the way back."""

import json
from pathlib import Path
from typing import Any

import pytest

from channel_events.catalog import CATALOG, decode, encode
from channel_events.order import EntryBody, OrderBody
from channel_events.partner import ShopBody, shop_aggregate_id

EXAMPLES = Path(__file__).parents[1] / "examples"
PATHS = sorted(EXAMPLES.glob("*/*.json"))


def lost(before: Any, after: Any, place: str = "event") -> list[str]:
    """What of `before` is not in `after`; fields that only `after` has are later, optional ones."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            sentence
            for name, value in before.items()
            for sentence in lost(value, after.get(name, "<absent>"), f"{place}.{name}")
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            s for i, pair in enumerate(zip(before, after, strict=True)) for s in lost(*pair, f"{place}.{i}")
        ]
    return [] if before == after and type(before) is type(after) else [f"{place}: {before!r} → {after!r}"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_example_decodes_and_encodes_to_equal_values(path: Path) -> None:
    raw = path.read_bytes()
    event = decode(raw)
    assert event.type == path.parent.name
    assert lost(json.loads(raw), json.loads(encode(event))) == []
    assert decode(encode(event), event.type) == event


def test_every_type_has_an_example_and_every_example_a_type() -> None:
    assert {path.parent.name for path in PATHS} == set(CATALOG)


def test_loss_is_seen() -> None:
    assert lost({"a": [1, {"b": None}]}, {"a": [1, {"b": None, "later": 2}]}) == []
    assert lost({"a": [1, {"b": None}]}, {"a": [1, {}]}) == ["event.a.1.b: None → '<absent>'"]
    assert lost({"a": True}, {"a": 1}) == ["event.a: True → 1"]


def test_examples_keep_the_ledgers_equation() -> None:
    entries: list[EntryBody] = []
    for path in PATHS:
        body = decode(path.read_bytes()).data
        if isinstance(body, OrderBody):
            entries.extend(body.entries)
        if isinstance(body, ShopBody):
            event = decode(path.read_bytes())
            assert event.aggregate_id == shop_aggregate_id(body.platform, body.shop_id)
    assert len(entries) > 10
    for entry in entries:
        components = (
            entry.list_minor
            + entry.promo_minor
            + entry.platform_coupon_minor
            + entry.merchant_coupon_minor
            + entry.freight_minor
            + entry.tax_minor
            + entry.platform_fee_minor
        )
        assert entry.net_minor == components


def test_net_sales_leave_out_tax_freight_and_the_platforms_coupon() -> None:
    placed = decode((EXAMPLES / "channel.order.placed.v1" / "paid-with-freight.json").read_bytes()).data
    ordered = [entry.net_sales_minor for entry in placed.entries if entry.kind == "ordered"]
    assert ordered == [20500, 0]
    assert sum(ordered) == placed.order.totals.net_sales_minor
