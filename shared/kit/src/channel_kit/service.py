"""What a service tells the kit about itself; `process` runs it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from channel_kit.database import Database
from channel_kit.jobs import Health
from channel_kit.settings import ServiceSettings

ASGI = Callable[..., Awaitable[None]]


class Loop(Protocol):
    """A part of a worker: a feed, a job, the relay."""

    name: str
    health: Health

    async def run(self, stopping: Any) -> None: ...


@dataclass(slots=True)
class Runtime:
    """What the parts of one process share."""

    settings: ServiceSettings
    database: Database
    shared: dict[str, Any] = field(default_factory=dict)


async def _nothing(runtime: Runtime) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Service:
    """`name` is the short name (`order`); `app` builds the HTTP side, `worker` the loops of the other.

    `after_migrate` runs once after the migrations, with the owner's rights, and must be safe to repeat.
    """

    name: str
    migrations: Path
    app: Callable[[Runtime], ASGI]
    worker: Callable[[Runtime], Sequence[Loop]]
    after_migrate: Callable[[Runtime], Awaitable[None]] = _nothing
