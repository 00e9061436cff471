"""PostgreSQL from the wheel: what was committed survives a kill, and nothing is left behind."""

import asyncio
import os
import signal
import stat
from pathlib import Path

import asyncpg
import psutil
import pytest

from channel_kit.local.postgres import LocalPostgres
from channel_kit.local.server import running, spawn, stop, wait_ready


async def test_committed_rows_survive_kill_and_restart(tmp_path: Path) -> None:
    server, log = LocalPostgres(tmp_path / "postgres"), tmp_path / "log"
    with running(server, log) as process:
        connection = await asyncpg.connect(server.admin_url)
        await connection.execute(
            "create table kept (n int); insert into kept select generate_series(1, 1000)"
        )
        # A backend that is busy does not notice the death of its postmaster by itself.
        busy = asyncio.create_task(connection.execute("select sum(n) from generate_series(1, 10000000000) n"))
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert server._processes(), "the busy backend should have outlived its postmaster"
        assert not server.ready()

        server.prepare()
        with pytest.raises((asyncpg.PostgresError, ConnectionError, asyncpg.InterfaceError)):
            await busy
        with log.open("ab") as output:
            again = spawn(server, output)
        try:
            wait_ready(server, again, log, 30)
            connection = await asyncpg.connect(server.admin_url)
            assert await connection.fetchval("select count(*) from kept") == 1000
            await connection.close()
        finally:
            stop(server, again)
    assert not server._processes()


async def test_settings_that_durability_rests_on(tmp_path: Path) -> None:
    server = LocalPostgres(tmp_path / "postgres")
    with running(server, tmp_path / "log"):
        connection = await asyncpg.connect(server.admin_url)
        found = {row["name"]: row["setting"] for row in await connection.fetch("select * from pg_settings")}
        await connection.close()
    assert (found["fsync"], found["synchronous_commit"], found["full_page_writes"]) == ("on", "on", "on")
    assert (found["checkpoint_timeout"], found["max_connections"]) == ("300", "200")
    assert (found["listen_addresses"], found["unix_socket_directories"]) == ("127.0.0.1", "")
    assert (found["server_encoding"], found["TimeZone"]) == ("UTF8", "UTC")


async def test_password_is_required_and_kept_from_others(tmp_path: Path) -> None:
    server = LocalPostgres(tmp_path / "postgres")
    with running(server, tmp_path / "log"), pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://postgres:guess@127.0.0.1:{server.port}/postgres")
    assert stat.S_IMODE((tmp_path / "postgres.password").stat().st_mode) == 0o600


async def test_initdb_that_was_cut_off_is_begun_again(tmp_path: Path) -> None:
    draft = tmp_path / "postgres.new"
    draft.mkdir()
    (draft / "PG_VERSION").write_text("18\n")
    server = LocalPostgres(tmp_path / "postgres")
    with running(server, tmp_path / "log"):
        assert server.ready()
    assert not draft.exists()


async def test_server_whose_supervisor_was_killed_is_taken_over(tmp_path: Path) -> None:
    server, log = LocalPostgres(tmp_path / "postgres"), tmp_path / "log"
    server.prepare()
    with log.open("ab") as output:
        left_over = spawn(server, output)
    wait_ready(server, left_over, log, 30)
    other = LocalPostgres(tmp_path / "postgres")
    with running(other, log):
        assert left_over.poll() is not None
        assert not server.ready()
        assert other.ready()


def test_server_ends_with_its_parent(tmp_path: Path) -> None:
    server, log = LocalPostgres(tmp_path / "postgres"), tmp_path / "log"
    server.prepare()
    child = os.fork()
    if child == 0:
        with log.open("ab") as output:
            wait_ready(server, spawn(server, output), log, 30)
        os._exit(0)
    os.waitpid(child, 0)
    psutil.wait_procs(server._processes(), timeout=10)
    assert not server._processes()
