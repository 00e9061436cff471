"""Reference data that comes late, changes, or comes while a fact is in flight."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from asyncpg import PostgresError

from channel_events import catalog
from channel_events.envelope import Event
from channel_events.inventory import ItemBody, ListingBody, ReservationBody
from channel_events.partner import Binding, ShopBody, shop_aggregate_id
from channel_kit import reference
from channel_kit.database import WORKER, Database, Write, sqlstate
from channel_kit.ids import uuid7
from order_svc.feeds import inventory, partner
from order_svc.intake import rules as intake
from order_svc.intake import store as deliveries
from order_svc.order import actions as orders
from order_svc.order.actions import derive_marked
from order_svc.reference.actions import ORDER, map_listings
from order_svc.reference.store import ShopSku

Make = Callable[..., dict[str, Any]]
NUMBER = "820982911946154508"
ALWAYS = datetime(2020, 1, 1, tzinfo=UTC)


def event(type_name: str, aggregate_id: UUID, body: Any, version: int = 1) -> Event[Any]:
    kind = catalog.CATALOG[type_name]
    return catalog.envelope_class(type_name)(
        id=uuid7(),
        source="/qudao/other-svc",
        type=type_name,
        subject=str(aggregate_id),
        time=ALWAYS,
        aggregatetype=kind.aggregate_type,
        aggregateversion=version,
        correlationid=uuid7(),
        data=body,
    )


def bound(shop: Any, *partners: UUID) -> Event[Any]:
    """The shop sells for these partners, a year each from 2026 on, and always before for the first."""
    bindings = tuple(
        Binding(
            partner_id=each,
            channel="online",
            valid_from=datetime(2026 + n, 1, 1, tzinfo=UTC) if n else ALWAYS,
            valid_to=datetime(2027 + n, 1, 1, tzinfo=UTC) if n < len(partners) - 1 else None,
        )
        for n, each in enumerate(partners)
    )
    body = ShopBody(platform=shop.platform, shop_id=shop.shop_id, bindings=bindings)
    return event(catalog.PARTNER_SHOP_BOUND, shop_aggregate_id(shop.platform, shop.shop_id), body)


def listed(shop: Any, platform_sku: str, sku: str | None) -> Event[Any]:
    body = ListingBody(platform=shop.platform, shop_id=shop.shop_id, platform_sku=platform_sku, sku=sku)
    return event(catalog.INVENTORY_LISTING_MAPPED, uuid4(), body)


def item(sku: str) -> Event[Any]:
    return event(
        catalog.INVENTORY_ITEM_REGISTERED, uuid4(), ItemBody(sku=sku, name="Tea", uom="tin", quantity_scale=0)
    )


async def heard(database: Database, handle: Any, *events: Event[Any]) -> None:
    """A poll, and then the drain that follows it."""
    await database.transact(WORKER, lambda tx: handle(tx, events))
    while await database.transact(WORKER, lambda tx: derive_marked(tx, 10)):
        pass


async def sold(shop: Any, order: Make, refund: Make, sku: str = "TEA-250") -> None:
    await shop.post("orders/create", order(paid=False, sku=sku))
    await shop.drain()
    await shop.post("refunds/create", refund())
    await shop.post("orders/paid", order(sku=sku, shipped=2, updated="2026-03-02T16:00:00+08:00"))
    await shop.drain()


async def outcome(shop: Any) -> tuple[Any, ...]:
    """Live entries without identities, and the last announced snapshot without the order's own id."""
    gone = ("entry_id", "entry_hash", "recorded_at", "cause_delivery_id", "origin_entry_id", "block_no")
    entries = [{k: v for k, v in e.items() if k not in gone} for e in await shop.entries(NUMBER)]
    [row] = await shop.rows(
        "select payload::text as payload from outbox where aggregate_id = $1 order by id desc limit 1",
        await shop.order_id(NUMBER),
    )
    snapshot = json.loads(row.payload)["data"]["order"]
    return sorted(entries, key=json.dumps), {
        k: v for k, v in snapshot.items() if k not in ("order_id", "shop_id")
    }


@pytest.mark.parametrize("by", ["listing", "equal SKU"])
async def test_a_binding_and_a_mapping_that_come_late_end_as_if_they_had_been_there(
    connect: Any, order: Make, refund: Make, by: str
) -> None:
    early, late, seller = await connect(), await connect(), uuid4()
    sku = f"TEA-{uuid4().hex[:6]}"

    async def told(shop: Any) -> None:
        news = [listed(shop, sku, f"OUR-{sku}")] if by == "listing" else [item(sku)]
        await heard(shop.database, inventory.handle, *news)
        await heard(shop.database, partner.handle, bound(shop, seller))

    if by == "listing":
        await told(early)
        await sold(early, order, refund, sku)
        await sold(late, order, refund, sku)
        await told(late)
    else:  # an item is everybody's: the late shop first
        await sold(late, order, refund, sku)
        await told(late)
        await heard(early.database, partner.handle, bound(early, seller))
        await sold(early, order, refund, sku)
    assert await outcome(late) == await outcome(early)
    entries = await late.entries(NUMBER)
    assert {entry["partner_id"] for entry in entries} == {str(seller)}
    assert {entry["sku"] for entry in entries if entry["line_kind"] == "product"} == {
        f"OUR-{sku}" if by == "listing" else sku
    }


async def test_what_came_late_is_announced_as_such(shop: Any, order: Make, refund: Make) -> None:
    await sold(shop, order, refund)
    await heard(shop.database, inventory.handle, listed(shop, "TEA-250", "OUR-TEA"))
    await heard(shop.database, partner.handle, bound(shop, uuid4()))
    rows = await shop.rows(
        "select type, payload::text as payload from outbox where aggregate_id = $1 order by id",
        await shop.order_id(NUMBER),
    )
    # The refund and the payment came in one batch: one transaction, one event, called after the higher of them.
    assert [row.type.split(".")[2] for row in rows] == ["placed", "refunded", "resolved", "attributed"]
    moved = [
        {step["axis"]: step["to"] for step in json.loads(row.payload)["data"]["transitions"]} for row in rows
    ]
    assert (moved[2], moved[3]) == ({}, {"reference": "resolved"})


async def test_hearing_the_same_again_announces_nothing(shop: Any, order: Make, refund: Make) -> None:
    news = bound(shop, uuid4())
    await sold(shop, order, refund)
    await heard(shop.database, partner.handle, news)
    before = await shop.rows(
        "select count(*) as n from outbox where aggregate_id = $1", await shop.order_id(NUMBER)
    )
    await heard(shop.database, partner.handle, news)
    after = await shop.rows(
        "select count(*) as n from outbox where aggregate_id = $1", await shop.order_id(NUMBER)
    )
    assert after == before


async def test_a_line_that_has_its_sku_keeps_it_when_the_listing_comes_to_mean_something_else(
    shop: Any, order: Make, refund: Make
) -> None:
    await heard(shop.database, inventory.handle, listed(shop, "TEA-250", "OUR-TEA"))
    await sold(shop, order, refund)
    await heard(shop.database, inventory.handle, listed(shop, "TEA-250", "OTHER-TEA"))
    await shop.post("orders/updated", order(shipped=2, updated="2026-03-09T10:00:00+08:00"))
    await shop.post("orders/create", order(77))
    await shop.drain()
    skus = [{e["sku"] for e in await shop.entries(number) if e["sku"]} for number in (NUMBER, "77")]
    assert skus == [{"OUR-TEA"}, {"OTHER-TEA"}]


async def test_an_order_belongs_to_the_binding_of_the_time_it_was_placed(shop: Any, order: Make) -> None:
    first, second, third = uuid4(), uuid4(), uuid4()
    await shop.post("orders/create", order())
    await shop.post("orders/create", order(78, processed_at="2027-01-01T08:00:00+08:00"))
    await shop.drain()
    await heard(shop.database, partner.handle, bound(shop, first, second))
    found = [{e["partner_id"] for e in await shop.entries(number)} for number in (NUMBER, "78")]
    assert found == [{str(first)}, {str(second)}]
    await heard(shop.database, partner.handle, bound(shop, third))
    assert {e["partner_id"] for e in await shop.entries("78")} == {str(third)}


async def test_stock_stands_as_the_last_reservation_says_and_is_no_news_of_the_order(
    shop: Any, order: Make
) -> None:
    await shop.post("orders/create", order())
    await shop.drain()
    order_id = await shop.order_id(NUMBER)
    before = (await shop.http.get(f"/v1/orders/{order_id}")).json()

    def held(version: int, state: str) -> Event[Any]:
        body = ReservationBody(order_version=1, lines=(), state=state)
        return event(catalog.INVENTORY_HELD, order_id, body, version)

    await heard(shop.database, inventory.handle, held(1, "held"), held(2, "short"))
    await heard(shop.database, inventory.handle, held(1, "held"))
    after = (await shop.http.get(f"/v1/orders/{order_id}")).json()
    assert (after["stock_status"], after["revision"]) == ("short", before["revision"] + 1)
    assert after["stream_version"] == before["stream_version"] == 1


async def test_an_order_that_cannot_be_derived_stays_as_it_was_and_holds_nobody_up(
    connect: Any, generic: Make
) -> None:
    shop = await connect("generic")
    for number, sku in enumerate(("TEA", "TEA", "CUP", "TEA")):
        line = {"line_id": "1", "kind": "product", "sku": sku, "quantity": "1", "total": "35.00"}
        await shop.post("", generic(f"G-{number}", lines=[line]))
    await shop.drain()
    mapped: dict[ShopSku, str | None] = {
        ShopSku("generic", shop.shop_id, "TEA"): "OUR-TEA",
        ShopSku("generic", shop.shop_id, "CUP"): "S" * 101,  # longer than any event may say
    }
    await shop.database.transact(WORKER, lambda tx: map_listings(tx, mapped))
    await heard(shop.database, inventory.handle)
    skus = [{entry["sku"] for entry in await shop.entries(f"G-{n}")} for n in range(4)]
    assert skus == [{"OUR-TEA"}, {"OUR-TEA"}, {None}, {"OUR-TEA"}]


class Lockless(Write):
    """The planted bug: a transaction that skips the reference lock."""

    def __init__(self, tx: Write) -> None:
        super().__init__(tx.driver, tx.service)

    async def rows(self, sql: str, *args: Any) -> list[Any]:
        return [] if "pg_advisory_xact_lock" in sql else await super().rows(sql, *args)


async def _meet(shop: Any, order: Make, seller: UUID, wrap: Callable[[Write], Write]) -> None:
    """An order and the binding of its shop in two transactions at once: both begin before either commits."""
    await shop.post("orders/create", order())
    applied = asyncio.Event()

    async def place() -> None:
        async with shop.database.write(WORKER) as tx:
            [delivery] = await deliveries.claim(tx, 1, 1)
            await orders.apply(wrap(tx), intake.read(delivery).news)
            applied.set()
            await asyncio.sleep(0.2)
            await deliveries.settle(tx, [deliveries.Settled(delivery.delivery_id, "applied")])

    async def bind() -> None:
        await applied.wait()
        async with shop.database.write(WORKER) as tx:
            await partner.handle(wrap(tx), [bound(shop, seller)])

    await asyncio.gather(place(), bind())
    await heard(shop.database, partner.handle)


async def test_an_order_and_its_binding_that_cross_are_joined(shop: Any, order: Make) -> None:
    seller = uuid4()
    await _meet(shop, order, seller, lambda tx: tx)
    assert {entry["partner_id"] for entry in await shop.entries(NUMBER)} == {str(seller)}


async def test_without_the_reference_lock_they_would_miss_each_other(shop: Any, order: Make) -> None:
    await _meet(shop, order, uuid4(), Lockless)
    assert {entry["partner_id"] for entry in await shop.entries(NUMBER)} == {None}


@pytest.mark.parametrize("careful", [True, False], ids=["lock, then marks", "planted: marks, then lock"])
async def test_deriving_marked_orders_never_waits_in_a_circle_with_who_marks_them(
    shop: Any, order: Make, careful: bool
) -> None:
    await shop.post("orders/create", order())
    await shop.drain()
    order_id = await shop.order_id(NUMBER)
    await shop.database.transact(WORKER, lambda tx: reference.mark(tx, ORDER, [order_id]))
    locked = asyncio.Event()

    async def change() -> None:
        async with shop.database.write(WORKER) as tx:
            await reference.exclusive(tx)
            locked.set()
            await asyncio.sleep(0.1)
            await reference.mark(tx, ORDER, [order_id])

    async def derive() -> None:
        await locked.wait()
        async with shop.database.write(WORKER) as tx:
            if not careful:
                await reference.take(tx, ORDER, 10)
            await derive_marked(tx, 10)

    outcomes = await asyncio.gather(change(), derive(), return_exceptions=True)
    deadlocks = [
        error for error in outcomes if isinstance(error, PostgresError) and sqlstate(error) == "40P01"
    ]
    assert len(deadlocks) == (0 if careful else 1), outcomes
    await heard(shop.database, partner.handle)
