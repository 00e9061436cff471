"""Ids that collide, are used again, are spelt alike, or are none: what is the same is the same, and nothing else is.

Deliveries are told apart by their own ids and bodies, orders by shop and the platform's id, letter by letter; our
own ids are UUIDs, whatever the case they are written in.
"""

import json
from uuid import UUID, uuid4

from .bad import Bad, Make, Tally, judge
from .deployment import Deployment, new_id, until
from .letters import generic_order, shopify_order
from .shops import Shop, as_bytes


async def test_identities_that_collide_are_told_apart(stack: Deployment, connect: Make, tally: Tally) -> None:
    generic, shopify, twin = await connect("generic"), await connect(), await connect()

    # The same signed id with another body: both are kept, and the order says so.
    number = f"O-{uuid4().hex}"
    first = json.dumps(generic_order(number, "TEA")).encode()
    second = json.dumps(generic_order(number, "TEA", sequence=2, total="80.00")).encode()
    for raw in (first, first, second):
        answer = await stack.http.post(
            generic.url, content=raw, headers=generic.headers(raw, message_id="msg_reused")
        )
        tally(Bad.IDENTITY, str(answer.status_code))
        assert answer.status_code == 200
    kept = await generic.settled(number)
    await until(lambda: _flagged(generic, number))
    assert (
        await stack.value(
            "order", "select count(*) from delivery where order_id = $1::text::uuid", kept["order_id"]
        )
        == 2
    )

    # The same body under another id is the same document; the same number in another shop is another order.
    order_id = new_id()
    body = shopify_order(order_id, "TEA")
    for shop in (shopify, shopify, twin):
        await shop.sent(body, "orders/create")
    one, two = await shopify.settled(order_id), await twin.settled(order_id)
    assert one["order_id"] != two["order_id"]
    assert one["stream_version"] == 1

    # Ids differ by case, by composition and by blanks inside; each is its own order.
    spellings = [f"{number}-a", f"{number}-A", f"{number}-é", f"{number}-e\u0301", f"{number}- a"]
    for spelling in spellings:
        await generic.sent(generic_order(spelling, "TEA"))
    found = {(await generic.settled(spelling))["order_id"] for spelling in spellings}
    assert len(found) == len(spellings)
    await stack.audit_clean()


async def _flagged(shop: Shop, number: str) -> bool:
    order = await shop.order(number)
    return order is not None and "delivery-id-reused" in order["flags"]


async def test_one_message_id_in_several_shops_channels_and_partners_is_several_messages(
    stack: Deployment, trade: Make, tally: Tally
) -> None:
    """Message ids and order numbers belong to the shop: the same ones elsewhere take nothing from anybody."""
    sold = [await trade("generic"), await trade("generic"), await trade("shopify")]
    number, message = f"{new_id()}", f"msg_{uuid4().hex}"
    for each in sold:
        shop = each.shop
        if shop.platform == "shopify":
            raw = as_bytes(shopify_order(int(number), each.sku))
            headers = {**shop.headers(raw, "orders/create"), "x-shopify-webhook-id": message}
        else:
            raw = as_bytes(generic_order(number, each.sku))
            headers = shop.headers(raw, message_id=message)
        answer = await stack.http.post(shop.url, content=raw, headers=headers)
        tally(Bad.IDENTITY, str(answer.status_code))
        assert answer.status_code == 200
    await stack.audit_clean()
    orders = [await each.shop.settled(number) for each in sold]
    assert len({order["order_id"] for order in orders}) == 3
    assert [order["partner_id"] for order in orders] == [each.partner_id for each in sold]
    assert not any("delivery-id-reused" in order["flags"] for order in orders)


async def test_an_order_number_that_is_used_again_is_a_newer_account_of_that_order(
    stack: Deployment, connect: Make, tally: Tally
) -> None:
    """A hundred days later the platform numbers another order alike: one order, both accounts kept, nothing twice."""
    shop, order_id = await connect(), new_id()
    first = shopify_order(order_id, "TEA", updated="2026-03-02T10:00:00+08:00")
    second = shopify_order(order_id, "CUP", updated="2026-06-10T10:00:00+08:00", quantity=1)
    second |= {"created_at": "2026-06-10T10:00:00+08:00", "processed_at": "2026-06-10T10:00:00+08:00"}
    for body in (first, second, first):
        answer = await shop.post(body, "orders/create")
        tally(Bad.IDENTITY, str(answer.status_code))
        assert answer.status_code == 200
    await stack.taken_in()
    await stack.audit_clean()
    order = await shop.settled(order_id)
    assert [line["platform_sku"] for line in order["lines"] if line["line_kind"] == "product"] == ["CUP"]
    documents = await stack.get("order", f"/v1/orders/{order['order_id']}/documents")
    assert len(documents) == 2
    assert await stack.value("order", "select count(*) from order_head where shop_id = $1", shop.shop_id) == 1


async def test_ids_of_others_are_letters_and_ours_are_numbers(
    stack: Deployment, connect: Make, tally: Tally
) -> None:
    """A platform's UUID in capitals is another id; one of ours is the same in any spelling, and nil is nobody's."""
    shop = await connect("generic")
    number = str(uuid4())
    assert number != number.upper()
    spellings = [number, number.upper(), number.replace("-", ""), f"{{{number}}}", str(UUID(int=0))]
    for spelling in spellings:
        answer = await shop.post(generic_order(spelling, "TEA"))
        tally(Bad.IDENTITY, str(answer.status_code))
    found = {(await shop.settled(spelling))["order_id"] for spelling in spellings}
    assert len(found) == len(spellings)

    ours = (await shop.settled(number))["order_id"]
    cases: list[tuple[str, str, str, int]] = [
        ("small letters", "order", f"/v1/orders/{ours}", 200),
        ("capitals", "order", f"/v1/orders/{ours.upper()}", 200),
        ("without hyphens", "order", f"/v1/orders/{ours.replace('-', '')}", 200),
        ("the platform's id", "order", f"/v1/orders/{number}", 404),
        ("cut", "order", f"/v1/orders/{ours[:-1]}", 422),
        ("4 kB", "order", "/v1/orders/" + "a" * 4_096, 422),
        ("empty", "order", "/v1/orders/", 404),
        *(
            (f"nil in {service}", service, f"{path}/{UUID(int=0)}", 404)
            for service, path in (
                ("order", "/v1/orders"),
                ("order", "/v1/deliveries"),
                ("partner", "/v1/partners"),
                ("partner", "/v1/contracts"),
                ("inventory", "/v1/reservations"),
                ("inventory", "/v1/items"),
            )
        ),
    ]
    for name, service, path, expected in cases:
        answer = await stack.ask(service, "GET", path)
        judge(tally, Bad.IDENTITY, name, answer, expected)
        if expected == 200:
            assert answer.json()["order_id"] == ours, name
    await stack.audit_clean()
