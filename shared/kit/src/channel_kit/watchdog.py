"""Whether a Kafka consumer still does what it is there for: it may live, heartbeat and do nothing.

Three signs, from the public API only: records wait and none is handled; no assignment was ever completed; what is
handled is not committed. Never talks to anybody; the feed tells it what it sees and rebuilds the consumer when
`check` raises. (The fourth sign, the age of the oldest unpublished event, is the relay's gauge.)
"""

import time

STUCK_SECONDS = 45.0
UNASSIGNED_SECONDS = 60.0
UNCOMMITTED_SECONDS = 30.0


class Rebuild(Exception):
    """This consumer is beyond hope; make a new one."""


class Watchdog:
    """Watches one consumer from its start."""

    def __init__(self) -> None:
        now = time.monotonic()
        self.lag = 0
        self.polls = 0
        self._polls_committed = 0
        self._handled_at = now
        self._uncommitted_since: float | None = None
        # A member may well have no partition, where there are more members than partitions.
        self._unassigned_since: float | None = now

    @property
    def uncommitted(self) -> bool:
        return self._uncommitted_since is not None

    def handled(self) -> None:
        """A poll's effects are in the database."""
        self._handled_at = time.monotonic()
        self.polls += 1
        if self._uncommitted_since is None:
            self._uncommitted_since = self._handled_at

    def committed(self, polls: int) -> None:
        """Kafka knows the offsets of the first `polls` polls."""
        self._polls_committed = max(self._polls_committed, polls)
        self._uncommitted_since = None if self._polls_committed == self.polls else time.monotonic()

    def waiting(self, records: int) -> None:
        """So many records lie ahead in the assigned partitions."""
        self.lag = records
        if not records:
            self._handled_at = time.monotonic()

    def assigned(self) -> None:
        self._unassigned_since = None

    def revoked(self) -> None:
        """A rebalance begins. The next assignment starts with a clean sheet."""
        self.lag = 0
        self._handled_at = self._unassigned_since = time.monotonic()
        self._uncommitted_since = None

    def check(self) -> None:
        """Raises Rebuild where one of the signs shows."""
        now = time.monotonic()
        if self._unassigned_since is not None and now - self._unassigned_since > UNASSIGNED_SECONDS:
            raise Rebuild(f"no partition assigned for {UNASSIGNED_SECONDS:.0f} s")
        if self.lag and now - self._handled_at > STUCK_SECONDS:
            raise Rebuild(f"{self.lag} records waiting and none handled for {STUCK_SECONDS:.0f} s")
        if self._uncommitted_since is not None and now - self._uncommitted_since > UNCOMMITTED_SECONDS:
            raise Rebuild(f"no offset commit for {UNCOMMITTED_SECONDS:.0f} s")
