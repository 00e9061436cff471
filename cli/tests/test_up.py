"""`up` on a real PostgreSQL and a real Kafka: what it leaves, what it finds again, what it refuses.

The services are stand-ins that only answer /readyz: what a service does is tested where it lives.
"""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import asyncpg
import psutil
import pytest
from rich.console import Console

from channel_kit.topics import create_topics
from qudao.stack import SERVICES, NoStack, Stack, database_name
from qudao.supervisor import RUN_VARIABLE
from qudao.up import up

_SERVICE = """
import http.server, os, sys
if sys.argv[1] == "migrate":
    sys.exit(os.environ.get("BREAK_MIGRATION") and "relation is in the way")
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path in ("/readyz", "/healthz") else 404)
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer((os.environ["QUDAO_HTTP_HOST"], int(os.environ["QUDAO_HTTP_PORT"])), Ready).serve_forever()
"""
_UP = "import asyncio, pathlib, sys; from qudao.up import up; sys.exit(asyncio.run(up(pathlib.Path(sys.argv[1]))))"


@pytest.fixture(autouse=True)
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for service in SERVICES:
        package = tmp_path / "services" / f"{service}_svc"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(_SERVICE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "services"))
    monkeypatch.delenv("QUDAO_KAFKA", raising=False)
    monkeypatch.delenv("QUDAO_POSTGRES", raising=False)


@contextmanager
def running_up(data: Path) -> Iterator["subprocess.Popen[str]"]:
    """A `qudao up` in its own process, once it printed its table."""
    command = [sys.executable, "-c", _UP, str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            said = []
            for line in process.stdout or ():
                said.append(line)
                if "Ctrl-C stops" in line:
                    break
            else:
                pytest.fail("".join(said))
            yield process
        finally:
            process.kill()


def belongs(data: Path) -> list[psutil.Process]:
    """Every living process of this run, whoever its parent is now."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(RUN_VARIABLE) == str(data / "run.json"):
                found.append(process)
        except psutil.Error:
            continue
    return found


def children(data: Path) -> dict[str, int]:
    listed = json.loads((data / "run.json").read_text())["children"]
    return {child["name"]: child["pid"] for child in listed}


def has_new_process(data: Path, name: str, before: dict[str, int]) -> bool:
    return children(data).get(name, before[name]) != before[name]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


async def query(data: Path, sql: str) -> object:
    connection = await asyncpg.connect(Stack.open(data).admin_url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_stack_keeps_its_data_through_kills_and_stops_without_orphans(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_up(data) as process:
        first = children(data)
        assert set(first) == {*SERVICES, "postgres", "kafka"}
        await query(data, "create table kept as select generate_series(1, 100) n")
        assert await create_topics(Stack.open(data).kafka) == [], "up had created them all"

        for name in ("postgres", "kafka", "order"):
            os.kill(first[name], signal.SIGKILL)
        stack = Stack.open(data)
        for child in (*stack.servers(), *(c for c in stack.services() if c.name == "order")):
            until(partial(has_new_process, data, child.name, first))
            until(child.ready)
        assert await query(data, "select count(*) from kept") == 100
        assert children(data)["insight"] == first["insight"]

        process.terminate()
        assert process.wait(30) == 0
        assert belongs(data) == []

    with running_up(data) as process:
        assert await query(data, "select count(*) from kept") == 100
        process.kill()
        process.wait()
        psutil.wait_procs(belongs(data), timeout=10)
        assert belongs(data) == []

    with running_up(data):
        assert await query(data, "select count(*) from kept") == 100


def test_second_up_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_up(data) as process:
        refused = subprocess.run(
            [sys.executable, "-c", _UP, str(data)], capture_output=True, text=True, timeout=30
        )
        assert refused.returncode == 1
        assert f"(process {process.pid})" in " ".join(refused.stdout.split())


async def test_on_ready_decides_the_exit_and_all_is_stopped(tmp_path: Path) -> None:
    data = tmp_path / "data"
    seen: list[str] = []

    async def work(stack: Stack) -> int:
        for service in SERVICES:
            connection = await asyncpg.connect(stack.database_url(service, "worker").replace("+asyncpg", ""))
            seen.append(await connection.fetchval("select current_database()"))
            await connection.close()
        return 7

    assert await up(data, on_ready=work, console=Console(quiet=True)) == 7
    assert seen == [database_name(service) for service in SERVICES]
    assert belongs(data) == []
    for name in ("secrets.json", "admin.json"):
        assert stat.S_IMODE((data / name).stat().st_mode) == 0o600


async def test_work_after_ready_leaves_the_stack_up_and_decides_the_exit(tmp_path: Path) -> None:
    data = tmp_path / "data"

    async def work(stack: Stack) -> int:
        asyncio.get_running_loop().call_later(1.0, os.kill, os.getpid(), signal.SIGINT)
        return 7

    began = time.monotonic()
    assert await up(data, after_ready=work, console=Console(quiet=True)) == 7
    assert time.monotonic() - began >= 1.0
    assert belongs(data) == []


async def test_service_that_cannot_start_is_told_and_all_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "services" / "insight_svc" / "__main__.py"
    broken.write_text("import sys\nsys.exit(sys.argv[1] == 'serve' and 'no such setting [bold]')")
    with (tmp_path / "output").open("w") as output:
        assert await up(tmp_path / "data", console=Console(file=output, width=200)) == 1
    assert "insight ended with 1\nno such setting [bold]" in (tmp_path / "output").read_text()
    assert belongs(tmp_path / "data") == []
    assert not (tmp_path / "data" / "run.json").exists()


async def test_migration_that_fails_is_told_and_all_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BREAK_MIGRATION", "yes")
    with (tmp_path / "output").open("w") as output:
        assert await up(tmp_path / "data", console=Console(file=output, width=200)) == 1
    said = (tmp_path / "output").read_text()
    assert "could not migrate its database" in said
    assert "relation is in the way" in said
    assert belongs(tmp_path / "data") == []


def test_port_taken_by_another_program_is_replaced_and_remembered(tmp_path: Path) -> None:
    first = Stack.prepare(tmp_path / "data")
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", first.ports["order"]))
        taken.listen()
        second = Stack.prepare(tmp_path / "data")
    assert second.ports["order"] != first.ports["order"]
    assert Stack.open(tmp_path / "data").ports == second.ports
    assert second.passwords == first.passwords
    assert second.secret_keys == first.secret_keys
    assert second.admin == first.admin


def test_folder_without_a_stack_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(NoStack, match="qudao up"):
        Stack.open(tmp_path)


def test_named_broker_and_database_are_used_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUDAO_KAFKA", "broker.example:9092")
    monkeypatch.setenv("QUDAO_POSTGRES", "postgresql://root:secret@database.example:6000/postgres")
    stack = Stack.prepare(tmp_path / "data")
    assert stack.servers() == []
    environment = stack.environment("order")
    assert environment["QUDAO_KAFKA"] == "broker.example:9092"
    url = environment["QUDAO_WORKER_DATABASE_URL"]
    assert url.startswith("postgresql+asyncpg://order_worker:")
    assert url.endswith("@database.example:6000/qudao_order")
