"""Apache Kafka on this machine: one KRaft node, broker and controller in one process.

Owns one data folder: formats it once and says how to run the broker in the foreground. Listens on 127.0.0.1
only and keeps every record for ever. The jars come from `channel_kit.local.jars`. Never spawns the broker by
itself; `channel_kit.local.server` and the supervisor of the command line do.
"""

import base64
import os
import shutil
import signal
import socket
import struct
import subprocess
import uuid
from pathlib import Path

import psutil

from channel_kit.local.jars import class_path, java
from channel_kit.local.server import ServerFailed, free_port

# Small and quick to start, which is what one machine needs; the compiler stops at its first tier.
_JVM = ("-Xms64m", "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")

_BROKER = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    # Back after a kill in four seconds rather than twelve: the old session is over sooner.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    "num.network.threads": "1",
    "num.io.threads": "2",
    "background.threads": "2",
    "log.cleaner.dedupe.buffer.size": "2097152",
    # A new consumer starts at the beginning, so nothing may expire.
    "log.retention.ms": "-1",
    "auto.create.topics.enable": "false",
    "num.partitions": "12",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "unclean.leader.election.enable": "false",
}

_LOGGING = """\
status = error
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %-5p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.stderr.ref = stderr
"""


class LocalKafka:
    """One Kafka node in `data` (created when missing), on `port` (a free one when not given)."""

    user: str | None = None
    stop_signal = signal.SIGTERM
    # A broker whose supervisor is gone has nobody to finish for, and its log survives a kill.
    death_signal = signal.SIGKILL

    def __init__(self, data: Path, port: int | None = None) -> None:
        self.data = data.absolute()
        self.port = port or free_port()

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Write the configuration, format the folder once, end a broker that a killed supervisor left on it.

        Raises `NoBroker` when there is nothing to run, `ServerFailed` with StorageTool's own words.
        """
        self.data.mkdir(parents=True, exist_ok=True)
        self._clear_leftovers()
        # Nothing remembers the controller's port, so a new one each time cannot be taken.
        controller = free_port()
        settings = {
            **_BROKER,
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "log.dirs": str(self.data / "log"),
        }
        lines = "".join(f"{name}={value}\n" for name, value in settings.items())
        (self.data / "server.properties").write_text(lines)
        (self.data / "log4j2.properties").write_text(_LOGGING)
        if not (self.data / "formatted").exists():
            self._format()

    def command(self) -> list[str]:
        return [*self._java(), "kafka.Kafka", str(self.data / "server.properties")]

    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"}

    def ready(self) -> bool:
        """Whether the broker answers and is live (topics can be created); another's on our port does not count."""
        try:
            own = (self.data / "formatted").read_text()
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                return _live_cluster(connection) == own
        except (OSError, struct.error):
            return False

    def _clear_leftovers(self) -> None:
        ours = str(self.data / "server.properties")
        left = [p for p in psutil.process_iter(["cmdline"]) if ours in (p.info["cmdline"] or ())]
        for process in left:
            process.kill()
        psutil.wait_procs(left, timeout=10)

    def _format(self) -> None:
        # The marker is written last: a format that was cut off is begun again.
        shutil.rmtree(self.data / "log", ignore_errors=True)
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # One word: an id may begin with a hyphen, and would be taken for another option.
        arguments = ("format", f"--cluster-id={cluster}", "--config", str(self.data / "server.properties"))
        made = subprocess.run(  # noqa: S603
            [*self._java(), "kafka.tools.StorageTool", *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
        )
        if made.returncode != 0:
            raise ServerFailed(f"StorageTool: {made.stderr.strip()}")
        (self.data / "formatted").write_text(cluster)

    def _java(self) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self.data / 'log4j2.properties'}"
        return [*java(), *_JVM, logging, "-cp", class_path()]


def _live_cluster(connection: socket.socket) -> str | None:
    """The id of the cluster that answers, None while no broker is live: a Metadata request, version 4."""
    header = struct.pack(">hhih", 3, 4, 1, -1)  # api, version, correlation, no client name
    request = header + struct.pack(">i?", 0, False)  # no topics, create none
    connection.sendall(struct.pack(">i", len(request)) + request)
    (size,) = struct.unpack(">i", _receive(connection, 4))
    answer = _receive(connection, size)
    correlation, _, brokers = struct.unpack_from(">iii", answer)  # correlation, throttle, count
    if correlation != 1 or brokers < 1:
        return None
    at = 12
    for _ in range(brokers):
        at += 4 + 2 + struct.unpack_from(">h", answer, at + 4)[0] + 4  # node, host, port
        at += 2 + max(0, struct.unpack_from(">h", answer, at)[0])  # rack, which may be null
    (length,) = struct.unpack_from(">h", answer, at)
    return answer[at + 2 : at + 2 + length].decode()


def _receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise ConnectionResetError("the broker hung up")
        received += part
    return received
