"""The joined parts: what the worker runs, and what the application says of itself."""

from typing import Any

from channel_kit.database import Database
from channel_kit.service import Runtime
from channel_kit.settings import ServiceSettings
from inventory_svc import app, worker


def test_worker_runs_both_feeds_and_every_drain() -> None:
    settings = ServiceSettings()
    loops = worker.build(Runtime(settings, Database("inventory", settings)))
    names = {loop.name for loop in loops}
    assert {
        "relay",
        "inventory.order",
        "inventory.partner",
        "refill",
        "expire",
        "spread",
        "rederive",
    } <= names


def test_every_command_that_moves_stock_demands_an_idempotency_key() -> None:
    settings = ServiceSettings()
    document: dict[str, Any] = app.build(Runtime(settings, Database("inventory", settings))).openapi()
    keyed = {
        path
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method == "post"
        and any(each["name"].lower() == "idempotency-key" for each in operation.get("parameters", ()))
    }
    assert keyed == {
        "/v1/receipts",
        "/v1/adjustments",
        "/v1/transfers",
        "/v1/reservations",
        "/v1/reservations/{reservation_id}/commit",
        "/v1/reservations/{reservation_id}/issue",
        "/v1/reservations/{reservation_id}/release",
    }
