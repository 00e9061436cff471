"""One PostgreSQL and one Kafka for all trials, so that none has to start its own.

Where they come from is the choice of `channel_kit.testing.providers`, as for any test run. Databases and topics
are each test's own; the servers end with the run.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from channel_kit.local.kafka import LocalKafka
from channel_kit.local.postgres import LocalPostgres
from channel_kit.local.server import running
from channel_kit.testing.providers import KAFKA, POSTGRES, chosen


class _Throwaway(LocalPostgres):
    def command(self) -> list[str]:
        return [*super().command(), "-c", "fsync=off", "-c", "full_page_writes=off"]


@contextmanager
def servers(folder: Path) -> Iterator[dict[str, str]]:
    """The variables that point a test run at both servers."""
    with ExitStack() as stack:
        yield {
            POSTGRES.address_variable: _postgres(stack, folder),
            KAFKA.address_variable: _kafka(stack, folder),
        }


def _postgres(stack: ExitStack, folder: Path) -> str:
    choice = chosen(POSTGRES)
    if choice.provider == "address":
        return choice.value
    if choice.provider == "container":
        from channel_kit.testing import containers

        return stack.enter_context(containers.postgres(choice.value))
    server = _Throwaway(folder / "postgres" / "data")
    (folder / "postgres").mkdir()
    stack.enter_context(running(server, folder / "postgres" / "log"))
    return server.admin_url


def _kafka(stack: ExitStack, folder: Path) -> str:
    choice = chosen(KAFKA)
    if choice.provider == "address":
        return choice.value
    if choice.provider == "container":
        from channel_kit.testing import containers

        return stack.enter_context(containers.kafka(choice.value))
    server = LocalKafka(folder / "kafka" / "data")
    (folder / "kafka").mkdir()
    stack.enter_context(running(server, folder / "kafka" / "log"))
    return server.bootstrap
