"""Keeps a set of processes running on one machine, and leaves none behind.

Owns spawning in order, one output with coloured names, restarting what died, stopping in reverse order, and
the list of processes in `run.json`. Knows nothing of what the processes are: `qudao.stack` says that, and
`qudao.up` calls this. Never touches a process that it did not start.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Console
from rich.text import Text

from channel_kit.local.server import bond

RUN_VARIABLE = "QUDAO_RUN"  # in every child's environment: which run it belongs to
_FIRST_PAUSE, _LONGEST_PAUSE, _HEALTHY_AFTER = 0.2, 5.0, 30.0  # seconds
_TRIES_BEFORE_READY = 3
_MISSES_ALLOWED = 3
_COLOURS = ("cyan", "green", "yellow", "blue", "magenta", "bright_cyan", "bright_green", "bright_yellow")


class ChildFailed(RuntimeError):
    """A process ended again and again, or never became ready; the message ends with its last output."""


@dataclass(frozen=True)
class Child:
    """A process to keep running.

    `prepare` runs before every start, `ready` is asked until it says yes, and from then on `alive`, where
    given; all may block, they get a thread. A child is spawned once those named in `after` are ready, and
    stopped before them. Lines that match `noise` are kept for the report of a failure but not shown.
    """

    name: str
    argv: Callable[[], Sequence[str]]
    env: Mapping[str, str]
    ready: Callable[[], bool]
    after: tuple[str, ...] = ()
    prepare: Callable[[], None] | None = None
    alive: Callable[[], bool] | None = None
    alive_every: float = 5.0
    noise: re.Pattern[str] | None = None
    user: str | None = None
    port: int | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    kill_signal: signal.Signals = signal.SIGKILL
    death_signal: signal.Signals = signal.SIGKILL
    grace: float = 20.0
    start_timeout: float = 60.0


@dataclass
class _State:
    child: Child
    colour: str
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    process: asyncio.subprocess.Process | None = None
    task: asyncio.Task[None] | None = None
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=40))


class Supervisor:
    """Keeps children running until `stop`. Use it from the main thread: the children's lives hang on it."""

    def __init__(self, run_file: Path, console: Console) -> None:
        self._run_file, self._console = run_file.absolute(), console
        self._states: dict[str, _State] = {}
        self._stopping = asyncio.Event()

    async def start(self, children: Sequence[Child]) -> None:
        """Start `children`; return when all are ready, raise `ChildFailed` when one cannot be.

        From then on each is restarted whenever it ends. Children named in `after` must be known already or be
        among these.
        """
        new = [
            _State(child, _COLOURS[(len(self._states) + n) % len(_COLOURS)])
            for n, child in enumerate(children)
        ]
        self._states |= {state.child.name: state for state in new}
        for state in new:
            state.task = asyncio.create_task(self._keep(state), name=f"keep {state.child.name}")
        await asyncio.gather(*(self._until_ready(state, state.task) for state in new if state.task))

    async def stop(self) -> None:
        """Stop every child, those that others need last; kill what does not end within its grace."""
        self._stopping.set()
        for level in sorted({self._level(state) for state in self._states.values()}, reverse=True):
            await asyncio.gather(*(self._end(s) for s in self._states.values() if self._level(s) == level))
        self._run_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """End every child now, without asking. `stop` still has to be awaited."""
        self._stopping.set()
        for state in self._states.values():
            _send(state, state.child.kill_signal)

    def pids(self) -> dict[str, int]:
        """The process of each child that runs at this moment."""
        return {name: s.process.pid for name, s in self._states.items() if s.process is not None}

    def _level(self, state: _State) -> int:
        return 1 + max((self._level(self._states[name]) for name in state.child.after), default=0)

    async def _until_ready(self, state: _State, life: "asyncio.Task[None]") -> None:
        ready = asyncio.create_task(state.ready.wait())
        await asyncio.wait({ready, life}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if life.done() and not state.ready.is_set():
            life.result()
            raise ChildFailed(f"{state.child.name} was stopped before it was ready")

    async def _keep(self, state: _State) -> None:
        """One child's life: wait for its turn, start, watch, pause, start again."""
        child, pause, tries, ever_ready = state.child, _FIRST_PAUSE, 0, False
        for name in child.after:
            await self._unless_stopping(self._states[name].ready.wait())
        while not self._stopping.is_set():
            tries += 1
            began = time.monotonic()
            ended, ready_at = await self._live(state)
            if self._stopping.is_set():
                return
            ever_ready = ever_ready or ready_at is not None
            if not ever_ready and tries >= _TRIES_BEFORE_READY:
                raise ChildFailed("\n".join([f"{child.name} {ended}", *state.tail]))
            if ready_at is not None and time.monotonic() - ready_at >= _HEALTHY_AFTER:
                pause = _FIRST_PAUSE
            lived = time.monotonic() - began
            self._say(state, f"{ended} after {lived:.1f} s; starting again in {pause:.1f} s", own=True)
            await self._unless_stopping(asyncio.sleep(pause))
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _live(self, state: _State) -> tuple[str, float | None]:
        """Start once and stay until the process ended: how it ended, and when (monotonic) it was ready."""
        child = state.child
        state.tail.clear()
        try:
            if child.prepare is not None:
                await asyncio.to_thread(child.prepare)
            if self._stopping.is_set():
                return "was not started", None
            process = state.process = await self._spawn(child)
        except Exception as failure:
            # A start that cannot happen now is a start that failed: it is told, and tried again.
            return f"could not be started ({failure})", None
        if self._stopping.is_set():  # the request to stop came too early to reach this process
            _send(state, child.stop_signal)
        self._write_run_file()
        reading = asyncio.create_task(self._relay_output(state, process))
        ended = asyncio.create_task(process.wait())
        ready_at = await self._until_it_answers(state, ended)
        await self._while_it_answers(state, ended)
        code = await ended
        # What the process left in its own group goes with it; output may still be in the pipe.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.wait({reading}, timeout=1)
        reading.cancel()
        state.process = None
        state.ready.clear()
        self._write_run_file()
        return (f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"), ready_at

    async def _until_it_answers(self, state: _State, ended: "asyncio.Task[int]") -> float | None:
        """When (monotonic) the child became ready; `None` when it ended before. Too late = killed."""
        deadline = time.monotonic() + state.child.start_timeout
        while not ended.done():
            if await asyncio.to_thread(state.child.ready):
                state.ready.set()
                return time.monotonic()
            if time.monotonic() > deadline:
                self._say(state, f"not ready after {state.child.start_timeout:g} s: killed", own=True)
                _send(state, state.child.kill_signal)
                break
            await asyncio.wait({ended}, timeout=0.05)
        return None

    async def _while_it_answers(self, state: _State, ended: "asyncio.Task[int]") -> None:
        """Return when the child ended; kill one that said three times in a row that it is stuck."""
        child, misses = state.child, 0
        while child.alive is not None and not ended.done():
            await asyncio.wait({ended}, timeout=child.alive_every)
            if ended.done() or self._stopping.is_set():
                return
            misses = 0 if await asyncio.to_thread(child.alive) else misses + 1
            if misses >= _MISSES_ALLOWED:
                self._say(state, "does not answer or says it is stuck: killed", own=True)
                _send(state, child.kill_signal)
                return

    async def _spawn(self, child: Child) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *child.argv(),
            env={**child.env, RUN_VARIABLE: str(self._run_file)},
            user=child.user,
            group=child.user,
            extra_groups=None if child.user is None else [],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=1 << 20,
            # Another user may not be allowed where we are.
            cwd=None if child.user is None else "/",
            start_new_session=True,  # so that Ctrl-C reaches us alone, and we stop them in order
            preexec_fn=bond(child.death_signal),
        )

    async def _end(self, state: _State) -> None:
        if state.task is None:
            return
        _send(state, state.child.stop_signal)
        _, late = await asyncio.wait({state.task}, timeout=state.child.grace)
        if late:
            _send(state, state.child.kill_signal)
            _, late = await asyncio.wait({state.task}, timeout=6)
        if late:
            _send(state, signal.SIGKILL)
        # How it failed was told by `start`; here only the end matters.
        await asyncio.wait({state.task})

    async def _unless_stopping(self, waiting: Coroutine[object, object, object]) -> None:
        tasks = {asyncio.create_task(waiting), asyncio.create_task(self._stopping.wait())}
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    async def _relay_output(self, state: _State, process: asyncio.subprocess.Process) -> None:
        while process.stdout is not None:
            try:
                line = await process.stdout.readline()
            except ValueError:  # a line longer than the limit: that much of it is dropped
                continue
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            state.tail.append(text)
            if state.child.noise is None or not state.child.noise.search(text):
                self._say(state, text)

    def _say(self, state: _State, text: str, *, own: bool = False) -> None:
        line = Text(f"{state.child.name:>10} │ ", style=state.colour)
        line.append_text(Text(text, style="bold red") if own else Text.from_ansi(text))
        self._console.print(line, soft_wrap=True)

    def _write_run_file(self) -> None:
        running = [(s.child, s.process) for s in self._states.values() if s.process is not None]
        children = [{"name": c.name, "pid": p.pid, "port": c.port} for c, p in running]
        draft = self._run_file.with_suffix(".new")
        draft.write_text(json.dumps({"supervisor": os.getpid(), "children": children}, indent=1) + "\n")
        draft.rename(self._run_file)


def _send(state: _State, number: signal.Signals) -> None:
    if state.process is not None and state.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            state.process.send_signal(number)


def end_leftovers(run_file: Path) -> list[str]:
    """End what a killed supervisor left running; the names of what was found. Blocks up to 20 s.

    A process counts only when its own environment says that it belongs to this run: numbers are used again.
    """
    try:
        listed = json.loads(run_file.read_text())["children"]
    except (OSError, ValueError, KeyError):
        return []
    found: dict[str, psutil.Process] = {}
    for entry in listed:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(entry["pid"])
            if process.environ().get(RUN_VARIABLE) == str(run_file.absolute()):
                found[entry["name"]] = process
    for process in found.values():
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGINT)
    _, alive = psutil.wait_procs(list(found.values()), timeout=15)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=5)
    return list(found)
