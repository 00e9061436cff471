"""The value types, as Python code meets them."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from channel_events.inventory import HoldLine
from channel_events.order import Transition
from channel_events.partner import SHOP_NAMESPACE, SigningKeyBody, shop_aggregate_id
from channel_events.values import Quantity, Record, quantity_text

QUANTITIES = ("held", "committed", "issued", "short", "expired", "restocked")
NOON = datetime(2026, 3, 8, 12, tzinfo=UTC)


class Amount(Record):
    quantity: Quantity


def hold(demanded: Any) -> HoldLine:
    others: dict[str, Any] = dict.fromkeys(QUANTITIES, Decimal(0))
    return HoldLine(line_no=1, location="main", demanded=demanded, **others)


def key(jwk: dict[str, str]) -> SigningKeyBody:
    return SigningKeyBody(kid="k", public_jwk=jwk, not_before=NOON, not_after=NOON)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1.500000", "1.5"),
        ("1.5", "1.5"),
        ("-2.000000", "-2"),
        ("100", "100"),
        ("1E+3", "1000"),
        ("1E-6", "0.000001"),
        ("0E-10", "0"),
        ("-0.000", "0"),
        ("99999999999999.999999", "99999999999999.999999"),
    ],
)
def test_quantity_has_one_spelling(value: str, text: str) -> None:
    assert quantity_text(Decimal(value)) == text
    assert json.loads(hold(Decimal(value)).model_dump_json())["demanded"] == text


@given(st.decimals(min_value=-(10**14) + 1, max_value=10**14 - 1, places=6))
def test_quantity_comes_back_equal(value: Decimal) -> None:
    raw = Amount(quantity=value).model_dump_json()
    assert Amount.model_validate_json(raw).quantity == value


@pytest.mark.parametrize(
    "value", [1, 1.5, True, "1", None, Decimal("NaN"), Decimal("Infinity"), Decimal("1E+14"), Decimal("1E-7")]
)
def test_what_is_no_bounded_decimal_is_no_quantity(value: Any) -> None:
    with pytest.raises(ValidationError):
        hold(value)


def test_naive_instant_is_refused() -> None:
    with pytest.raises(ValidationError):
        Transition(axis="payment", to="paid", at=NOON.replace(tzinfo=None))


def test_transition_says_from_on_the_wire() -> None:
    raw = Transition(axis="payment", from_="pending", to="paid", at=NOON).model_dump_json()
    assert json.loads(raw) == {
        "axis": "payment",
        "from": "pending",
        "to": "paid",
        "at": "2026-03-08T12:00:00Z",
    }
    assert Transition.model_validate_json(raw).from_ == "pending"


def test_record_is_immutable() -> None:
    with pytest.raises(ValidationError):
        hold(Decimal(1)).held = Decimal(2)  # type: ignore[misc]


@pytest.mark.parametrize(
    "jwk", [{}, {"crv": "Ed25519"}, {"kty": "OKP", "x": "a", "d": "secret"}, {"kty": "oct", "k": "secret"}]
)
def test_key_that_is_not_public_is_refused(jwk: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as caught:
        key(jwk)
    assert "secret" not in caught.value.json(include_input=False)


def test_shop_id_depends_on_both_parts_and_never_changes() -> None:
    assert str(shop_aggregate_id("shopify", "s-1")) == "aaf88b2e-9376-525e-9958-26d2bbb38e75"
    assert shop_aggregate_id("shopify", "s-1") != shop_aggregate_id("shopifys", "-1")
    assert shop_aggregate_id("a", "b").version == 5
    assert SHOP_NAMESPACE.version == 4
