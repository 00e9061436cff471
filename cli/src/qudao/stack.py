"""What runs on one machine: which processes, where, with which passwords, in which folder.

Owns the data folder (`.qudao/`): the ports that were chosen, the secrets that were drawn once, the first
administrator. Describes the processes for the supervisor; never starts any. `qudao up` prepares a stack, every
other command opens the one that is there.
"""

import base64
import http.client
import json
import os
import re
import secrets
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from channel_kit.local.kafka import LocalKafka
from channel_kit.local.postgres import LocalPostgres
from channel_kit.local.server import Server, free_port, port_is_free
from qudao.supervisor import Child

SERVICES = ("partner", "order", "inventory", "incentive", "insight")
DEFAULT_PORTS = {
    "postgres": 54329,
    "kafka": 54392,
    "order": 8101,
    "partner": 8102,
    "inventory": 8103,
    "incentive": 8104,
    "insight": 8105,
}
ROLES = ("owner", "api", "worker")
_GRACEFUL_SECONDS = 5
# What they say at every ordinary start.
_NOISE = {"postgres": re.compile(r"\bLOG:  "), "kafka": re.compile("Performing controller activation")}


class NoStack(RuntimeError):
    """The folder holds no stack yet; the message says what to run."""


@dataclass(frozen=True)
class Admin:
    """The first credential, allowed everything. Kept in `admin.json`, which only its owner may read."""

    client_id: str
    client_secret: str


@dataclass(frozen=True)
class Stack:
    """One data folder and everything that follows from it. `kafka_server` and `postgres_server` are `None` when
    `QUDAO_KAFKA` or `QUDAO_POSTGRES` names one that somebody else runs."""

    data: Path
    ports: dict[str, int]
    passwords: dict[str, dict[str, str]]  # service → role → password
    secret_keys: dict[str, str]  # service → base64 of 32 bytes
    admin: Admin
    kafka: str
    kafka_server: LocalKafka | None
    postgres_server: LocalPostgres | None

    @classmethod
    def prepare(cls, data: Path) -> "Stack":
        """Make the folder on first use, and replace every port that another program took meanwhile.

        Only the one who will run the stack may call this; processes of an earlier run must be gone.
        """
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = _read(data / "stack.json").get("ports", {})
        ports: dict[str, int] = {}
        for name, default in DEFAULT_PORTS.items():
            port = kept.get(name, default)
            while port in ports.values() or not port_is_free(port):
                port = free_port()
            ports[name] = port
        _write(data / "stack.json", {"ports": ports})
        drawn = _read(data / "secrets.json")
        for service in SERVICES:
            drawn.setdefault("passwords", {}).setdefault(
                service, {r: secrets.token_urlsafe(24) for r in ROLES}
            )
            key = base64.b64encode(secrets.token_bytes(32)).decode()
            drawn.setdefault("secret_keys", {}).setdefault(service, key)
        _write(data / "secrets.json", drawn)
        if not (data / "admin.json").exists():
            _write(data / "admin.json", {"client_id": "admin", "client_secret": secrets.token_urlsafe(32)})
        return cls.open(data)

    @classmethod
    def open(cls, data: Path) -> "Stack":
        """Read the stack of a folder, whether it runs or not. Raises `NoStack`."""
        described, drawn, admin = (_read(data / f"{name}.json") for name in ("stack", "secrets", "admin"))
        if not (described and drawn and admin):
            raise NoStack(f"There is no stack in {data} yet: run `qudao up` first.")
        ports, kafka = described["ports"], os.environ.get("QUDAO_KAFKA")
        broker = None if kafka else LocalKafka(data / "kafka", ports["kafka"])
        database = (
            None if os.environ.get("QUDAO_POSTGRES") else LocalPostgres(data / "postgres", ports["postgres"])
        )
        return cls(
            data=data,
            ports=ports,
            passwords=drawn["passwords"],
            secret_keys=drawn["secret_keys"],
            admin=Admin(**admin),
            kafka=kafka or f"127.0.0.1:{ports['kafka']}",
            kafka_server=broker,
            postgres_server=database,
        )

    @property
    def admin_url(self) -> str:
        """`postgresql://` address of the superuser. With a local server only once it was prepared."""
        if self.postgres_server is not None:
            return self.postgres_server.admin_url
        return os.environ["QUDAO_POSTGRES"]

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"

    def database_url(self, service: str, role: str) -> str:
        """Where a service finds its own database. `role` is one of `ROLES`."""
        where = urlsplit(self.admin_url)
        password = quote(self.passwords[service][role], safe="")
        host = f"{where.hostname or '127.0.0.1'}:{where.port or 5432}"
        return f"postgresql+asyncpg://{service}_{role}:{password}@{host}/{database_name(service)}"

    def environment(self, service: str) -> dict[str, str]:
        """The environment of a service's processes: ours, with what the stack decides."""
        decided = {
            **{f"QUDAO_{role.upper()}_DATABASE_URL": self.database_url(service, role) for role in ROLES},
            "QUDAO_KAFKA": self.kafka,
            "QUDAO_HTTP_HOST": "127.0.0.1",
            "QUDAO_HTTP_PORT": str(self.ports[service]),
            "QUDAO_SECRET_KEY": self.secret_keys[service],
            "QUDAO_INSTANCE_ID": "local",
            "QUDAO_GRACEFUL_SECONDS": str(_GRACEFUL_SECONDS),
        }
        preferred = {"QUDAO_LOG_JSON": "false", "PYTHONUNBUFFERED": "1"}
        if service == "partner":
            decided["QUDAO_ADMIN_CLIENT_ID"] = self.admin.client_id
            decided["QUDAO_ADMIN_CLIENT_SECRET"] = self.admin.client_secret
        return {**preferred, **os.environ, **decided}

    def servers(self) -> list[Child]:
        """The database and the broker, as far as they are ours."""
        named = {"postgres": self.postgres_server, "kafka": self.kafka_server}
        return [_server_child(name, server) for name, server in named.items() if server is not None]

    def services(self) -> list[Child]:
        after = tuple(child.name for child in self.servers())
        return [
            Child(
                name=service,
                argv=_constant(service_command(service, "serve")),
                env=self.environment(service),
                ready=_answers(self.ports[service], "/readyz"),
                # Liveness asks neither database nor broker: it fails when the process itself is stuck.
                alive=_answers(self.ports[service], "/healthz"),
                after=after,
                port=self.ports[service],
                grace=_GRACEFUL_SECONDS + 10,
            )
            for service in SERVICES
        ]


def database_name(service: str) -> str:
    return f"qudao_{service}"


def service_command(service: str, role: str) -> list[str]:
    """How a service's process is run; `role` is api, worker, serve or migrate."""
    return [sys.executable, "-m", f"{service}_svc", role]


def _server_child(name: str, server: Server) -> Child:
    return Child(
        name=name,
        argv=server.command,
        env=server.environment(),
        ready=server.ready,
        prepare=server.prepare,
        user=server.user,
        port=server.port,
        stop_signal=server.stop_signal,
        # PostgreSQL's own processes leave its group; told to quit at once, it ends them itself.
        kill_signal=signal.SIGQUIT if name == "postgres" else signal.SIGKILL,
        death_signal=server.death_signal,
        noise=_NOISE[name],
    )


def _constant(argv: list[str]) -> Callable[[], list[str]]:
    return lambda: argv


def _answers(port: int, path: str) -> Callable[[], bool]:
    def answers() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return answers


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return found


def _write(path: Path, content: dict[str, Any]) -> None:
    """Replace a file whole; nobody else may read it, not even for a moment."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(json.dumps(content, indent=1) + "\n")
    draft.rename(path)
