"""`python -m tests.chaos`: three large seeds, after all that ever failed; succeeds only when nothing is off."""

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from . import report
from .run import UNFINISHED, Verdict, run
from .schedule import LARGE, REPEAT, SMALL, Size

SEEDS = (2024, 7, 31337)


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--seed", type=int, action="append", help="instead of the usual three; may be repeated"
    )
    parser.add_argument("--random", type=int, metavar="N", default=0, help="that many seeds drawn by chance")
    parser.add_argument("--size", choices=["small", "large", "repeat"], default="large")
    parser.add_argument("--keep", type=Path, help="a new folder for histories and logs, which stay")
    asked = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 150)
    size = {each.name: each for each in (SMALL, LARGE, REPEAT)}[asked.size]
    drawn = [secrets.randbelow(10**6) for _ in range(asked.random)]
    seeds = [*(asked.seed or []), *drawn] or [*SEEDS]
    repeated = [] if asked.seed else report.corpus()
    with tempfile.TemporaryDirectory(prefix="qudao-chaos-") as scratch:
        folder = asked.keep or Path(scratch)
        runs = [*((seed, REPEAT) for seed in repeated), *((seed, size) for seed in seeds)]
        verdicts = list(_runs(console, folder, runs))
    report.summary(console, verdicts)
    few = report.too_few(verdicts) if len(seeds) >= len(SEEDS) and size is LARGE else []
    for each in few:
        console.print(f"[red]Too few faults: {each}.[/]")
    good = all(verdict.good for verdict in verdicts) and not few
    console.print("[green]Nothing lost, nothing doubled.[/]" if good else "[bold red]Something is off.[/]")
    return 0 if good else 1


def _runs(console: Console, folder: Path, runs: list[tuple[int, Size]]) -> Iterator[Verdict]:
    for number, (seed, size) in enumerate(runs, 1):
        console.rule(f"run {number} of {len(runs)}: seed {seed}, {size.name}")
        where = folder / f"{size.name}-{seed}"
        where.mkdir(parents=True)
        began = time.monotonic()

        def tell(text: str, began: float = began) -> None:
            console.print(f"{time.monotonic() - began:6.1f} s  {text}", markup=False, highlight=False)

        verdict = asyncio.run(run(seed, size, where, tell))
        report.show(console, verdict)
        if any(breach.key != UNFINISHED for breach in verdict.breaches):
            report.remember(seed, f"{verdict.breaches[0].word}: {verdict.breaches[0].text}")
        yield verdict


sys.exit(main())
