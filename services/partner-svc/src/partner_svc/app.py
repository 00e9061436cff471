"""The HTTP side: joins the nouns' routes and gives them what they share."""

from fastapi import FastAPI

from channel_kit.admin import router as admin
from channel_kit.http import create_app
from channel_kit.service import Runtime
from channel_kit.vault import Vault
from partner_svc.client.routes import router as clients
from partner_svc.contract.routes import router as contracts
from partner_svc.key.routes import router as keys
from partner_svc.partner.routes import router as partners
from partner_svc.shop.routes import router as shops


def build(runtime: Runtime) -> FastAPI:
    """The application. Raises `ValueError` without a usable QUDAO_SECRET_KEY, before anybody is answered."""
    app = create_app(
        title="Qudao partner service",
        routers=[partners, shops, contracts, keys, clients, admin],
        docs=runtime.settings.docs,
    )
    app.state.database = runtime.database
    app.state.vault = Vault(runtime.settings.secret_key)
    app.state.zone = runtime.settings.zone
    return app
