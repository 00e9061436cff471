"""Tells what became of runs: tables for people, and everything that is needed to look into a failure."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

from rich.console import Console
from rich.table import Table

from .check import WORDS
from .recovery import limit_of
from .run import Verdict
from .schedule import KINDS
from .storm import Struck

CORPUS: Final = Path(__file__).with_name("corpus.txt")
KILLS_MIN, KILLS_OF_A_KIND_MIN, STOPS_MIN = 100, 10, 20
BREACHES_SHOWN: Final = 12


def corpus() -> list[int]:
    """The seeds that failed once, in the order in which they did."""
    lines = CORPUS.read_text().splitlines()
    return [int(line.partition("#")[0]) for line in lines if line.partition("#")[0].strip()]


def remember(seed: int, why: str) -> None:
    """Adds a seed to those that every run repeats."""
    if seed not in corpus():
        with CORPUS.open("a") as file:
            file.write(f"{seed}  # {why[:90]}\n")


def show(console: Console, verdict: Verdict) -> None:
    """One run."""
    word = "[green]holds[/]" if verdict.good else "[bold red]BROKEN[/]"
    console.print(
        f"[bold]seed {verdict.seed}, {verdict.size.name}[/]: {word} after {verdict.seconds:.0f} s; "
        + ", ".join(f"{name} {count}" for name, count in verdict.counts.items())
    )
    if verdict.good:
        return
    for breach in verdict.breaches[:BREACHES_SHOWN]:
        console.print(
            f"  {breach.word} {breach.key}: {breach.text}", style="red", markup=False, highlight=False
        )
    if len(verdict.breaches) > BREACHES_SHOWN:
        console.print(f"  … and {len(verdict.breaches) - BREACHES_SHOWN} more")
    for slow in verdict.slow:
        console.print(f"  {slow}", style="red", markup=False)
    if not verdict.breaches and not verdict.bitten:
        console.print("  the faults did not bite: no event was seen twice", style="red")
    console.print(f"Repeat it with --seed {verdict.seed} --size {verdict.size.name}. Its faults:")
    struck = [each.step for each in verdict.struck]
    for number, step in enumerate(verdict.steps, 1):
        done = "" if number <= len(struck) else " (not reached)"
        console.print(f"  {number:3} {step}{done}", style="dim", markup=False, highlight=False)
    if verdict.evidence:
        console.print(f"What is known of {verdict.breaches[0].key}:", markup=False)
        for line in verdict.evidence:
            console.print(f"  {line}", style="dim", markup=False, highlight=False, soft_wrap=True)


def summary(console: Console, verdicts: Sequence[Verdict]) -> None:
    """All runs together."""
    struck = [each for verdict in verdicts for each in verdict.struck]
    _faults(console, struck)
    _recoveries(console, struck)
    words = Counter(breach.word for verdict in verdicts for breach in verdict.breaches)
    totals: Counter[str] = Counter()
    for verdict in verdicts:
        totals.update(verdict.counts)
    table = Table("what", "count", title=f"{len(verdicts)} runs")
    for name, count in totals.items():
        table.add_row(name, str(count))
    for word in WORDS:
        table.add_row(word, f"[{'red' if words[word] else 'green'}]{words[word]}[/]")
    console.print(table)


def too_few(verdicts: Sequence[Verdict]) -> list[str]:
    """What a full run owes and these have not given: faults that hit."""
    hit = [each for verdict in verdicts for each in verdict.struck if each.hit]
    kills = Counter(each.step.fault.target for each in hit if each.step.fault.what == "SIGKILL")
    stops = sum(each.step.fault.what == "SIGSTOP" for each in hit)
    found = [f"{kind}: {kills[kind]} SIGKILL" for kind in KINDS if kills[kind] < KILLS_OF_A_KIND_MIN]
    if kills.total() < KILLS_MIN:
        found.append(f"{kills.total()} SIGKILL in all")
    if stops < STOPS_MIN:
        found.append(f"{stops} SIGSTOP in all")
    return found


def _faults(console: Console, struck: Sequence[Struck]) -> None:
    counts = Counter((each.step.fault.what, each.step.fault.target) for each in struck if each.hit)
    table = Table("fault", "hits", "targets", title="Faults")
    for what in dict.fromkeys(what for what, _ in sorted(counts)):
        targets = {target: n for (each, target), n in sorted(counts.items()) if each == what}
        told = ", ".join(f"{target} {n}" for target, n in targets.items())
        table.add_row(what, str(sum(targets.values())), told)
    missed = sum(not each.hit for each in struck)
    table.add_row("hit nothing", str(missed), "")
    console.print(table)


def _recoveries(console: Console, struck: Sequence[Struck]) -> None:
    """Seconds until the work went on, by kind: from the kill, from the end of a stop, and the way into the ledger."""
    table = Table(
        "kind", "limit", "killed: median", "max", "beside another fault: max", "stopped: max", "path: max"
    )
    table.title = "Recovery, seconds"
    for kind in KINDS:
        of = [each for each in struck if each.step.fault.target == kind and each.hit]
        killed = [each for each in of if each.step.fault.what == "SIGKILL"]
        alone = [each.back for each in killed if each.alone and each.back is not None]
        beside = [each.back for each in killed if not each.alone and each.back is not None]
        stopped = [each.back for each in of if each.step.fault.what == "SIGSTOP" and each.back is not None]
        paths = [each.path for each in of if each.path is not None]
        late = bool(alone) and max(alone) > limit_of(kind)
        worst = f"[{'red' if late else 'green'}]{max(alone):.1f}[/]" if alone else "–"
        table.add_row(
            kind,
            f"{limit_of(kind):g}",
            f"{median(alone):.1f}" if alone else "–",
            worst,
            *(f"{max(each):.1f}" if each else "–" for each in (beside, stopped, paths)),
        )
    console.print(table)
