"""What inventory-svc tells the kit about itself."""

from pathlib import Path

from channel_kit.service import Service
from inventory_svc import app, worker

SERVICE = Service("inventory", Path(__file__).parent / "migrations", app=app.build, worker=worker.build)
