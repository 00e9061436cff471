"""`qudao up`: everything on one machine, from an empty folder to addresses that answer.

Owns the order of the steps, what the terminal shows meanwhile, and the end: whatever happens, nothing is left
running. The processes are described by `qudao.stack` and kept by `qudao.supervisor`. `demo` runs on `on_ready`.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from channel_kit.local import jars
from channel_kit.local.jars import NoBroker
from channel_kit.local.server import bond
from channel_kit.provision import provision
from channel_kit.topics import create_topics
from qudao.stack import SERVICES, Stack, database_name, service_command
from qudao.supervisor import Child, ChildFailed, Supervisor, end_leftovers

T = TypeVar("T")

INTERRUPTED = 130  # what a shell expects of a program that Ctrl-C ended


class AlreadyRunning(RuntimeError):
    """Another `up` holds the folder; the message says which."""


class MigrationFailed(RuntimeError):
    """A service could not bring its tables up to date; the message ends with its output."""


async def up(
    data: Path,
    *,
    on_ready: Callable[[Stack], Awaitable[int]] | None = None,
    after_ready: Callable[[Stack], Awaitable[int]] | None = None,
    console: Console | None = None,
) -> int:
    """Start everything in `data`, then stay until Ctrl-C; or run `on_ready` and stop. The exit status.

    0 after Ctrl-C on a stack that was up, what `on_ready` returned, 130 when interrupted earlier, 1 when a part
    could not be started (the reason is printed). `after_ready` runs while the stack stays; its result takes the
    place of the 0. A second Ctrl-C kills at once.
    """
    console = console or Console()
    data = await asyncio.to_thread(data.resolve)
    console.print(f"[bold]Qudao[/] in {data}")
    try:
        with _locked(data):
            return await _run(data, on_ready, after_ready, console)
    except (AlreadyRunning, ChildFailed, MigrationFailed, NoBroker) as failure:
        console.print(Text("Not started. ", style="bold red").append(str(failure), style="default"))
        return 1


async def _run(
    data: Path,
    on_ready: Callable[[Stack], Awaitable[int]] | None,
    after_ready: Callable[[Stack], Awaitable[int]] | None,
    console: Console,
) -> int:
    steps = _Steps(console)
    supervisor = Supervisor(data / "run.json", console)
    async with _interruptible(supervisor) as interrupted:
        try:
            starting = asyncio.create_task(_start(data, supervisor, steps))
            if not await _unless(interrupted, starting):
                return INTERRUPTED
            stack = starting.result()
            _show(stack, supervisor, console)
            work = on_ready or after_ready
            status = 0
            if work is not None:
                working = asyncio.ensure_future(work(stack))
                if not await _unless(interrupted, working):
                    return INTERRUPTED
                status = working.result()
            if on_ready is None:
                await interrupted.wait()
            return status
        finally:
            with steps.step("stopping"):
                await supervisor.stop()


async def _start(data: Path, supervisor: Supervisor, steps: "_Steps") -> Stack:
    left = await asyncio.to_thread(end_leftovers, data / "run.json")
    if left:
        steps.console.print(f"ended what an earlier run left: {', '.join(left)}")
    stack = await asyncio.to_thread(Stack.prepare, data)
    servers = {child.name: child for child in stack.servers()}
    async with _all_or_nothing() as group:
        group.create_task(_database(stack, servers.get("postgres"), supervisor, steps))
        group.create_task(_broker(stack, servers.get("kafka"), supervisor, steps))
    with steps.step("services"):
        await supervisor.start(stack.services())
    return stack


async def _database(stack: Stack, child: Child | None, supervisor: Supervisor, steps: "_Steps") -> None:
    if child is not None:
        with steps.step("PostgreSQL"):
            await supervisor.start([child])
    with steps.step("databases and roles"):
        for service in SERVICES:
            await provision(
                stack.admin_url,
                service,
                database=database_name(service),
                **{f"{role}_password": word for role, word in stack.passwords[service].items()},
            )
    with steps.step("migrations"):
        # Two at a time: each is mostly the start of a Python.
        slots = asyncio.Semaphore(2)
        async with _all_or_nothing() as group:
            for service in SERVICES:
                group.create_task(_migrate(stack, service, slots))


async def _broker(stack: Stack, child: Child | None, supervisor: Supervisor, steps: "_Steps") -> None:
    if child is not None:
        if not jars.is_cached():
            with steps.step("fetching Apache Kafka from Maven, once"):
                await asyncio.to_thread(jars.class_path)
        with steps.step("Kafka"):
            await supervisor.start([child])
    with steps.step("topics"):
        await create_topics(stack.kafka)


async def _migrate(stack: Stack, service: str, slots: asyncio.Semaphore) -> None:
    async with slots:
        process = await asyncio.create_subprocess_exec(
            *service_command(service, "migrate"),
            env=stack.environment(service),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=bond(signal.SIGKILL),
        )
        try:
            said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    if process.returncode != 0:
        raise MigrationFailed(
            f"{service} could not migrate its database\n{said.decode(errors='replace')[-3000:]}"
        )


def _show(stack: Stack, supervisor: Supervisor, console: Console) -> None:
    pids = supervisor.pids()
    table = Table(box=None, header_style="dim")
    for column in ("", "address", "documentation", "process"):
        table.add_column(column)
    for service in SERVICES:
        url = stack.url(service)
        table.add_row(service, url, f"{url}/docs", str(pids.get(service, "restarting")))
    database = f"127.0.0.1:{stack.ports['postgres']}" if stack.postgres_server else "QUDAO_POSTGRES"
    table.add_row("postgres", database, "", str(pids.get("postgres", "not ours")))
    table.add_row("kafka", stack.kafka, "", str(pids.get("kafka", "not ours")))
    console.print(table)
    console.print(
        f"Administrator: {stack.data / 'admin.json'}. Kill any process, it comes back. Ctrl-C stops."
    )


class _Steps:
    """Says what is being done now (on a terminal) and what was done, with seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._now: dict[str, float] = {}
        self._status: Status | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = self._now[name] = time.monotonic()
        self._redraw()
        try:
            yield
        except BaseException:
            self._now.pop(name)
            self._redraw()
            raise
        self._now.pop(name)
        self.console.print(f"[green]✓[/] {name:<42}{time.monotonic() - began:6.1f} s", highlight=False)
        self._redraw()

    def _redraw(self) -> None:
        if self._status is not None and not self._now:
            self._status.stop()
            self._status = None
        elif self._now and self._status is None:
            self._status = self.console.status(" · ".join(self._now))
            self._status.start()
        elif self._status is not None:
            self._status.update(" · ".join(self._now))


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    """Hold the folder. The kernel lets go of it when this process ends, however it ends."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (data / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise AlreadyRunning(
                f"It runs already on {data} (process {holder}): stop that one, or name another folder with --data."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@asynccontextmanager
async def _interruptible(supervisor: Supervisor) -> AsyncIterator[asyncio.Event]:
    """The event is set by the first SIGINT, SIGTERM or SIGHUP; the second kills every child."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()

    def interrupt() -> None:
        if event.is_set():
            supervisor.kill()
        event.set()

    # A hang-up that was told to be ignored (nohup) stays so.
    hang_up = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    signals = (signal.SIGINT, signal.SIGTERM, *hang_up)
    for number in signals:
        loop.add_signal_handler(number, interrupt)
    try:
        yield event
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


async def _unless(interrupted: asyncio.Event, work: "asyncio.Future[T]") -> bool:
    """Wait for `work`; when the interruption comes first, cancel it and say False."""
    waiting = asyncio.create_task(interrupted.wait())
    both: set[asyncio.Future[Any]] = {waiting, work}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if work.done():
        return True
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    return False


@asynccontextmanager
async def _all_or_nothing() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group whose first failure is raised as itself, not inside a group of exceptions."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
