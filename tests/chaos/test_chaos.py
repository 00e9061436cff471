"""The small run of the chaos rig, after the seeds that failed once; `python -m tests.chaos` is the full one."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from . import report
from .run import UNFINISHED, run
from .schedule import REPEAT, SMALL, Size

SEED = 11


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("seed", "size"), [*((seed, REPEAT) for seed in report.corpus()), (SEED, SMALL)])
async def test_nothing_is_lost_or_doubled_whatever_is_killed(seed: int, size: Size, tmp_path: Path) -> None:
    said = io.StringIO()
    console = Console(file=said, width=200)
    verdict = await run(seed, size, tmp_path, lambda text: console.print(text, markup=False))
    report.show(console, verdict)
    report.summary(console, [verdict])
    if any(breach.key != UNFINISHED for breach in verdict.breaches):
        report.remember(seed, f"{verdict.breaches[0].word}: {verdict.breaches[0].text}")
    assert verdict.good, said.getvalue()
