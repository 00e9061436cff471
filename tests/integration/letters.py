"""What the platforms write: orders and refunds with fixed amounts, so that tests can state results as numbers.

Modelled on each platform's published contract; the docstrings say what the buyer pays.
"""

from collections.abc import Mapping
from typing import Any

from .deployment import new_id


def shopify_order(
    order_id: int,
    sku: str,
    *,
    updated: str = "2026-03-02T10:00:00+08:00",
    paid: bool = True,
    shipped: int = 0,
    quantity: int = 3,
    **changes: Any,
) -> dict[str, Any]:
    """Three tins at 128.00 less a coupon of 34.00, tax 40.27 included; freight 12.00, tax 1.38 included: 362.00."""
    left = {
        "id": 7,
        "status": "success",
        "created_at": "2026-03-03T15:00:00+08:00",
        "line_items": [{"id": 11, "quantity": shipped}],
    }
    return {
        "id": order_id,
        "name": f"#{order_id}",
        "created_at": "2026-03-02T09:59:00+08:00",
        "processed_at": "2026-03-02T09:59:00+08:00",
        "updated_at": updated,
        "currency": "CNY",
        "total_price": "362.00",
        "total_tax": "41.65",
        "taxes_included": True,
        "financial_status": "paid" if paid else "pending",
        "fulfillment_status": "fulfilled" if shipped >= quantity else "partial" if shipped else None,
        "line_items": [
            {
                "id": 11,
                "sku": sku,
                "title": "明前龙井",
                "quantity": quantity,
                "price": "128.00",
                "discount_allocations": [{"amount": "34.00"}],
                "tax_lines": [{"price": "40.27", "rate": 0.13}],
            }
        ],
        "shipping_lines": [
            {"id": 12, "title": "SF", "price": "12.00", "tax_lines": [{"price": "1.38", "rate": 0.13}]}
        ],
        "refunds": [],
        "fulfillments": [left] if shipped else [],
        **changes,
    }


def shopify_refund(order_id: int, refund_id: int) -> dict[str, Any]:
    """One of three shipped tins back, 116.67 of which 13.42 are tax, and on the shelf again."""
    return {
        "id": refund_id,
        "order_id": order_id,
        "created_at": "2026-03-05T12:00:00+08:00",
        "processed_at": "2026-03-05T12:00:00+08:00",
        "refund_line_items": [
            {
                "id": 1,
                "line_item_id": 11,
                "quantity": 1,
                "subtotal": "116.67",
                "total_tax": "13.42",
                "restock_type": "return",
            }
        ],
        "transactions": [
            {"id": 2, "kind": "refund", "status": "success", "amount": "116.67", "currency": "CNY"}
        ],
        "order_adjustments": [],
    }


def woocommerce_order(order_id: int, sku: str, **changes: Any) -> dict[str, Any]:
    """Two tins at 50.00 with tax 13.00 on top, paid: 113.00."""
    return {
        "id": order_id,
        "number": str(order_id),
        "status": "processing",
        "currency": "CNY",
        "prices_include_tax": False,
        "date_created_gmt": "2026-03-04T02:00:00",
        "date_paid_gmt": "2026-03-04T02:01:00",
        "date_modified_gmt": "2026-03-04T02:01:00",
        "total": "113.00",
        "total_tax": "13.00",
        "line_items": [
            {
                "id": 21,
                "sku": sku,
                "name": "Green tea",
                "quantity": 2,
                "subtotal": "100.00",
                "total": "100.00",
                "total_tax": "13.00",
            }
        ],
        "shipping_lines": [],
        "refunds": [],
        **changes,
    }


def generic_order(order_id: str, sku: str, **changes: Any) -> dict[str, Any]:
    """Two boxes for 80.00, tax 9.20 and a platform coupon of 5.00 in it, paid."""
    data = {
        "order_id": order_id,
        "currency": "CNY",
        "sequence": 1,
        "placed_at": "2026-03-06T09:30:00+08:00",
        "paid_at": "2026-03-06T09:31:00+08:00",
        "lifecycle": "open",
        "payment": "paid",
        "fulfilment": "unfulfilled",
        "tax_included": True,
        "total": "80.00",
        "lines": [
            {
                "line_id": "1",
                "kind": "product",
                "sku": sku,
                "quantity": "2",
                "platform_coupon": "-5.00",
                "tax": "9.20",
                "total": "80.00",
            }
        ],
        **changes,
    }
    return {"type": "qudao.order.v1", "timestamp": "2026-03-06T01:31:00Z", "data": data}


def order_body(platform: str, sku: str, order_id: int | None = None) -> tuple[str, Mapping[str, Any], str]:
    """(platform order id, body, topic) of a new paid order."""
    number = order_id or new_id()
    if platform == "shopify":
        return str(number), shopify_order(number, sku), "orders/create"
    if platform == "woocommerce":
        return str(number), woocommerce_order(number, sku), "order.created"
    return f"SO/{number}", generic_order(f"SO/{number}", sku), ""
