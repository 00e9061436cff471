"""The process's own clock: the only place where the services ask what time it is.

Everything is aware and in UTC. A platform's own time (`business_at`) never comes from here,
and holds expire by the database's clock, not by this one.
"""

from datetime import UTC, datetime


def now() -> datetime:
    """The present instant, aware, in UTC."""
    return datetime.now(UTC)
