"""The HTTP side: the webhook function in front, the nouns' routes behind it, and what they share."""

from channel_kit.admin import router as admin
from channel_kit.gather import Gather
from channel_kit.http import create_app
from channel_kit.service import ASGI, Runtime
from channel_kit.vault import Vault
from order_svc.block.routes import router as blocks
from order_svc.connection.actions import Connections
from order_svc.connection.routes import router as connections
from order_svc.intake import actions
from order_svc.intake.routes import Webhooks
from order_svc.intake.routes import router as deliveries
from order_svc.intake.store import Incoming
from order_svc.order.routes import router as orders
from order_svc.upload.routes import router as uploads
from order_svc.worker import drain_wake


def build(runtime: Runtime) -> ASGI:
    """The application. Raises ValueError without a usable QUDAO_SECRET_KEY, before anybody is answered."""
    app = create_app(
        title="Qudao order service",
        routers=[orders, blocks, deliveries, connections, uploads, admin],
        docs=runtime.settings.docs,
    )
    app.state.database = runtime.database
    app.state.settings = runtime.settings
    app.state.vault = Vault(runtime.settings.secret_key)
    app.state.connections = Connections(runtime.database, app.state.vault)
    wake = drain_wake(runtime)

    async def record(incoming: list[Incoming]) -> list[bool]:
        stored = await actions.record(runtime.database, incoming)
        wake.set()
        return stored

    app.state.intake = Gather("intake", record)
    return Webhooks(app, app.state.connections, app.state.intake)
