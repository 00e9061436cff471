"""Deployments that are wrong: secrets, limits, positions and databases as nobody should run them.

On a stack of their own. A service either says why it does not start, or works with what it has; what it cannot take
it refuses, and when the fault is mended everything is as if it had never been.
"""

import asyncio
import resource
import signal
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil

from qudao.stack import SERVICES, database_name

from . import shops
from .bad import Bad, Tally
from .deployment import Member, new_id, until, until_equal
from .lab import Lab, _migrate
from .letters import shopify_order
from .test_bad_events import FEEDS, position, take_away

FIGURES = (30_973, 949)
KEYS = {
    "blank": "",
    "no base64": "???",
    "too short": "c2hvcnQ=",
    "too long": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIz",
}


async def sell(stack: Lab, sold: shops.Trade) -> None:
    """One order, from the platform's call to the last service."""
    order_id = new_id()
    await sold.shop.delivered(shopify_order(order_id, sold.sku), "orders/create")
    await sold.agreed(order_id, *FIGURES)


async def test_a_service_without_a_usable_secret_does_not_start(
    bench: Lab, tally: Tally, tmp_path: Path
) -> None:
    for name, key in KEYS.items():
        log = tmp_path / f"{name}.log"
        with Member(bench.stack, "order", "serve", log, QUDAO_SECRET_KEY=key, QUDAO_HTTP_PORT="0") as member:
            status = await member.died(60, f"a secret key that is {name}")
            tally(Bad.OPERATIONS, "did not start")
            assert status not in (0, -signal.SIGKILL), member.said()
            assert "QUDAO_SECRET_KEY" in member.said(), name
            assert not key or key not in member.said(), "what it was given is nobody's business"


async def test_a_database_of_another_password_is_no_reason_to_serve(
    bench: Lab, tally: Tally, tmp_path: Path
) -> None:
    url = bench.stack.environment("order")["QUDAO_API_DATABASE_URL"]
    wrong = url.replace(url.split(":")[2].split("@")[0], "wrong")
    assert wrong != url
    with Member(
        bench.stack, "order", "api", tmp_path / "log", QUDAO_API_DATABASE_URL=wrong, QUDAO_HTTP_PORT="18991"
    ) as member:

        async def says(path: str) -> int:
            return (await bench.http.get(f"http://127.0.0.1:{member.port}{path}")).status_code

        async def answers() -> bool:
            try:
                return await says("/healthz") == 200
            except httpx.TransportError:
                return not member.runs()

        await until(answers, 60, member.said)
        if member.runs():
            assert await says("/readyz") == 503
        tally(Bad.OPERATIONS, "not ready")


async def test_the_same_secret_again_is_the_same_secret(bench: Lab, tally: Tally) -> None:
    """Two shops with one secret, and a rotation to the secret that is there: nobody is locked out, nothing is mixed."""
    shop, twin = await shops.connect(bench), await shops.connect(bench)
    for each in (shop, twin):
        path = f"/v1/connections/shopify/{each.slug}/secrets"
        for _ in range(2):
            await bench.call("order", "POST", path, {"secret": "one-for-both-of-them", "grace_seconds": 0})
        each.secret = "one-for-both-of-them"
        order_id = new_id()
        await each.sent(shopify_order(order_id, "TEA"), "orders/create")
        tally(Bad.OPERATIONS, "200")
        assert (await each.settled(order_id))["shop_id"] == each.shop_id
    old = shopify_order(new_id(), "TEA")
    shop.secret = f"secret-of-{shop.slug}"
    assert (await shop.post(old, "orders/create")).status_code == 401


async def test_migrations_that_run_again_and_at_once_change_nothing(bench: Lab, tally: Tally) -> None:
    await bench.audit_clean()
    before = await bench.contents()
    await asyncio.gather(*(_migrate(bench.stack, "order") for _ in range(3)))
    tally(Bad.OPERATIONS, "migrated again")
    assert await bench.contents() == before


async def test_one_connection_each_is_enough(bench: Lab, tally: Tally) -> None:
    """A pool of one: whoever holds a connection never waits for a second one."""
    sold = await shops.trade(bench)
    bench.stop()
    await bench.start(*SERVICES, QUDAO_POOL_SIZE="1")
    try:
        posts = [sold.shop.delivered(shopify_order(new_id(), sold.sku), "orders/create") for _ in range(20)]
        reads = [bench.get("order", "/v1/orders", limit=1) for _ in range(20)]
        await asyncio.gather(*posts, *reads)
        tally(Bad.OPERATIONS, "worked")
        await bench.audit_clean(120)
        statement = await sold.statement()
        assert statement["basis_minor"] == 20 * FIGURES[0]
    finally:
        bench.stop()  # the next test has them started as usual


async def test_few_file_descriptors_turn_callers_away_and_lose_nothing(bench: Lab, tally: Tally) -> None:
    """Sixty-four of them, and a hundred callers: some wait, and afterwards everything accepted is there."""
    sold = await shops.trade(bench)
    member = bench.members["order"].process
    assert member is not None
    process = psutil.Process(member.pid)
    before = process.rlimit(resource.RLIMIT_NOFILE)
    process.rlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    accepted: list[int] = []

    async def post() -> None:
        order_id = new_id()
        async with httpx.AsyncClient(timeout=3) as http:
            raw = shops.as_bytes(shopify_order(order_id, sold.sku))
            try:
                answer = await http.post(
                    sold.shop.url, content=raw, headers=sold.shop.headers(raw, "orders/create")
                )
            except httpx.TransportError:
                tally(Bad.OPERATIONS, "no answer")
                return
            tally(Bad.OPERATIONS, "200" if answer.status_code == 200 else "told when to come back")
            assert answer.status_code == 200 or "retry-after" in answer.headers, answer.text
            if answer.status_code == 200:
                accepted.append(order_id)

    try:
        await asyncio.gather(*(post() for _ in range(100)))
    finally:
        process.rlimit(resource.RLIMIT_NOFILE, before)
    assert process.is_running()
    await sold.shop.delivered(shopify_order(last := new_id(), sold.sku), "orders/create")
    await bench.audit_clean(120)
    kept = await bench.rows(
        "order", "select platform_order_id as id from order_head where shop_id = $1", sold.shop.shop_id
    )
    assert set(map(str, [*accepted, last])) <= {row["id"] for row in kept}


async def test_a_database_that_only_reads_is_told_and_waited_out(bench: Lab, tally: Tally) -> None:
    sold = await shops.trade(bench)
    body = shopify_order(order_id := new_id(), sold.sku)
    for service in ("order", "insight"):
        await _read_only(bench, service, "on")
    try:
        for _ in range(5):
            answer = await sold.shop.post(body, "orders/create")
            tally(Bad.OPERATIONS, "told when to come back")
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) > 0
        assert (await bench.ask("order", "GET", "/v1/orders")).status_code == 200
    finally:
        for service in ("order", "insight"):
            await _read_only(bench, service, "off")
    await sold.shop.delivered(body, "orders/create")
    await sold.agreed(order_id, *FIGURES)
    await bench.audit_clean()


async def _read_only(stack: Lab, service: str, mode: str) -> None:
    """As a standby that was promoted too late, or not yet: every new session only reads."""
    admin = await asyncpg.connect(stack.stack.admin_url)
    try:
        name = database_name(service)
        await admin.execute(f'alter database "{name}" set default_transaction_read_only = {mode}')
        await admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name)
    finally:
        await admin.close()


async def test_positions_that_cannot_be_have_no_effect(bench: Lab, tally: Tally) -> None:
    """Far beyond the end, before the beginning, and at the beginning again."""
    sold = await shops.trade(bench)
    await sell(bench, sold)
    await bench.audit_clean()
    before, ends = await bench.content("insight"), await positions(bench)
    for sql in (
        "update feed_position set next_offset = 1000000000",
        "update feed_position set next_offset = 0",
        "update feed_position set cluster_id = 'another', next_offset = 7",
        "delete from feed_position",
    ):
        bench.members["insight"].end(signal.SIGKILL)
        await bench.rows("insight", sql)
        await bench.start("insight")
        await read_again(bench, ends)
        tally(Bad.OPERATIONS, "read again without effect")
        assert await bench.content("insight") == before, sql
    await sell_more(bench, sold, 2)


async def positions(stack: Lab) -> dict[str, int]:
    """Where insight's feeds stand."""
    return {
        consumer: await position(stack, consumer) for consumer in FEEDS if consumer.startswith("insight.")
    }


async def read_again(stack: Lab, ends: dict[str, int]) -> None:
    """Waits until insight has read up to there, whatever else was planted on the topics before, and audits."""
    await until_equal(lambda: positions(stack), ends, 90)
    await take_away(stack)
    await stack.audit_clean(120)


async def sell_more(stack: Lab, sold: shops.Trade, times: int) -> None:
    """One more order; all figures are those of `times` of them."""
    await sold.shop.delivered(shopify_order(new_id(), sold.sku), "orders/create")

    async def counted() -> bool:
        statement: Any = await sold.statement()
        return bool(statement["basis_minor"] == times * FIGURES[0])

    await until(counted, 60)
    await stack.audit_clean(120)


async def test_a_reader_restored_from_yesterday_catches_up(bench: Lab, tally: Tally) -> None:
    """insight's database as it was some orders ago, beside topics that have gone on."""
    sold = await shops.trade(bench)
    await sell(bench, sold)
    await bench.audit_clean()
    name = database_name("insight")
    admin = await asyncpg.connect(bench.stack.admin_url)
    try:
        bench.members["insight"].end(signal.SIGKILL)
        await _alone(admin, name)
        await admin.execute(f'create database "yesterday" template "{name}" owner insight_owner')
        await bench.start("insight")
        await sell_more(bench, sold, 2)
        today, ends = await bench.content("insight"), await positions(bench)
        bench.members["insight"].end(signal.SIGKILL)
        await _alone(admin, name)
        await admin.execute(f'drop database "{name}"')
        await admin.execute(f'alter database "yesterday" rename to "{name}"')
        assert await bench.content("insight") != today
        await bench.start("insight")
    finally:
        await admin.close()
    await read_again(bench, ends)
    tally(Bad.OPERATIONS, "caught up after a restore")
    assert await bench.content("insight") == today


async def _alone(admin: asyncpg.Connection, name: str) -> None:
    """Waits until nobody is in a database."""

    async def nobody() -> bool:
        await admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name)
        return not await admin.fetchval("select count(*) from pg_stat_activity where datname = $1", name)

    await until(nobody)


async def test_no_line_of_the_logs_was_written_by_a_stranger(bench: Lab, tally: Tally) -> None:
    """Line breaks in everything that is logged: names, ids, topics, addresses, headers."""
    forged = "\r\n2026-01-01T00:00:00Z [error    ] forged by a stranger"
    shop = await shops.connect(bench, "generic")
    quoted = forged.replace("\r", "%0D").replace("\n", "%0A")
    await shop.post({"type": f"x{forged}", "data": {}})
    await shop.post({"type": "qudao.order.v1", "data": {"order_id": forged, "currency": forged}})
    await bench.http.post(f"{bench.stack.url('order')}/webhooks/generic/x{quoted}", content=b"{}")
    await bench.http.post(f"{bench.stack.url('order')}/webhooks/x{quoted}/y", content=b"{}")
    await bench.ask("order", "GET", f"/v1/orders/x{quoted}")
    await bench.ask("partner", "GET", "/v1/partners", params={"search": forged})
    await bench.ask("inventory", "POST", "/v1/items", json={"sku": "x", "name": forged, "currency": forged})
    await bench.http.post(
        bench.stack.url("partner") + "/v1/tokens",
        data={"grant_type": "client_credentials", "client_id": forged, "client_secret": forged},
    )
    await bench.taken_in()
    await bench.audit_clean()
    lines = [
        line
        for member in bench.members.values()
        for line in member.log.read_text(errors="replace").splitlines()
    ]
    assert lines
    tally(Bad.OPERATIONS, "logs without a forged line")
    assert [line for line in lines if line.lstrip().startswith("2026-01-01T00:00:00Z [error")] == []
