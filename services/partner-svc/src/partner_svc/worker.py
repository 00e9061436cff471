"""The loops: the relay that publishes what was announced, and the job that makes signing keys.

This service listens to nobody.
"""

from collections.abc import Sequence

from channel_kit.database import WORKER, Write
from channel_kit.jobs import Job
from channel_kit.relay import Relay
from channel_kit.service import Loop, Runtime
from partner_svc.key import actions
from partner_svc.key.store import Seal

KEY_CHECK_SECONDS = 30.0


def build(runtime: Runtime) -> Sequence[Loop]:
    """The loops of a worker. Raises `ValueError` without a usable QUDAO_SECRET_KEY."""
    seal = Seal(runtime.settings.secret_key)

    async def make_due(tx: Write) -> int:
        return await actions.make_due(tx, seal)

    async def run() -> int:
        return await runtime.database.transact(WORKER, make_due)

    return [
        Relay(runtime.database, runtime.settings.kafka, runtime.settings.poll_seconds_max),
        Job("signing-keys", run, idle_seconds=KEY_CHECK_SECONDS),
    ]
