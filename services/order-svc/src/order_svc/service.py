"""What order-svc tells the kit about itself."""

from pathlib import Path

from channel_kit.service import Service
from order_svc import app, worker

SERVICE = Service("order", Path(__file__).parent / "migrations", app=app.build, worker=worker.build)
