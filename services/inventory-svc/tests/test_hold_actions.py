"""Holds on a real PostgreSQL: one transaction per poll, and what it leaves in tables and outbox."""

from typing import Any
from uuid import UUID, uuid4

from channel_kit.database import WORKER, Actor

PARTNER = UUID(int=77)


async def test_paid_order_is_committed_and_announced_once(house: Any) -> None:
    await house.register("A")
    await house.receive("A", 10)
    order_id = uuid4()
    await house.apply(house.order(order_id, [{"sku": "A", "ordered": 3}, {"sku": "A", "ordered": 2}]))

    first, second = await house.hold(order_id, 1), await house.hold(order_id, 2)
    assert (first.committed, second.committed, first.expires_at) == (3, 2, None)
    row = await house.stock("A")
    assert (row.on_hand, row.reserved, row.allocated) == (10, 0, 5)
    told = await house.announced("reservation", order_id)
    assert [(each.type, each.aggregate_version) for each in told] == [("channel.inventory.held.v1", 1)]
    assert told[0].body["state"] == "committed"
    assert [line["committed"] for line in told[0].body["lines"]] == ["3", "2"]
    moves = await house.announced("stock", row.stock_id)
    assert [each.body["moved"] for each in moves] == [{"receipt": "10"}, {}]
    await house.audit()


async def test_life_of_an_order_names_each_step(house: Any) -> None:
    await house.register("A")
    await house.receive("A", 5)
    order_id = uuid4()
    steps: list[tuple[dict[str, Any], str]] = [
        ({"ordered": 4}, "unpaid"),
        ({"ordered": 4}, "paid"),
        ({"ordered": 4, "shipped": 2}, "paid"),
        ({"ordered": 4, "shipped": 2, "cancelled": 2}, "partially_refunded"),
        ({"ordered": 4, "shipped": 2, "cancelled": 2, "restocked": 1}, "refunded"),
    ]
    for version, (line, payment) in enumerate(steps, 1):
        await house.apply(house.order(order_id, [{"sku": "A", **line}], payment, version))
    told = await house.announced("reservation", order_id)
    assert [(each.type.split(".")[2], each.body["state"]) for each in told] == [
        ("held", "held"),
        ("held", "committed"),
        ("issued", "committed"),
        ("released", "issued"),
        ("issued", "issued"),
    ]
    moves = await house.rows("select kind, quantity, cause from movement order by movement_id")
    assert [tuple(move) for move in moves] == [
        ("receipt", 5, "receipt"),
        ("issue", -2, "shipped"),
        ("return", 1, "restocked"),
    ]
    await house.audit()


async def test_change_that_nobody_sees_moves_the_order_version_only(house: Any) -> None:
    await house.register("A")
    await house.receive("A", 5)
    order_id = uuid4()
    lines = [{"sku": "A", "ordered": 1}, {"line_kind": "freight", "ordered": 1}]
    await house.apply(house.order(order_id, lines))
    await house.apply(house.order(order_id, lines, version=2), house.order(order_id, lines, version=3))
    assert len(await house.announced("reservation", order_id)) == 1
    (head,) = await house.rows("select order_version, stream_version from reservation")
    assert tuple(head) == (3, 1)


async def test_stale_and_doubled_snapshots_change_nothing(house: Any) -> None:
    await house.register("A")
    await house.receive("A", 9)
    order_id = uuid4()
    await house.apply(house.order(order_id, [{"sku": "A", "ordered": 5}], version=2))
    await house.apply(house.order(order_id, [{"sku": "A", "ordered": 1}], version=1))
    await house.apply(house.order(order_id, [{"sku": "A", "ordered": 7}], version=2))
    assert (await house.hold(order_id)).committed == 5


async def test_poll_of_many_orders_serves_whoever_came_first(house: Any) -> None:
    await house.register("A")
    await house.receive("A", 3)
    ids = [uuid4() for _ in range(5)]
    await house.apply(*(house.order(order_id, [{"sku": "A", "ordered": 1}]) for order_id in ids))
    assert [(await house.hold(order_id)).committed for order_id in ids] == [1, 1, 1, 0, 0]
    row = await house.stock("A")
    assert len(await house.announced("stock", row.stock_id)) == 2, "one event per stock row and batch"
    await house.audit()


async def test_unmapped_line_touches_no_stock_and_is_held_once_it_is_mapped(house: Any) -> None:
    await house.register("A")
    await house.receive("A", 5)
    order_id = uuid4()
    await house.apply(house.order(order_id, [{"platform_sku": "P-1", "ordered": 2, "shipped": 1}]))
    line = await house.hold(order_id)
    assert (line.sku, line.short, line.issued) == (None, 2, 0)

    await house.map("P-1", "A")
    await house.drain()
    line = await house.hold(order_id)
    assert (line.sku, line.committed, line.issued, line.short) == ("A", 1, 1, 0)
    assert (await house.stock("A")).on_hand == 4
    await house.audit()


async def test_platform_sku_equal_to_ours_maps_by_itself(house: Any) -> None:
    early, late = uuid4(), uuid4()
    await house.apply(house.order(early, [{"platform_sku": "A", "ordered": 1}]))
    await house.register("A")
    await house.receive("A", 5)
    await house.apply(house.order(late, [{"platform_sku": "A", "ordered": 1}]))
    await house.drain()
    assert [(await house.hold(each)).committed for each in (early, late)] == [1, 1]


async def test_new_mapping_leaves_mapped_lines_alone_and_the_order_s_word_moves_them(house: Any) -> None:
    await house.register("A", "B")
    await house.receive("A", 5)
    await house.receive("B", 5)
    await house.map("P-1", "A")
    order_id = uuid4()
    await house.apply(house.order(order_id, [{"platform_sku": "P-1", "ordered": 2, "shipped": 1}]))
    await house.map("P-1", "B")
    await house.drain()
    await house.apply(house.order(order_id, [{"platform_sku": "P-1", "ordered": 2, "shipped": 1}], version=2))
    assert (await house.hold(order_id)).sku == "A"

    moved = house.order(
        order_id, [{"platform_sku": "P-1", "sku": "B", "ordered": 2, "shipped": 1}], version=3
    )
    await house.apply(moved)
    line, a, b = await house.hold(order_id), await house.stock("A"), await house.stock("B")
    assert (line.sku, line.committed, line.issued) == ("B", 1, 1)
    assert (a.on_hand, a.allocated, b.on_hand, b.allocated) == (5, 0, 4, 1)
    await house.audit()


async def test_shipment_beyond_stock_is_recorded_and_settled_by_the_next_receipt(house: Any) -> None:
    await house.register("A")
    await house.receive("A", 3)
    other, order_id = uuid4(), uuid4()
    await house.apply(house.order(other, [{"sku": "A", "ordered": 1}]))
    await house.apply(house.order(order_id, [{"sku": "A", "ordered": 5, "shipped": 5}]))
    line = await house.hold(order_id)
    assert (line.issued, line.short) == (2, 3), "another order's unit is not taken"
    assert (await house.stock("A")).on_hand == 1
    (gap,) = await house.rows("select kind, quantity from discrepancy")
    assert tuple(gap) == ("shipped-beyond-stock", 3)

    await house.receive("A", 10)
    await house.drain()
    line = await house.hold(order_id)
    assert (line.issued, line.short) == (5, 0)
    (gap,) = await house.rows("select kind, quantity from discrepancy")
    assert gap.quantity == 0
    assert (await house.stock("A")).on_hand == 8
    await house.audit()


async def test_refill_serves_the_oldest_first_and_only_once(house: Any) -> None:
    await house.register("A")
    ids = [uuid4() for _ in range(4)]
    for order_id in ids:
        await house.apply(house.order(order_id, [{"sku": "A", "ordered": 2}]))
    await house.receive("A", 5)
    await house.drain()
    assert [(await house.hold(order_id)).committed for order_id in ids] == [2, 2, 1, 0]
    assert not await house.rows("select * from refill")
    told = await house.announced("reservation", ids[0])
    assert [each.type.split(".")[2] for each in told] == ["short", "held"]
    await house.audit()


async def test_expiry_frees_stock_for_those_who_wait(house: Any) -> None:
    await house.register("A")
    await house.receive("A", 2)
    unpaid, paid = uuid4(), uuid4()
    await house.apply(house.order(unpaid, [{"sku": "A", "ordered": 2}], "unpaid", channel="brief"))
    await house.apply(house.order(paid, [{"sku": "A", "ordered": 1}]))
    assert (await house.hold(unpaid)).held == 2
    await house.pass_time(unpaid)
    await house.drain()
    assert ((await house.hold(unpaid)).expired, (await house.hold(paid)).committed) == (2, 1)

    await house.apply(house.order(unpaid, [{"sku": "A", "ordered": 2}], "paid", 2, channel="brief"))
    line = await house.hold(unpaid)
    assert (line.committed, line.short, line.expired) == (1, 1, 0), (
        "what lapsed is claimed anew, as far as it is there"
    )
    await house.audit()


async def test_cash_on_delivery_does_not_expire(house: Any) -> None:
    await house.register("A")
    await house.receive("A", 2)
    order_id = uuid4()
    await house.apply(house.order(order_id, [{"sku": "A", "ordered": 2}], "unpaid", flags=("cod",)))
    line = await house.hold(order_id)
    assert (line.committed, line.expires_at) == (2, None)


async def test_shop_is_served_from_its_location_and_held_lines_stay(house: Any) -> None:
    await house.register("A")
    await house.receive("A", 5)
    await house.locate("east")
    await house.receive("A", 5, "east")
    first, second = uuid4(), uuid4()
    await house.apply(house.order(first, [{"sku": "A", "ordered": 1}]))
    await house.serve_from("east")
    await house.apply(
        house.order(first, [{"sku": "A", "ordered": 2}], version=2),
        house.order(second, [{"sku": "A", "ordered": 1}]),
    )
    assert [(await house.hold(each)).location for each in (first, second)] == ["main", "east"]
    assert [(await house.stock("A", each)).allocated for each in ("main", "east")] == [2, 1]


async def test_line_that_is_gone_from_the_order_gives_its_claim_back(house: Any) -> None:
    await house.register("A")
    await house.receive("A", 5)
    order_id = uuid4()
    await house.apply(house.order(order_id, [{"sku": "A", "ordered": 1}, {"sku": "A", "ordered": 2}]))
    await house.apply(house.order(order_id, [{"sku": "A", "ordered": 1}], version=2))
    assert (await house.hold(order_id, 2)).demanded == 0
    assert (await house.stock("A")).allocated == 1


async def test_partner_sees_the_holds_of_its_own_orders_only(house: Any) -> None:
    await house.register("A")
    order_id, other = uuid4(), uuid4()
    await house.apply(
        house.order(order_id, [{"sku": "A", "ordered": 1}]), house.order(other, [{"sku": "A", "ordered": 1}])
    )
    await house.apply(house.order(order_id, [{"sku": "A", "ordered": 1}], version=2, partner_id=PARTNER))
    for actor, expected in (
        (Actor.partner(PARTNER), {order_id}),
        (Actor.partner(UUID(int=78)), set()),
        (WORKER, {order_id, other}),
    ):
        async with house.database.read(actor) as tx:
            for table in ("reservation", "hold"):
                rows = await tx.rows(f"select order_id from {table}")  # noqa: S608
                assert {row.order_id for row in rows} == expected
