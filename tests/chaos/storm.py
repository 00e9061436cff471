"""Performs a schedule of faults on a rig under load, and measures how long each kind of process takes to work again.

One fault of a process at a time: it is waited for until its kind does its work again, and a canary until it is in the
ledger. `progress` is what the load keeps step with. At the end every line is whole and every process runs.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from aiokafka.errors import KafkaError

from . import poison
from .load import Load
from .proxy import Proxy
from .recovery import ABSENT, PATIENCE_SECONDS, Recovery
from .rig import Rig
from .schedule import Fault, Step

USUAL_SECONDS: Final = 4.0  # what a step takes, more or less; only the load's pace hangs on it
COMMIT_SECONDS_MAX: Final = 20.0
PATH_SECONDS_MAX: Final = 90.0
_ENTRY: Final = """
select exists (select from ledger_entry e join order_head h using (order_id)
where (h.platform, h.shop_id, h.platform_order_id) = ($1, $2, $3) and e.kind = 'paid')
"""


@dataclass(frozen=True, slots=True)
class Struck:
    """One fault as it went: `back` and `path` are seconds until the kind, and the whole way into the ledger, worked
    again, None where it never did or was not asked. `alone`: no other fault was there at the same time."""

    step: Step
    hit: bool
    back: float | None = None
    path: float | None = None
    alone: bool = True


@dataclass
class Storm:
    """The faults of one run."""

    rig: Rig
    load: Load
    seed: int
    steps: tuple[Step, ...]
    tell: Callable[[str], None]
    struck: list[Struck] = field(default_factory=list)
    _began: float = 0.0
    _canaries: int = 0
    _rounds: int = 0

    def __post_init__(self) -> None:
        self.recovery = Recovery(self.rig)

    @property
    def progress(self) -> float:
        """From 0 to 1; moves on inside a step too, up to the step's end."""
        if not self._began:
            return 0.0
        within = min(1.0, (time.monotonic() - self._began) / USUAL_SECONDS)
        return (len(self.struck) + within) / max(1, len(self.steps))

    @property
    def canaries(self) -> int:
        """How many were sent."""
        return self._canaries

    async def run(self) -> None:
        """All steps, one after the other."""
        for step in self.steps:
            self._began = time.monotonic()
            await asyncio.sleep(step.after)
            if step.beside:
                self._make_bad(step.beside)
            struck = await self._strike(step)
            self._heal()
            self.struck.append(struck)
            told = "" if struck.back is None else f": back after {struck.back:.1f} s"
            told += "" if struck.path is None else f", path {struck.path:.1f} s"
            self.tell(
                f"{len(self.struck)}/{len(self.steps)} {step}{told}{'' if struck.hit else ': nothing was hit'}"
            )

    async def _strike(self, step: Step) -> Struck:
        fault = step.fault
        match fault.what:
            case "SIGKILL" | "SIGSTOP":
                return await self._process(step)
            case "poison":
                self._rounds += 1
                with suppress(KafkaError, TimeoutError):
                    async with asyncio.timeout(30):
                        await poison.plant(self.rig.stack.kafka, self.seed, self._rounds)
                return Struck(step, True)
            case "commit-unheard" | "commit-unanswered":
                return await self._at_commit(step)
            case "delay" | "hold":
                self._make_bad(fault)
                await asyncio.sleep(fault.seconds)
                return Struck(step, True)
            case "reset" | "cut":
                proxy = self.rig.proxies[fault.target]
                hit = proxy.reset() if fault.what == "reset" else proxy.cut()
                await asyncio.sleep(1.0)
                return Struck(step, hit > 0)

    async def _process(self, step: Step) -> Struck:
        fault = step.fault
        await self.recovery.works(fault.target, time.monotonic(), None)  # one that is away cannot be hit
        gone, since = self.rig.pid(fault.target), time.monotonic()
        if fault.what == "SIGKILL":
            hit = self.rig.kill(fault.target)
        else:
            hit, gone = self.rig.pause(fault.target, fault.detail), None
            await asyncio.sleep(fault.seconds)
            self.rig.resume()
            since = time.monotonic()
        path = asyncio.create_task(self._path(since))
        back = await self.recovery.works(fault.target, since, gone)
        return Struck(step, hit, back, await path, step.beside is None)

    async def _path(self, since: float) -> float | None:
        """Seconds until a delivery that is sent now has its entry."""
        self._canaries += 1
        key = await self.load.canary(self._canaries)
        while time.monotonic() - since < PATH_SECONDS_MAX:
            with suppress(*ABSENT):
                async with self.rig.database("order") as db:
                    if await db.fetchval(_ENTRY, *key):
                        return time.monotonic() - since
            await asyncio.sleep(0.05)
        return None

    async def _at_commit(self, step: Step) -> Struck:
        fault = step.fault
        sprung = self.rig.postgres.cut_at_commit(
            "before" if fault.what == "commit-unheard" else "after",
            lambda label: label == fault.target,
            fault.detail.encode(),
        )
        done, _ = await asyncio.wait({sprung}, timeout=COMMIT_SECONDS_MAX)
        await asyncio.sleep(0.5)
        return Struck(step, bool(done))

    def _make_bad(self, fault: Fault) -> None:
        proxy: Proxy = self.rig.proxies[fault.target]
        if fault.what == "hold":
            proxy.hold("up" if fault.detail == "up" else "down")
        else:
            least, most = fault.detail.removesuffix(" ms").split("+")
            proxy.delay(int(least) / 1000, int(most) / 1000)

    def _heal(self) -> None:
        for proxy in self.rig.proxies.values():
            proxy.heal()

    async def heal(self) -> list[str]:
        """Ends every fault; the kinds that are not ready within the patience."""
        self.rig.resume()
        self._heal()
        deadline = time.monotonic() + PATIENCE_SECONDS
        missing: set[str] = set(self.rig.kinds)
        while missing and time.monotonic() < deadline:
            missing = {kind for kind in missing if not await self.rig.is_ready(kind)}
            await asyncio.sleep(0.1)
        return sorted(missing)
