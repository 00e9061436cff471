"""`python -m bench [paths…]`: measures one path after another, prints the table, writes it down as JSON.

A goal that is not met is a figure, and the run still succeeds; a wrong result (lost, oversold, unequal) or a path
that cannot run makes it fail.
"""

import asyncio
import importlib
import json
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.lab import Lab, Options
from bench.measure import Figure, Incorrect

PATHS = ("intake", "stock", "accrual", "relay", "drain", "workers", "history", "journey")
RESULTS = Path(__file__).parent / "results" / "latest.json"
SMALL = Options(rounds=1, seconds=1.0, small=True)


def main(
    paths: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(PATHS)}; all, when none.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each side takes its turn.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.5, help="How long a turn is.")] = 4.0,
    results: Annotated[Path, typer.Option(help="Where the figures are written, as JSON.")] = RESULTS,
    small: Annotated[
        bool, typer.Option("--small", help="As little as still runs; no figures to quote.")
    ] = False,
) -> None:
    """What Qudao does in a second on this machine, beside the plain way of doing the same."""
    if unknown := sorted(set(paths or ()) - set(PATHS)):
        raise typer.BadParameter(f"{', '.join(unknown)}: there are {', '.join(PATHS)}")
    options = SMALL if small else Options(rounds, seconds)
    console = Console(width=None if sys.stdout.isatty() else 160)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures, wrong = runner.run(measure(paths or list(PATHS), options, console))
    console.print(table(figures))
    for figure in figures:
        if said := "; ".join(filter(None, (figure.note, split(figure)))):
            console.print(Text(f"{figure.path}: {said}", "dim"))
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps([entry(figure) for figure in figures], indent=1, ensure_ascii=False) + "\n")
    for line in wrong:
        console.print(Text(line, style="bold red"))
    raise typer.Exit(1 if wrong else 0)


async def measure(names: list[str], options: Options, console: Console) -> tuple[list[Figure], list[str]]:
    """The figures of the paths that ran, and one line for each that found something wrong or could not run."""
    figures: list[Figure] = []
    wrong: list[str] = []
    async with Lab() as lab:
        for name in names:
            console.print(Text(name, style="bold"))
            began = time.monotonic()
            try:
                path = importlib.import_module(f"bench.paths.{name}")
                figures += await path.measure(
                    lab, options, lambda said: console.print(f"  {said}", highlight=False)
                )
            except Incorrect as found:
                wrong.append(f"{name} is wrong: {found}")
            except Exception as failure:
                console.print(traceback.format_exc(), markup=False, highlight=False)
                wrong.append(f"{name} did not run: {type(failure).__name__}: {failure}")
            console.print(f"  {time.monotonic() - began:.0f} s", style="dim")
    return figures, wrong


def table(figures: list[Figure]) -> Table:
    """For people; times are milliseconds, CPU is microseconds an operation."""
    shown = Table(
        "path",
        "ours",
        "p50 / p99 ms",
        "CPU µs",
        "reference",
        "its value",
        "ratio",
        "goal",
        "",
        title="Figures",
    )
    for figure in figures:
        verdict = {True: Text("met", "green"), False: Text("not met", "red"), None: Text("")}[figure.met]
        shown.add_row(
            figure.path,
            f"{number(figure.ours)} {figure.unit}",
            "" if figure.p50_ms is None else f"{number(figure.p50_ms)} / {number(figure.p99_ms or 0)}",
            number(sum(figure.cpu.values()) * 1e6) if figure.cpu else "",
            figure.reference,
            number(figure.reference_value) if figure.reference else "",
            f"{figure.ratio:.2f}" if figure.reference else "",
            figure.goal,
            verdict,
        )
    return shown


def split(figure: Figure) -> str:
    """Which process an operation costs how much CPU."""
    parts = ", ".join(f"{kind} {number(seconds * 1e6)} µs" for kind, seconds in (figure.cpu or {}).items())
    return f"CPU an operation: {parts}" if parts else ""


def number(value: float) -> str:
    """Three significant digits, or whole."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def entry(figure: Figure) -> dict[str, Any]:
    """What is written: every field; `note` and `cpu` only where there is something to say."""
    return {key: value for key, value in asdict(figure).items() if key not in ("note", "cpu") or value}


if __name__ == "__main__":
    typer.run(main)
