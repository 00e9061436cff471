"""Orders as a Shopify shop sends them: about 2.8 kB, three lines, paid; and the request that carries one, signed.

A template is a whole body with `PLACE` wherever its number stands, so that a unique body costs one replacement.
The signature is made here from the platform's published rule, not with the code that checks it.
"""

import base64
import hmac
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

PLACE: Final = "424242424242"
"""Twelve digits that stand for an order's number; line ids are these and two more."""

CURRENCY: Final = "CNY"
_PRICES: Final = (12_900, 4_550, 29_900)
_QUANTITIES: Final = (1, 2, 1)


class Target(NamedTuple):
    """Where a delivery goes: a webhook path and the secret that signs for it."""

    path: str
    secret: str


def template(skus: Sequence[str], at: datetime) -> bytes:
    """A paid order of three lines of these SKUs, placed at `at`."""
    when, number = at.astimezone(UTC).isoformat(timespec="seconds"), int(PLACE)
    total = sum(price * quantity for price, quantity in zip(_PRICES, _QUANTITIES, strict=True))
    order = {
        "id": number,
        "admin_graphql_api_id": f"gid://shopify/Order/{number}",
        "name": f"#{number}",
        "order_number": number,
        "test": False,
        "buyer_accepts_marketing": False,
        "cancel_reason": None,
        "cancelled_at": None,
        "checkout_token": "bd5a8aa1ecd019dd3520ff791ee3a24c",
        "closed_at": None,
        "confirmed": True,
        "created_at": when,
        "processed_at": when,
        "updated_at": when,
        "currency": CURRENCY,
        "presentment_currency": CURRENCY,
        "customer_locale": "zh-CN",
        "financial_status": "paid",
        "fulfillment_status": None,
        "gateway": "alipay",
        "landing_site": "/collections/spring?utm_source=letter",
        "source_name": "web",
        "tags": "spring, member",
        "taxes_included": True,
        "subtotal_price": _money(total),
        "total_discounts": "0.00",
        "total_line_items_price": _money(total),
        "total_tax": _money(sum(_tax(price * n) for price, n in zip(_PRICES, _QUANTITIES, strict=True))),
        "total_price": _money(total),
        "current_total_price": _money(total),
        "total_weight": 1840,
        "discount_applications": [],
        "note_attributes": [{"name": "gift", "value": "no"}],
        "line_items": [_line(sku, position) for position, sku in enumerate(skus)],
        "shipping_lines": [],
        "fulfillments": [],
        "refunds": [],
        "shipping_address": _ADDRESS,
        "billing_address": _ADDRESS,
        "customer": {
            "id": number + 7,
            "state": "enabled",
            "verified_email": True,
            "tags": "member",
            "note": None,
        },
    }
    return json.dumps(order, ensure_ascii=False, separators=(",", ":")).encode()


_ADDRESS: Final[dict[str, Any]] = {
    "address1": "1 Example Road, Building 3",
    "address2": "Room 1203",
    "city": "Shanghai",
    "zip": "200000",
    "province": "Shanghai",
    "country": "China",
    "company": None,
    "country_code": "CN",
    "province_code": "SH",
}


def _line(sku: str, position: int) -> dict[str, Any]:
    amount, quantity = _PRICES[position], _QUANTITIES[position]
    return {
        "id": int(f"{PLACE}{position:02}"),
        "sku": sku,
        "title": f"Example product {position}",
        "variant_title": "blue / M",
        "vendor": "Example",
        "quantity": quantity,
        "current_quantity": quantity,
        "fulfillable_quantity": quantity,
        "fulfillment_status": None,
        "grams": 460,
        "price": _money(amount),
        "total_discount": "0.00",
        "discount_allocations": [],
        "tax_lines": [{"title": "VAT", "rate": 0.13, "price": _money(_tax(amount * quantity))}],
        "requires_shipping": True,
        "taxable": True,
        "gift_card": False,
    }


def _tax(amount: int) -> int:
    return amount * 13 // 113


def _money(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02}"


def body(form: bytes, number: int) -> bytes:
    """The order with this number (below 10**12), in every place."""
    return form.replace(PLACE.encode(), b"%012d" % (10**11 + number))


def requests(
    targets: Sequence[Target],
    templates: Sequence[bytes],
    first: int,
    count: int,
    topic: str = "orders/create",
) -> Iterator[bytes]:
    """Whole HTTP/1.1 requests for the orders `first` … `first + count - 1`, signed; targets and templates take turns."""
    heads = [
        f"POST {target.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nUser-Agent: Shopify\r\n"
        f"X-Shopify-Topic: {topic}\r\nX-Shopify-Api-Version: 2025-07\r\nX-Shopify-Webhook-Id: ".encode()
        for target in targets
    ]
    keys = [target.secret.encode() for target in targets]
    for number in range(first, first + count):
        content, turn = body(templates[number % len(templates)], number), number % len(targets)
        signature = base64.b64encode(hmac.digest(keys[turn], content, "sha256"))
        yield b"%s%032d\r\nX-Shopify-Hmac-Sha256: %s\r\nContent-Length: %d\r\n\r\n%s" % (
            heads[turn],
            number,
            signature,
            len(content),
            content,
        )
