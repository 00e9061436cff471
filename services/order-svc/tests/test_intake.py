"""What was recorded: once, whoever repeats it; read once; never lost, never in the way of its neighbours."""

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from prometheus_client import REGISTRY

from channel_kit.database import STAFF, WORKER
from channel_kit.ids import uuid7
from order_svc.intake import store
from order_svc.intake.actions import refresh_gauges
from order_svc.intake.store import Incoming
from order_svc.platforms import PLATFORMS, generic
from order_svc.platforms.contract import Documents, Ignored

Make = Callable[..., dict[str, Any]]


async def test_the_same_delivery_sixty_four_times_at_once_is_one_row_and_one_order(
    shop: Any, order: Make
) -> None:
    answers = await asyncio.gather(*(shop.post("orders/create", order()) for _ in range(64)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(await shop.deliveries()) == 1
    await shop.drain()
    for _ in range(3):
        await shop.post("orders/create", order())
    await shop.drain()
    assert (
        len(
            await shop.rows(
                "select 1 from order_revision r join order_head h using (order_id) where h.shop_id = $1",
                shop.shop_id,
            )
        )
        == 1
    )
    assert len(await shop.entries("820982911946154508")) == 4


async def test_repetitions_inside_one_batch_and_before_it_store_nothing(shop: Any) -> None:
    def incoming(key: bytes, body_key: bytes = b"") -> Incoming:
        parts = (
            uuid7(),
            "shopify",
            shop.shop_id,
            "orders/create",
            None,
            key,
            body_key,
            b"sha",
            b"{}",
            "{}",
            None,
        )
        return Incoming(*parts, datetime.fromisoformat("2026-03-02T00:00:00Z"))

    async with shop.database.write(STAFF) as tx:
        first = [
            incoming(b"a"),
            incoming(b"a"),
            incoming(b"b", b"1"),
            incoming(b"b", b"2"),
            incoming(b"b", b"1"),
        ]
        assert await store.record(tx, first) == {first[n].delivery_id for n in (0, 2, 3)}
        again = [incoming(b"a"), incoming(b"c")]
        assert await store.record(tx, again) == {again[1].delivery_id}
    await shop.drain()


@pytest.mark.parametrize("at_once", [True, False])
async def test_the_same_signed_id_with_another_body_is_kept_and_flagged(
    connect: Any, generic: Make, at_once: bool
) -> None:
    shop = await connect("generic")
    bodies = [generic("R"), generic("R", payment="unpaid"), generic("R")]
    if at_once:  # in one batch, where neither is committed before the other
        await asyncio.gather(*(shop.post("", body, message_id="msg-1") for body in bodies))
    else:
        for body in bodies:
            assert (await shop.post("", body, message_id="msg-1")).status_code == 200
            await shop.drain()
    await shop.drain()
    rows = await shop.deliveries()
    assert len(rows) == 2
    assert any(row.id_reused for row in rows)
    shown = await shop.http.get(f"/v1/orders/{await shop.order_id('R')}")
    assert "delivery-id-reused" in shown.json()["flags"]


async def test_poison_is_quarantined_answered_with_success_and_its_neighbours_go_on(
    shop: Any, order: Make
) -> None:
    assert (await shop.post("orders/create", b'{"id": 1, "line_items": [')).status_code == 200
    await shop.post("orders/create", order())
    await shop.drain()
    rows = await shop.deliveries()
    assert [row.status for row in rows] == ["quarantined", "applied"]
    listed = (await shop.http.get("/v1/deliveries", params={"status": "quarantined"})).json()["items"]
    assert [row["reason"] for row in listed if row["shop_id"] == shop.shop_id] == [rows[0].reason]
    waiting = (await shop.http.get("/v1/exceptions")).json()["quarantine"]
    assert [(w["reason"], w["deliveries"]) for w in waiting if w["shop_id"] == shop.shop_id] == [
        ("not-json", 1)
    ]


async def test_one_that_breaks_a_batch_of_many_is_found_and_the_others_are_applied(
    connect: Any, generic: Make
) -> None:
    shop = await connect("generic")
    refund = {"order_id": "G-3", "currency": "CNY", "at": "2026-03-03T00:00:00Z"}
    for number in range(8):
        await shop.post("", generic(f"G-{number}"))
    for name in ("r1", "r2"):  # either fits, both together are more than an event can say
        data = {**refund, "refund_id": name, "amount": "9999999999999.99"}
        await shop.post("", {"type": "qudao.refund.v1", "timestamp": "2026-03-03T00:00:00Z", "data": data})
    await shop.drain()
    rows = await shop.deliveries()
    assert [row.status for row in rows] == ["applied"] * 9 + ["quarantined"]
    assert rows[-1].reason == "out-of-bounds"
    assert (await shop.entries("G-3"))[-1]["kind"] == "refunded"


class Faulty:
    """A platform whose adapter has a fault; later releases know better."""

    name = "newshop"

    def normalise(self, topic: str, raw: bytes, received_at: datetime) -> Documents | Ignored:
        raise ZeroDivisionError("half a \ud800 and a \x00")

    def __getattr__(self, name: str) -> Any:
        return getattr(generic.ADAPTER, name)


@pytest.fixture
def newshop() -> Iterator[Callable[[Any], None]]:
    """Call it with an adapter: what a release that knows the platform would hold."""
    yield lambda adapter: PLATFORMS.update(newshop=adapter)
    PLATFORMS.pop("newshop", None)


async def test_what_no_adapter_could_read_waits_and_is_reprocessed_by_a_release_that_can(
    connect: Any, generic: Make, newshop: Callable[[Any], None]
) -> None:
    shop = await connect("generic")
    newshop(generic_adapter())
    known = shop.rows
    async with shop.database.write(STAFF) as tx:
        await tx.execute("update connection set platform = 'newshop' where shop_id = $1", shop.shop_id)
    shop.platform = "generic"
    raw = json.dumps(generic("N-1")).encode()
    headers = shop.headers("", raw)
    assert (
        await shop.http.post(f"/webhooks/newshop/{shop.slug}", content=raw, headers=headers)
    ).status_code == 200

    async def settled() -> tuple[str, str | None]:
        await shop.drain()
        [row] = await known("select * from delivery where shop_id = $1", shop.shop_id)
        return row.status, row.reason

    PLATFORMS.pop("newshop")
    assert await settled() == ("quarantined", "unknown-platform")
    newshop(Faulty())
    assert (await shop.http.post("/v1/deliveries/reprocess", json={"reason": "unknown-platform"})).json() == {
        "requeued": 1
    }
    assert await settled() == ("quarantined", "adapter-failed")
    newshop(generic_adapter())
    [row] = await shop.deliveries()
    again = {"delivery_ids": [str(row.delivery_id)]}
    assert (await shop.http.post("/v1/deliveries/reprocess", json=again)).json() == {"requeued": 1}
    assert await settled() == ("applied", None)
    assert [entry["kind"] for entry in await shop.entries("N-1")] == ["ordered", "paid"]
    refused = await shop.http.post("/v1/deliveries/reprocess", json=again)
    assert (refused.status_code, refused.json()["code"]) == (409, "not-quarantined")
    assert [
        r.action for r in await known("select action from operator_action order by action_id desc limit 2")
    ] == ["reprocess"] * 2


def generic_adapter() -> Any:
    return generic.ADAPTER


async def test_a_claim_stops_at_its_bytes_and_leaves_the_rest_to_the_next(shop: Any, order: Make) -> None:
    for number in range(4):
        await shop.post("orders/create", json.dumps(order(number)).encode() + b" " * 10_000)
    async with shop.database.write(WORKER) as tx:
        assert len(await store.claim(tx, 200, 15_000)) == 2
    async with shop.database.write(WORKER) as tx:
        assert len(await store.claim(tx, 200, 1)) == 1
        async with shop.database.write(WORKER) as rival:  # what one has looked at is nobody else's meanwhile
            assert await store.claim(rival, 200, 1_000_000) == []
    await shop.drain()
    assert {row.status for row in await shop.deliveries()} == {"applied"}


async def test_what_waits_is_on_the_gauges(shop: Any, order: Make) -> None:
    await shop.post("orders/create", order())
    await refresh_gauges(shop.database)
    assert REGISTRY.get_sample_value("qudao_deliveries_waiting", {"status": "new"}) == 1
    assert (REGISTRY.get_sample_value("qudao_deliveries_oldest_seconds") or 0) > 0
    await shop.drain()
    await refresh_gauges(shop.database)
    assert REGISTRY.get_sample_value("qudao_deliveries_oldest_seconds") == 0


@pytest.mark.parametrize(
    "command",
    [{"delivery_ids": ["no-uuid"]}, {"delivery_ids": [str(uuid7())]}, {"other": 1}, {"delivery_ids": "all"}],
)
async def test_a_command_to_reprocess_that_names_nothing_is_refused(
    shop: Any, command: dict[str, Any]
) -> None:
    answer = await shop.http.post("/v1/deliveries/reprocess", json=command)
    assert answer.status_code in (400, 409, 422)
