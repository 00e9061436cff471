"""What a measurement is: samples, sides that take turns, figures with their goals, CPU seconds by process.

Knows nothing of services, servers or SQL. A figure is a ratio of two medians of one run; it is never a test. What
must hold exactly (nothing lost, nothing oversold, equal sums) is raised as `Incorrect`, and that fails a run.
"""

import re
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import psutil

Tell = Callable[[str], None]


class Incorrect(Exception):
    """A path found a wrong result: lost, doubled, oversold, unequal. The message says which and how many."""


class Sample(NamedTuple):
    """One run of one side: operations a second, response times, CPU seconds an operation by kind of process."""

    rate: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu: dict[str, float] | None = None


Side = Callable[[], Awaitable[Sample]]


async def interleave(sides: Mapping[str, Side], rounds: int, tell: Tell) -> dict[str, Sample]:
    """Every side once a round, so that they share the machine's moods; the first of a round changes each time.

    Returns each side's medians, field by field.
    """
    names, taken = list(sides), {name: list[Sample]() for name in sides}
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            taken[name].append(sample := await sides[name]())
            tell(f"{name}, {number + 1} of {rounds}: {told(sample)}")
    return {name: median(samples) for name, samples in taken.items()}


def median(samples: Sequence[Sample]) -> Sample:
    """Field by field, over the samples that have the field."""
    kinds = {kind for sample in samples for kind in sample.cpu or ()}
    return Sample(
        statistics.median(sample.rate for sample in samples),
        _median(sample.p50_ms for sample in samples),
        _median(sample.p99_ms for sample in samples),
        {kind: statistics.median((s.cpu or {}).get(kind, 0.0) for s in samples) for kind in sorted(kinds)}
        or None,
    )


def _median(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None


def told(sample: Sample) -> str:
    """A sample in a few words."""
    words = [f"{sample.rate:,.0f}/s"]
    if sample.p50_ms is not None and sample.p99_ms is not None:
        words.append(f"p50 {sample.p50_ms:.2f} ms, p99 {sample.p99_ms:.2f} ms")
    words += [f"{kind} {seconds * 1e6:.0f} µs" for kind, seconds in (sample.cpu or {}).items()]
    return ", ".join(words)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` of a sorted, non-empty sequence does not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


_GOAL = re.compile(r"(>=|<=|==) (-?\d+(?:\.\d+)?)")
_MET: Mapping[str, Callable[[float, float], bool]] = {
    ">=": lambda value, limit: value >= limit,
    "<=": lambda value, limit: value <= limit,
    "==": lambda value, limit: value == limit,
}


def meets(goal: str, value: float) -> bool | None:
    """Whether `value` meets a goal like `>= 20`, `<= 0.6` or `== 0`; None where there is no goal (the empty string)."""
    if not goal:
        return None
    found = _GOAL.fullmatch(goal)
    if found is None:
        raise ValueError(f"{goal!r} is no goal; one looks like '>= 20'")
    return _MET[found[1]](value, float(found[2]))


@dataclass(frozen=True)
class Figure:
    """One line of the result. `goal` speaks of `ratio` = ours / reference_value; `met` is None where there is none."""

    path: str
    ours: float
    unit: str
    reference: str
    reference_value: float
    ratio: float
    goal: str
    met: bool | None
    p50_ms: float | None = None
    p99_ms: float | None = None
    note: str = ""
    cpu: dict[str, float] | None = None

    @classmethod
    def compare(
        cls,
        path: str,
        ours: float,
        unit: str,
        reference: str,
        reference_value: float,
        goal: str = "",
        *,
        sample: Sample | None = None,
        note: str = "",
    ) -> Self:
        """The ratio and the verdict worked out; `sample` gives the response times and the CPU of our side."""
        ratio = ours / reference_value if reference_value else 0.0
        times = (sample.p50_ms, sample.p99_ms, sample.cpu) if sample else (None, None, None)
        met = meets(goal, ratio)
        return cls(
            path, ours, unit, reference, reference_value, ratio, goal, met, times[0], times[1], note, times[2]
        )

    @classmethod
    def absolute(
        cls,
        path: str,
        ours: float,
        unit: str,
        goal: str = "",
        *,
        sample: Sample | None = None,
        note: str = "",
    ) -> Self:
        """A value that stands by itself; its goal speaks of the value, and `ratio` repeats it."""
        times = (sample.p50_ms, sample.p99_ms, sample.cpu) if sample else (None, None, None)
        return cls(
            path, ours, unit, "", 1.0, ours, goal, meets(goal, ours), times[0], times[1], note, times[2]
        )


class Cpu:
    """CPU seconds that processes and their descendants spend inside the `with` block, by kind.

    `pids` maps a kind (`service`, `postgres`, `broker` …) to processes that live before and after the block. What
    a process that ended meanwhile had used is found in its parent, once that has reaped it. `seconds` is the length
    of the block, `machine` what all processes of this machine spent in it.
    """

    def __init__(self, pids: Mapping[str, Sequence[int]]) -> None:
        self._pids = pids
        self._before: dict[str, float] = {}
        self._spent: dict[str, float] = {}
        self.seconds = 0.0
        self.machine = 0.0

    def __enter__(self) -> Self:
        self._machine_before = _machine_seconds()
        self._before, self._began = self._read(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began
        after = self._read()
        self.machine = _machine_seconds() - self._machine_before
        self._spent = {kind: after[kind] - self._before[kind] for kind in after}

    def by_kind(self) -> dict[str, float]:
        """CPU seconds of the block, by kind."""
        return dict(self._spent)

    def each(self, operations: float) -> dict[str, float]:
        """CPU seconds an operation, by kind."""
        return {kind: seconds / max(operations, 1) for kind, seconds in self._spent.items()}

    def _read(self) -> dict[str, float]:
        return {kind: sum(map(_tree_seconds, pids)) for kind, pids in self._pids.items()}


def _machine_seconds() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0) - getattr(times, "guest", 0))


def _tree_seconds(pid: int) -> float:
    root = psutil.Process(pid)
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return float(total)
