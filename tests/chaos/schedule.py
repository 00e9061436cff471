"""Which faults come in which order: a pure function of a seed and a size.

Faults of processes come one at a time, so that each recovery has a cause; now and then one of the lines is bad at the
same time. A run's load lasts as long as its schedule, whatever the machine makes of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from qudao.stack import SERVICES

What = Literal[
    "SIGKILL", "SIGSTOP", "delay", "hold", "reset", "cut", "commit-unheard", "commit-unanswered", "poison"
]

ROLES: Final = ("api", "worker")
KINDS: Final = (*(f"{service}-{role}" for service in SERVICES for role in ROLES), "kafka", "postgres")
"""Every kind of process there is."""

SESSION_SECONDS: Final = 10.0
"""After so long without a sign of life, the broker gives a consumer's partitions to others."""

# Whose transactions write often enough to be cut at COMMIT. The relay's are known by their statement.
_WRITERS: Final = ("order_api", "order_worker", "inventory_worker", "incentive_worker", "insight_worker")
_RELAYS: Final = ("order_worker", "inventory_worker", "incentive_worker")
RELAY_STATEMENT: Final = "delete from outbox_pending"


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything one seed gets. `kills` are per kind; `more_kills` fall on kinds drawn by chance."""

    name: str
    orders: int
    kills: int
    more_kills: int
    long_stops: int
    short_stops: int
    net: int  # faults of the lines
    poisonings: int
    gap: float  # seconds of peace between two steps, at most


SMALL: Final = Size("small", 300, 1, 3, 2, 2, 9, 2, 0.4)
LARGE: Final = Size("large", 3000, 4, 0, 6, 6, 24, 5, 1.5)
REPEAT: Final = Size("repeat", 120, 0, 5, 1, 1, 5, 1, 0.4)
"""For the seeds of the corpus: they are many in the end."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. `target` is a kind of process, a line, or a database user whose line it is."""

    what: What
    target: str
    seconds: float = 0.0
    detail: str = ""

    def __str__(self) -> str:
        lasting = f" for {self.seconds:g} s" if self.seconds else ""
        return f"{self.what} {self.target}{lasting}{f' ({self.detail})' if self.detail else ''}"


@dataclass(frozen=True, slots=True)
class Step:
    """`fault` comes `after` seconds of peace; `beside` is what is wrong with a line meanwhile."""

    after: float
    fault: Fault
    beside: Fault | None = None

    def __str__(self) -> str:
        return str(self.fault) + (f" during {self.beside}" if self.beside else "")


def schedule(seed: int, size: Size) -> tuple[Step, ...]:
    """The steps of a run."""
    chance = Random(f"{seed} faults")
    faults = [Fault("SIGKILL", kind) for kind in KINDS for _ in range(size.kills)]
    faults += [Fault("SIGKILL", chance.choice(KINDS)) for _ in range(size.more_kills)]
    faults += _stops(chance, size)
    faults += [_net(chance, number) for number in range(size.net)]
    faults += [Fault("poison", "topics") for _ in range(size.poisonings)]
    chance.shuffle(faults)
    return tuple(_steps(chance, faults, size.gap))


def _stops(chance: Random, size: Size) -> Iterable[Fault]:
    """The long ones are longer than a consumer's session, and fall on consumers more often than not."""
    workers = [kind for kind in KINDS if kind.endswith("worker")]
    for number in range(size.long_stops):
        target = chance.choice(workers if number % 2 == 0 else KINDS)
        yield Fault(
            "SIGSTOP", target, round(SESSION_SECONDS + chance.uniform(1.0, 3.0), 1), _part(chance, target)
        )
    for _ in range(size.short_stops):
        target = chance.choice(KINDS)
        yield Fault("SIGSTOP", target, round(chance.uniform(2.0, 5.0), 1), _part(chance, target))


def _part(chance: Random, target: str) -> str:
    return chance.choice(("all of it", "one backend")) if target == "postgres" else ""


def _net(chance: Random, number: int) -> Fault:
    """The kinds in turn, so that even a small run has each."""
    line = chance.choice(("postgres", "kafka"))
    seconds = round(chance.uniform(1.5, 4.0), 1)
    makers = (
        lambda: Fault("commit-unheard", chance.choice(_RELAYS), detail=RELAY_STATEMENT),
        lambda: Fault("commit-unanswered", chance.choice(_WRITERS)),
        lambda: Fault("reset", line),
        lambda: Fault("cut", line),
        lambda: Fault("hold", line, seconds, chance.choice(("up", "down"))),
        lambda: Fault("delay", line, seconds, chance.choice(("20+30 ms", "60+120 ms"))),
        lambda: Fault("commit-unheard", chance.choice(_WRITERS)),
    )
    return makers[number % len(makers)]()


def _steps(chance: Random, faults: list[Fault], gap: float) -> Iterable[Step]:
    for fault in faults:
        beside = None
        if fault.what == "SIGKILL" and fault.target not in ("kafka", "postgres") and chance.random() < 0.15:
            beside = Fault("delay", chance.choice(("postgres", "kafka")), 3.0, "20+30 ms")
        yield Step(round(chance.uniform(0.2, 1.0) * gap, 2), fault, beside)
