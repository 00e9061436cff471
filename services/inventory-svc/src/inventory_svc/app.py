"""The HTTP side: joins the nouns' routes and gives them what they share."""

from fastapi import FastAPI

from channel_kit.admin import router as admin
from channel_kit.http import create_app
from channel_kit.service import Runtime
from inventory_svc.hold.routes import router as holds
from inventory_svc.item.routes import router as items
from inventory_svc.listing.routes import router as listings
from inventory_svc.location.routes import router as locations
from inventory_svc.reservation.routes import gather
from inventory_svc.reservation.routes import router as reservations
from inventory_svc.settings import InventorySettings
from inventory_svc.stock.routes import router as stock


def build(runtime: Runtime) -> FastAPI:
    """The application."""
    app = create_app(
        title="Qudao inventory service",
        routers=[reservations, holds, stock, listings, items, locations, admin],
        docs=runtime.settings.docs,
    )
    app.state.database = runtime.database
    app.state.windows = InventorySettings().windows
    app.state.reservations = gather(runtime.database, app.state.windows)
    return app
