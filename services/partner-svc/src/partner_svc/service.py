"""What partner-svc tells the kit about itself, and the first credential, which nobody could ask for over HTTP."""

from pathlib import Path

from channel_kit.database import OWNER, Write
from channel_kit.service import Runtime, Service
from partner_svc import app, worker
from partner_svc.client import actions


async def register_first_client(runtime: Runtime) -> None:
    """Register or update the admin client of QUDAO_ADMIN_CLIENT_ID and QUDAO_ADMIN_CLIENT_SECRET, if both are set."""
    client_id, secret = runtime.settings.admin_client_id, runtime.settings.admin_client_secret
    if client_id is None or secret is None:
        return

    async def register(tx: Write) -> bool:
        return await actions.register_admin(tx, client_id, secret.get_secret_value())

    await runtime.database.transact(OWNER, register)


SERVICE = Service(
    "partner",
    Path(__file__).parent / "migrations",
    app=app.build,
    worker=worker.build,
    after_migrate=register_first_client,
)
