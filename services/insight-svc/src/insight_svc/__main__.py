"""`python -m insight_svc api|worker|serve|migrate`."""

from pathlib import Path
from typing import Final

from channel_kit.process import run
from channel_kit.service import Service
from insight_svc import app, worker

SERVICE: Final = Service(
    name="insight", migrations=Path(__file__).parent / "migrations", app=app.build, worker=worker.build
)

if __name__ == "__main__":
    run(SERVICE)
