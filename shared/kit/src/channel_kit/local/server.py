"""What a local server is, and how one is run as a child that cannot outlive its parent.

Owns the `Server` protocol, the choice of free ports, the bond between a child and its parent, and `running`,
the context manager of the tests. Never restarts anything: that is the supervisor of the command line, which
spawns the same commands with the same bond.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class ServerFailed(RuntimeError):
    """A local server ended, or did not become ready in time; the message ends with its last output."""


class Server(Protocol):
    """A server process that somebody else spawns, watches and stops."""

    @property
    def port(self) -> int: ...

    @property
    def user(self) -> str | None:
        """The system user to run as, when it may not be our own; `None` = our own."""
        ...

    @property
    def stop_signal(self) -> signal.Signals:
        """Asks for an orderly end."""
        ...

    @property
    def death_signal(self) -> signal.Signals:
        """Sent by the kernel when the parent dies without having stopped the server."""
        ...

    def prepare(self) -> None:
        """Make the next start possible: create the data once, clear what a crash left. Blocks for seconds."""
        ...

    def command(self) -> list[str]: ...

    def environment(self) -> dict[str, str]:
        """The whole environment of the process, not an addition to ours."""
        ...

    def ready(self) -> bool:
        """Whether clients are served now. Blocks for at most a second."""
        ...


def free_port() -> int:
    """A TCP port that nothing listened on at the moment of asking."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Whether `port` could be listened on now. TIME_WAIT does not count as taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def bond(death_signal: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn` after which the kernel sends `death_signal` to the child when its parent is gone.

    "Parent" is the *thread* that spawned it, so spawn from a thread that lives as long as the child should
    (the main thread). On systems other than Linux there is no such bond and the result is `None`.
    """
    libc, parent = _libc, os.getpid()
    if libc is None:
        return None

    def bind_to_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        # The parent may have died between the fork and the line above; then no signal will ever come.
        if os.getppid() != parent:
            os._exit(1)

    return bind_to_parent


def spawn(server: Server, output: IO[bytes] | int) -> "subprocess.Popen[bytes]":
    """Start a prepared server in its own process group, its output going to `output`."""
    return subprocess.Popen(  # noqa: S603
        server.command(),
        env=server.environment(),
        user=server.user,
        group=server.user,
        extra_groups=None if server.user is None else [],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        # Another user may not be allowed where we are.
        cwd=None if server.user is None else "/",
        start_new_session=True,
        preexec_fn=bond(server.death_signal),
    )


def wait_ready(server: Server, process: "subprocess.Popen[bytes]", log: Path, timeout: float) -> None:
    """Return once `server` is ready; raise `ServerFailed` when it ends first or `timeout` seconds pass."""
    deadline = time.monotonic() + timeout
    while not server.ready():
        ended = process.poll()
        if ended is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace")[-2000:]
            what = f"not ready after {timeout:g} s" if ended is None else f"ended with {ended}"
            raise ServerFailed(f"{Path(server.command()[0]).name}: {what}\n{said}")
        time.sleep(0.02)


def stop(server: Server, process: "subprocess.Popen[bytes]", grace: float = 20) -> None:
    """End a server in good order; kill its process group after `grace` seconds."""
    if process.poll() is None:
        process.send_signal(server.stop_signal)
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def running(server: Server, log: Path, timeout: float = 60) -> Iterator["subprocess.Popen[bytes]"]:
    """Prepare, start and await a server; yield its process; stop it at the end, whatever happened.

    `log` receives its output (appended). The caller may kill the process and start it again with `spawn`.
    """
    server.prepare()
    with log.open("ab") as output:
        process = spawn(server, output)
        try:
            wait_ready(server, process, log, timeout)
            yield process
        finally:
            stop(server, process)
