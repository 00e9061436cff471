"""The supervisor with real processes: order, restart, and that nothing is left behind."""

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from qudao.supervisor import RUN_VARIABLE, Child, ChildFailed, Supervisor, end_leftovers

# Says when it began and when it was told to stop; `ready` = its file exists.
_WORKER = """
import pathlib, signal, sys, time
name, folder, stubborn = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3] == "stubborn"
def note(what):
    with (folder / "history").open("a") as history:
        history.write(f"{name} {what}\\n")
def stop(*_):
    note("stopped")
    sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if stubborn else stop)
note("began")
print("hello from", name, flush=True)
time.sleep(0.2)
note("ready")
(folder / name).touch()
while True:
    time.sleep(0.02)
"""


def worker(folder: Path, name: str, *after: str, manner: str = "polite", grace: float = 20) -> Child:
    return Child(
        name=name,
        argv=lambda: [sys.executable, "-c", _WORKER, name, str(folder), manner],
        env=dict(os.environ),
        ready=(folder / name).exists,
        prepare=lambda: (folder / name).unlink(missing_ok=True),
        after=after,
        grace=grace,
    )


def history(folder: Path) -> list[str]:
    return (folder / "history").read_text().splitlines()


def pid_of(folder: Path, name: str) -> int:
    children = json.loads((folder / "run.json").read_text())["children"]
    return next(int(child["pid"]) for child in children if child["name"] == name)


@asynccontextmanager
async def supervised(folder: Path, *children: Child) -> AsyncIterator[tuple[Supervisor, io.StringIO]]:
    output = io.StringIO()
    supervisor = Supervisor(folder / "run.json", Console(file=output, width=200))
    try:
        await supervisor.start(children)
        yield supervisor, output
    finally:
        await supervisor.stop()


async def until_ready_again(folder: Path, name: str, old_pid: int) -> int:
    async with asyncio.timeout(20):
        while True:
            try:
                pid = pid_of(folder, name)
            except StopIteration:
                pid = old_pid
            if pid != old_pid and (folder / name).exists():
                return pid
            await asyncio.sleep(0.02)


async def test_children_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    async with supervised(tmp_path, worker(tmp_path, "second", "first"), worker(tmp_path, "first")) as (
        _,
        output,
    ):
        await asyncio.sleep(0.1)
    assert history(tmp_path) == [
        *("first began", "first ready", "second began", "second ready"),
        *("second stopped", "first stopped"),
    ]
    assert "first │ hello from first" in output.getvalue()
    assert not (tmp_path / "run.json").exists()


async def test_killed_child_comes_back_and_the_others_stay(tmp_path: Path) -> None:
    children = worker(tmp_path, "first"), worker(tmp_path, "second", "first")
    async with supervised(tmp_path, *children) as (supervisor, output):
        first, second = pid_of(tmp_path, "first"), pid_of(tmp_path, "second")
        os.kill(first, signal.SIGKILL)
        again = await until_ready_again(tmp_path, "first", first)
        assert supervisor.pids() == {"first": again, "second": second}
        assert "was killed by SIGKILL" in output.getvalue()


async def test_pause_between_restarts_grows(tmp_path: Path) -> None:
    async with supervised(tmp_path, worker(tmp_path, "first")) as (_, output):
        pid = pid_of(tmp_path, "first")
        for _attempt in range(3):
            os.kill(pid, signal.SIGKILL)
            pid = await until_ready_again(tmp_path, "first", pid)
    said = [line.split("again in ")[1] for line in output.getvalue().splitlines() if "again in" in line]
    assert said == ["0.2 s", "0.4 s", "0.8 s"]


async def test_child_that_ignores_the_request_is_killed_after_its_grace(tmp_path: Path) -> None:
    async with supervised(tmp_path, worker(tmp_path, "first", manner="stubborn", grace=0.5)) as (
        supervisor,
        _,
    ):
        pid = supervisor.pids()["first"]
        began = time.monotonic()
    assert 0.4 < time.monotonic() - began < 5
    assert not psutil.pid_exists(pid)


async def test_second_request_kills_without_waiting_for_the_grace(tmp_path: Path) -> None:
    async with supervised(tmp_path, worker(tmp_path, "first", manner="stubborn")) as (supervisor, _):
        asyncio.get_running_loop().call_later(0.3, supervisor.kill)
        began = time.monotonic()
        await supervisor.stop()
        assert 0.2 < time.monotonic() - began < 5


async def test_child_that_says_it_is_stuck_is_restarted(tmp_path: Path) -> None:
    child = replace(
        worker(tmp_path, "first"), alive=lambda: not (tmp_path / "stuck").exists(), alive_every=0.1
    )
    async with supervised(tmp_path, child) as (_, output):
        pid = pid_of(tmp_path, "first")
        await asyncio.sleep(0.5)
        assert pid_of(tmp_path, "first") == pid, "it answered all the time"
        (tmp_path / "stuck").touch()
        await until_ready_again(tmp_path, "first", pid)
        (tmp_path / "stuck").unlink()
        assert "says it is stuck" in output.getvalue()


async def test_child_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    child = replace(worker(tmp_path, "first"), ready=lambda: False, start_timeout=0.3)
    with pytest.raises(ChildFailed, match="first was killed by SIGKILL"):
        async with supervised(tmp_path, child):
            pytest.fail("it was never ready")


async def test_noise_is_kept_for_the_report_only(tmp_path: Path) -> None:
    child = replace(worker(tmp_path, "first"), noise=re.compile("hello"))
    async with supervised(tmp_path, child) as (_, output):
        pass
    assert "hello" not in output.getvalue()
    broken = replace(child, argv=lambda: [sys.executable, "-c", "exit('hello')"], ready=lambda: False)
    with pytest.raises(ChildFailed, match="hello"):
        async with supervised(tmp_path, broken):
            pytest.fail("it cannot have started")


async def test_child_that_cannot_start_is_reported_with_its_words(tmp_path: Path) -> None:
    broken = Child(
        name="broken",
        argv=lambda: [sys.executable, "-c", "raise SystemExit('no such colour')"],
        env=dict(os.environ),
        ready=lambda: False,
        after=("first",),
    )
    with pytest.raises(ChildFailed, match=r"broken ended with 1\n(.*\n)*no such colour"):
        async with supervised(tmp_path, worker(tmp_path, "first"), broken):
            pytest.fail("it cannot have started")
    assert history(tmp_path)[-1] == "first stopped"


async def test_program_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    missing = Child(name="missing", argv=lambda: ["/no/such/program"], env={}, ready=lambda: False)
    with pytest.raises(ChildFailed, match="missing could not be started"):
        async with supervised(tmp_path, missing):
            pytest.fail("it cannot have started")


def test_children_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        import asyncio, io, pathlib, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_supervisor import supervised, worker
        folder = pathlib.Path({str(tmp_path)!r})
        async def main():
            children = worker(folder, "first"), worker(folder, "second", manner="stubborn")
            async with supervised(folder, *children):
                print("up", flush=True)
                await asyncio.sleep(60)
        asyncio.run(main())
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == b"up\n"
        children = [psutil.Process(pid_of(tmp_path, name)) for name in ("first", "second")]
        supervisor.kill()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []


def test_leftovers_of_this_run_end_and_strangers_stay(tmp_path: Path) -> None:
    run_file = tmp_path / "run.json"
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    ours = subprocess.Popen(sleep, env={**os.environ, RUN_VARIABLE: str(run_file)})
    stranger = subprocess.Popen(sleep)
    try:
        listed = [{"name": "ours", "pid": ours.pid}, {"name": "stranger", "pid": stranger.pid}]
        run_file.write_text(json.dumps({"supervisor": 1, "children": listed}))
        assert end_leftovers(run_file) == ["ours"]
        assert ours.poll() is not None
        assert stranger.poll() is None
    finally:
        for process in (ours, stranger):
            process.kill()
            process.wait()
