"""The HTTP side: joins the routes of the nouns. Statements' days default to the enterprise's zone."""

from channel_kit.admin import standard_routers
from channel_kit.http import create_app
from channel_kit.service import ASGI, Runtime
from incentive_svc.accrual import routes as accrual_routes
from incentive_svc.plan import routes as plan_routes
from incentive_svc.statement import routes as statement_routes


def build(runtime: Runtime) -> ASGI:
    """The application over the runtime's database."""
    app = create_app(
        title="Qudao incentive service",
        routers=[plan_routes.router, accrual_routes.router, statement_routes.router, *standard_routers()],
        docs=runtime.settings.docs,
    )
    app.state.database = runtime.database
    app.state.zone = runtime.settings.zone
    return app
