"""One run: a stack, its load and its faults, then peace, and the verdict.

The seed decides what happens in the world, which faults come in which order, and whether consumers keep stable names.
How the machine mixes it is different every time; that is why a failing seed joins the corpus and is run again.
"""

import asyncio
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from qudao.client import Client
from qudao.day import stage as stages
from qudao.day.stage import Stage, set_stage

from . import check, observe
from .check import Breach
from .history import History, Outcome, outcomes, read
from .load import ANSWER_SECONDS, AT_ONCE, Load
from .recovery import limit_of
from .rig import Rig
from .schedule import Size, Step, schedule
from .storm import Storm, Struck
from .world import CANARIES, World, canary, canary_sums, world

Tell = Callable[[str], None]
UNFINISHED = "the run itself"


@dataclass
class Verdict:
    """What became of a run. It is good when `breaches` and `slow` are empty and the faults have bitten."""

    seed: int
    size: Size
    steps: tuple[Step, ...]
    struck: Sequence[Struck] = ()
    breaches: list[Breach] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)  # of the first breach
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def bitten(self) -> bool:
        """Whether any event had to be dropped as a repetition: else the faults came at harmless moments only."""
        return self.counts.get("events seen twice", 0) > 0

    @property
    def good(self) -> bool:
        return not self.breaches and not self.slow and self.bitten


async def run(seed: int, size: Size, folder: Path, tell: Tell) -> Verdict:
    """The whole run in an empty `folder`; nothing of it is running when this returns."""
    began = time.monotonic()
    verdict = Verdict(seed, size, schedule(seed, size))
    happens = world(seed, size.orders)
    rig = Rig(folder, stable_members=seed % 2 == 0)
    history = History(folder / "history.jsonl")
    try:
        await rig.start()
        tell(f"the stack is up after {time.monotonic() - began:.0f} s")
        storm = await _storm(rig, history, happens, verdict, tell)
        for kind in await storm.heal():
            verdict.slow.append(f"{kind} was not ready after everything had healed")
        tell("all faults have ended")
        seen = await observe.observe(rig, tell)
        known, told = await asyncio.to_thread(_told, history.path)
        expected = {**happens.orders, **{canary(n)[0]: canary_sums() for n in range(1, storm.canaries + 1)}}
        verdict.breaches = check.all_of_it(known, told, expected, seen)
        verdict.counts = _counts(known, seen, storm)
        verdict.slow += _slow(storm.struck)
        if verdict.breaches:
            verdict.evidence = await _evidence(rig, history.path, verdict.breaches[0])
    except Exception as failure:  # what ends a run early is told like everything else that went wrong
        verdict.breaches.append(Breach("fault", UNFINISHED, f"{type(failure).__name__}: {failure}"))
        verdict.evidence = traceback.format_exc().splitlines()[-20:]
    finally:
        history.close()
        await rig.stop()
    verdict.seconds = time.monotonic() - began
    return verdict


async def _storm(rig: Rig, history: History, happens: World, verdict: Verdict, tell: Tell) -> Storm:
    """Load and faults together, until both are over."""
    async with AsyncExitStack() as exits:
        client = await exits.enter_async_context(Client.connect(rig.stack))
        limits = httpx.Limits(max_connections=AT_ONCE + 8, keepalive_expiry=2)
        http = await exits.enter_async_context(
            httpx.AsyncClient(
                timeout=httpx.Timeout(ANSWER_SECONDS, connect=2), limits=limits, trust_env=False
            )
        )
        stage = await set_stage(client, happens.day)
        await _connect_canaries(client, stage)
        load = Load(client, http, history, happens, stage)
        storm = Storm(rig, load, verdict.seed, verdict.steps, tell)
        await storm.recovery.prepare()
        load.progress = lambda: storm.progress
        tell(f"{len(happens.events)} events and {len(verdict.steps)} faults begin")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run())
                group.create_task(storm.run())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            verdict.struck = storm.struck
        tell(f"{load.done} events done, {load.retries} calls repeated")
    return storm


async def _connect_canaries(client: Client, stage: Stage) -> None:
    body = {"platform": CANARIES.platform, "shop_id": CANARIES.shop_id, "slug": CANARIES.slug}
    made = await client.post("order", "/v1/connections", body)
    stage.secrets[CANARIES] = [made["secret"]]
    await stages.bind(client, CANARIES, stage.partners[CANARIES.partner])


def _told(path: Path) -> tuple[dict[tuple[str, str], Outcome], list[tuple[str, str, int, str]]]:
    """What the history says: outcomes, and every answer that was no success."""
    lines = list(read(path))
    refused = [
        (line.op, line.key, int(line.more["status"]), str(line.more.get("code", "")))
        for line in lines
        if line.kind in ("fail", "info") and "status" in line.more
    ]
    return outcomes(lines), refused


def _counts(known: dict[tuple[str, str], Outcome], seen: check.Seen, storm: Storm) -> dict[str, int]:
    calls = [each for (op, _), each in known.items() if op == "deliver"]
    commands = [each for (op, _), each in known.items() if op in check.COMMANDS]
    return {
        "deliveries acknowledged": sum(each.kinds["ok"] for each in calls),
        "forgeries refused": sum(each.kinds["fail"] for (op, _), each in known.items() if op == "forge"),
        "calls of unknown outcome": sum(each.kinds["info"] for each in known.values()),
        "events": len(seen.sent),
        "events seen twice": check.repetitions(seen.sent),
        "deliveries seen twice": sum(max(0, each.kinds["ok"] - 1) for each in calls),
        "commands": len(commands),
        "commands seen twice": sum(each.replayed for each in commands),
        "poison parked": len(seen.parked),
        "entries": sum(f.figures.get("entries", 0) for f in seen.findings if f.equation == "7 blocks"),
    }


def _slow(struck: Sequence[Struck]) -> list[str]:
    """Recoveries beyond their limit, where nothing else was wrong at the same time; those that never came."""
    found = []
    for each in struck:
        fault = each.step.fault
        if fault.what not in ("SIGKILL", "SIGSTOP") or not each.hit:
            continue
        if each.back is None or each.path is None:
            found.append(f"{each.step}: it never worked again")
        elif fault.what == "SIGKILL" and each.alone and each.back > limit_of(fault.target):
            found.append(f"{each.step}: {each.back:.1f} s, at most {limit_of(fault.target):g} s")
    return found


async def _evidence(rig: Rig, history: Path, breach: Breach) -> list[str]:
    """What the history and the databases say of one offending key."""
    lines = [
        str(
            {"t": line.t, "actor": line.actor, "op": line.op, "key": line.key, "kind": line.kind, **line.more}
        )
        for line in read(history)
        if line.key == breach.key or line.more.get("order") == breach.key
    ]
    order = breach.key
    for line in read(history):
        if line.key == breach.key and line.more.get("order"):
            order = line.more["order"]
    return [
        *lines[:8],
        *(["…"] if len(lines) > 16 else []),
        *lines[8:][-8:],
        *await observe.slice_of(rig, order),
    ]
