"""The HTTP side of insight-svc: joins the routes of its nouns and the kit's. Nothing here changes a fact."""

from fastapi import FastAPI

from channel_kit.admin import standard_routers
from channel_kit.http import create_app
from channel_kit.service import Runtime
from insight_svc.fact import routes as fact
from insight_svc.kpi import routes as kpi


def build(runtime: Runtime) -> FastAPI:
    """The application; days are days of the settings' time zone."""
    api = create_app(
        title="Qudao insight",
        routers=[kpi.router, fact.router, *standard_routers()],
        docs=runtime.settings.docs,
    )
    api.state.database = runtime.database
    api.state.time_zone = runtime.settings.time_zone
    return api
