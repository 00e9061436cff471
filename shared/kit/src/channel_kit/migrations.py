"""Running a service's migrations: once, whoever else tries at the same moment, and knowing where they stand."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from channel_kit import database
from channel_kit.database import Read
from channel_kit.service import Service

_LOCK = 817


def _config(service: Service) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "alembic"))
    config.set_main_option("version_locations", str(service.migrations / "versions"))
    config.set_main_option("path_separator", "os")
    return config


def head(service: Service) -> str | None:
    """The revision this code was written for."""
    return ScriptDirectory.from_config(_config(service)).get_current_head()


class Known:
    """The revisions this code knows. Reads the files once; ask it as often as you like."""

    def __init__(self, service: Service) -> None:
        script = ScriptDirectory.from_config(_config(service))
        self.head = script.get_current_head()
        self._all = {each.revision for each in script.walk_revisions()}

    def is_behind(self, revision: str | None) -> bool:
        """Whether a database at `revision` lacks something this code needs.

        A revision that it does not know is a later release's, which only expands the schema: this release goes
        on working while pods are replaced one by one.
        """
        return revision is None or (revision in self._all and revision != self.head)


async def upgrade(service: Service, owner_url: str) -> None:
    """Brings the schema to `head` in one transaction; a second run, or one at the same time, does nothing.

    Raises the database's errors; a table that cannot be locked within 3 s is one, so that a migration never
    queues all traffic behind itself.
    """

    def run(connection: Connection) -> None:
        connection.execute(text("set local lock_timeout = '60s'"))
        connection.execute(text(f"select pg_advisory_xact_lock({_LOCK})"))
        connection.execute(text("set local lock_timeout = '3s'"))
        config = _config(service)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        for role in ("api", "worker", "staff", "partner"):
            connection.execute(text(f"grant select on alembic_version to {service.name}_{role}"))

    await database.migrate(owner_url, run)


async def current(tx: Read) -> str | None:
    """The revision that the database has."""
    revision = await tx.value("select version_num from alembic_version")
    return None if revision is None else str(revision)
