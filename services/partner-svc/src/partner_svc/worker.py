"""The loops: the job that makes signing keys, and the kit's own. This service listens to nobody."""

from collections.abc import Sequence

from channel_kit.database import WORKER, Write
from channel_kit.jobs import Job
from channel_kit.service import Loop, Runtime
from channel_kit.upkeep import standard_loops
from channel_kit.vault import Vault
from partner_svc.key import actions

KEY_CHECK_SECONDS = 30.0


def build(runtime: Runtime) -> Sequence[Loop]:
    """The loops of a worker. Raises `ValueError` without a usable QUDAO_SECRET_KEY."""
    vault = Vault(runtime.settings.secret_key)

    async def make_due(tx: Write) -> int:
        return await actions.make_due(tx, vault)

    async def run() -> int:
        return await runtime.database.transact(WORKER, make_due)

    return standard_loops(runtime, jobs=[Job("signing-keys", run, idle_seconds=KEY_CHECK_SECONDS)])
