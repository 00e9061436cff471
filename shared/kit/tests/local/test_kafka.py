"""The local broker: ready means usable, and records survive a kill."""

import asyncio
import time
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from channel_kit.local import jars
from channel_kit.local.jars import NoBroker
from channel_kit.local.kafka import LocalKafka
from channel_kit.local.server import running, spawn, stop, wait_ready


async def create_topic(server: LocalKafka) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=server.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic("kept", 12, 1)])
    finally:
        await admin.close()


async def produce(server: LocalKafka, values: range) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=server.bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        sent = [await producer.send("kept", str(v).encode(), key=str(v).encode()) for v in values]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def consume(server: LocalKafka, count: int) -> list[int]:
    consumer = AIOKafkaConsumer(
        "kept", bootstrap_servers=server.bootstrap, auto_offset_reset="earliest", group_id="reader"
    )
    await consumer.start()
    try:
        found: list[int] = []
        async with asyncio.timeout(20):
            while len(found) < count:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += [int(record.value) for record in records]
        return sorted(found)
    finally:
        await consumer.stop()


async def test_acknowledged_records_survive_kill_and_restart(tmp_path: Path) -> None:
    server, log = LocalKafka(tmp_path / "kafka"), tmp_path / "log"
    with running(server, log) as process:
        await create_topic(server)
        await produce(server, range(500))
        process.kill()
        process.wait()
        assert not server.ready()

        server.prepare()
        began = time.monotonic()
        with log.open("ab") as output:
            again = spawn(server, output)
        try:
            wait_ready(server, again, log, 30)
            print(f"ready again after {time.monotonic() - began:.1f} s")
            await produce(server, range(500, 600))
            assert await consume(server, 600) == list(range(600))
        finally:
            stop(server, again)


async def test_broker_whose_supervisor_was_killed_is_replaced(tmp_path: Path) -> None:
    server, log = LocalKafka(tmp_path / "kafka"), tmp_path / "log"
    server.prepare()
    with log.open("ab") as output:
        left_over = spawn(server, output)
    wait_ready(server, left_over, log, 30)
    other = LocalKafka(tmp_path / "kafka")
    with running(other, log):
        assert left_over.poll() is not None
        assert other.ready()
    assert not psutil.pid_exists(left_over.pid)


def test_without_maven_the_message_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUDAO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))  # no jars in the home's repository, no settings either
    for proxy in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    with pytest.raises(NoBroker, match="QUDAO_KAFKA"):
        jars.class_path()


def test_second_start_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    first = jars.class_path()
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setattr(jars, "_resolve", lambda: pytest.fail("asked Maven again"))
    assert jars.class_path() == first
    assert len([jar for jar in first.split(":") if "log4j-slf4j-impl" in jar]) == 1
