"""What figures are made of: medians, turns, goals, CPU seconds; and one path from the command line to its JSON."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.measure import Cpu, Figure, Sample, interleave, median, meets, quantile

ROOT = Path(__file__).parents[2]


def test_a_median_is_taken_field_by_field() -> None:
    samples = [
        Sample(10, 5.0, 9.0, {"service": 0.3}),
        Sample(30, 1.0, 7.0, {"service": 0.1, "postgres": 0.5}),
        Sample(20, 3.0, None, {"service": 0.2, "postgres": 0.7}),
    ]
    assert median(samples) == Sample(20, 3.0, 8.0, {"postgres": 0.5, "service": 0.2})
    assert median([Sample(1), Sample(3)]) == Sample(2, None, None, None)


async def test_sides_take_turns_and_the_first_one_changes() -> None:
    turns: list[str] = []
    said: list[str] = []
    rates = {"a": iter([1.0, 9.0, 2.0]), "b": iter([5.0, 5.0, 6.0]), "c": iter([7.0, 8.0, 9.0])}

    def side(name: str) -> object:
        async def run() -> Sample:
            turns.append(name)
            return Sample(next(rates[name]))

        return run

    found = await interleave({name: side(name) for name in rates}, 3, said.append)  # type: ignore[misc]
    assert "".join(turns) == "abcbcacab"
    assert {name: sample.rate for name, sample in found.items()} == {"a": 2.0, "b": 5.0, "c": 8.0}
    assert len(said) == 9
    assert said[0].startswith("a, 1 of 3: 1/s")


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        (">= 20", 20, True),
        (">= 20", 19.99, False),
        ("<= 0.6", 0.6, True),
        ("<= 0.6", 0.61, False),
        ("== 0", 0, True),
        ("== 0", 1, False),
        ("", 5, None),
    ],
)
def test_a_goal_is_met_or_not_or_there_is_none(goal: str, value: float, met: bool | None) -> None:
    assert meets(goal, value) is met


@pytest.mark.parametrize("goal", ["20", "> 20", ">=20", ">= twenty", ">= 2 "])
def test_a_goal_that_cannot_be_read_is_refused(goal: str) -> None:
    with pytest.raises(ValueError, match="no goal"):
        meets(goal, 1)


def test_a_figure_works_its_ratio_and_verdict_out() -> None:
    sample = Sample(300, 1.5, 4.5, {"service": 0.001})
    figure = Figure.compare("intake", 300, "/s", "twin", 10, ">= 20", sample=sample)
    assert (figure.ratio, figure.met) == (30, True)
    assert (figure.p50_ms, figure.p99_ms, figure.cpu) == (1.5, 4.5, {"service": 0.001})
    assert Figure.compare("intake", 300, "/s", "twin", 20, ">= 20").met is False
    assert Figure.compare("intake", 1, "/s", "twin", 1).met is None
    assert Figure.absolute("lost", 0, "", "== 0").met is True
    assert Figure.absolute("p99", 250, "ms", "<= 200").met is False


def test_a_quantile_is_a_value_that_was_there() -> None:
    ordered = [float(n) for n in range(1, 101)]
    assert (quantile(ordered, 0.5), quantile(ordered, 0.99), quantile([3.0], 0.99)) == (51.0, 100.0, 3.0)


def test_cpu_counts_a_process_and_its_children_and_nobody_else() -> None:
    busy = "import time\nwhile time.process_time() < 0.4: pass\n"
    child = f"subprocess.run([sys.executable, '-c', {busy!r}])"
    parent = f"import subprocess, sys; input(); {child}; print('done', flush=True); input()"
    with (
        _python(parent) as working,
        _python("input()") as idle,
    ):
        with Cpu({"working": [working.pid], "idle": [idle.pid]}) as cpu:
            working.stdin.write(b"\n")  # type: ignore[union-attr]
            working.stdin.flush()  # type: ignore[union-attr]
            assert working.stdout.readline() == b"done\n"  # type: ignore[union-attr]
        spent = cpu.by_kind()
        assert 0.35 < spent["working"] < 2
        assert spent["idle"] < 0.1
        assert cpu.each(4)["working"] == pytest.approx(spent["working"] / 4)
        assert cpu.seconds > 0.35
        assert cpu.machine > 0.3
        for process in (working, idle):
            process.communicate(b"\n")


def _python(program: str) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    time.sleep(0.2)  # its own start is not what is measured
    return process


def test_one_path_runs_and_is_written_down(tmp_path: Path) -> None:
    results = tmp_path / "figures.json"
    command = [sys.executable, "-m", "bench", "intake", "--small", "--results", str(results)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    figures = json.loads(results.read_text())
    fields = {
        "path",
        "ours",
        "unit",
        "reference",
        "reference_value",
        "ratio",
        "goal",
        "met",
        "p50_ms",
        "p99_ms",
    }
    assert all(fields <= figure.keys() for figure in figures)
    goals = {(figure["path"], figure["reference"]): figure for figure in figures if figure["goal"]}
    assert len(goals) == 5
    assert goals["intake, 32 clients", "FastAPI + ORM"]["ratio"] > 1
    assert goals["intake, kill -9, acknowledged and lost", ""]["met"] is True
    assert "kill -9" in ran.stdout


def test_a_path_that_is_not_there_is_refused() -> None:
    command = [sys.executable, "-m", "bench", "nonsense"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 2
    assert "nonsense" in ran.stderr
