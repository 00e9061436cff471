"""Items, listings, locations and stock over HTTP: imports, commands, lists, and what is refused how."""

from typing import Any
from uuid import uuid4


async def test_import_of_items_judges_each_row_and_the_same_file_is_unchanged(api: Any, house: Any) -> None:
    file = (
        "SKU,name,category_path,uom,quantity_scale,barcodes,unit_cost,currency\n"
        "A,Tea 茶,Drinks > Tea,box,0,690001 690002,12.50,CNY\n"
        "B,Rice,,kg,3,,,\n"
        "A,Again,,,,,,\n"
        "C,Cost,,,,,1.005,CNY\n"
        ",No SKU,,,,,,\n"
        "D,Scale,,,7,,,\n"
        "E,Money,,,,,5,XXX\n"
    )
    report = (await api.upload("/v1/items/import", file)).json()
    assert (report["created"], report["refused"]) == (2, 5)
    assert [row["line"] for row in report["refusals"]] == [4, 5, 6, 7, 8]
    again = (await api.upload("/v1/items/import", file)).json()
    assert (again["created"], again["unchanged"]) == (0, 2)
    changed = (await api.upload("/v1/items/import", file.replace("Rice", "Brown rice"))).json()
    assert (changed["changed"], changed["unchanged"]) == (1, 1)

    items = (await api.get("/v1/items")).json()["items"]
    assert [item["sku"] for item in items] == ["A", "B"]
    assert items[0]["category_path"] == ["Drinks", "Tea"]
    assert (items[0]["unit_cost_minor"], items[0]["barcodes"]) == (1250, ["690001", "690002"])
    told = await house.rows("select type from outbox order by id")
    assert [row.type.split(".")[2] for row in told] == ["item-registered", "item-registered", "item-changed"]


async def test_item_is_registered_once_and_changed_as_it_was_read(api: Any) -> None:
    made = await api.call("POST", "/v1/items", json={"sku": "A", "name": "Tea"})
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    twice = await api.call("POST", "/v1/items", json={"sku": "A", "name": "Tea"})
    assert (twice.status_code, twice.json()["code"]) == (409, "sku-taken")
    path = f"/v1/items/{made.json()['item_id']}"
    changed = await api.call("PATCH", path, json={"name": "Green tea"}, headers={"if-match": '"1"'})
    assert (changed.status_code, changed.json()["name"], changed.headers["etag"]) == (200, "Green tea", '"2"')
    stale = await api.call("PATCH", path, json={"name": "Black tea"}, headers={"if-match": '"1"'})
    assert stale.status_code == 412
    costly = await api.call("PATCH", path, json={"unit_cost_minor": 5})
    assert (costly.status_code, costly.json()["code"]) == (422, "cost-without-currency")
    assert (await api.get(path)).json()["name"] == "Green tea"
    assert (await api.get(f"/v1/items/{uuid4()}")).status_code == 404


async def test_listing_maps_known_skus_only(api: Any, house: Any) -> None:
    await house.register("A")
    body = {"platform": "shopify", "shop_id": "s-1", "platform_sku": "P/1 茶", "sku": "A"}
    made = await api.call("PUT", "/v1/listings", json=body)
    assert (made.status_code, made.json()["sku"], made.headers["etag"]) == (200, "A", '"1"')
    unknown = await api.call("PUT", "/v1/listings", json={**body, "sku": "NOPE"})
    assert (unknown.status_code, unknown.json()["code"]) == (409, "unknown-sku")
    stale = await api.call("PUT", "/v1/listings", json={**body, "sku": None}, headers={"if-match": '"7"'})
    assert stale.status_code == 412
    away = await api.call("PUT", "/v1/listings", json={**body, "sku": None}, headers={"if-match": '"1"'})
    assert away.json()["sku"] is None
    file = (
        "platform,shop_id,platform_sku,sku\nshopify,s-1,P/1 茶,A\nshopify,s-1,P-2,NOPE\nshopify,s-1,P-3,A\n"
    )
    report = (await api.upload("/v1/listings/import", file)).json()
    assert (report["created"], report["changed"], report["refused"]) == (1, 1, 1)
    assert (await api.upload("/v1/listings/import", file)).json()["unchanged"] == 2
    assert len((await api.get("/v1/listings?shop_id=s-1&limit=1")).json()["items"]) == 1
    told = await house.rows(
        "select aggregate_version from outbox where aggregate_type = 'listing' order by id"
    )
    assert sorted(row.aggregate_version for row in told) == [1, 1, 2, 3]


async def test_locations_and_the_shops_they_serve(api: Any) -> None:
    report = (await api.upload("/v1/locations/import", "code,name\neast,East\nwest,\n")).json()
    assert report["created"] == 2
    renamed = await api.call("PUT", "/v1/locations", json={"code": "east", "name": "East 2"})
    assert (renamed.json()["revision"], renamed.headers["etag"]) == (2, '"2"')
    shops = "platform,shop_id,location\nshopify,s-1,east\nshopify,s-2,moon\n"
    report = (await api.upload("/v1/shop-locations/import", shops)).json()
    assert (report["created"], report["refused"]) == (1, 1)
    assert (await api.upload("/v1/shop-locations/import", shops)).json()["unchanged"] == 1
    moon = {"platform": "shopify", "shop_id": "s-1", "location": "moon"}
    refused = await api.call("PUT", "/v1/shop-locations", json=moon)
    assert (refused.status_code, refused.json()["code"]) == (409, "unknown-location")
    assert (await api.get("/v1/shop-locations")).json()["items"] == [
        {"platform": "shopify", "shop_id": "s-1", "location": "east"}
    ]
    assert [each["code"] for each in (await api.get("/v1/locations")).json()["items"]] == [
        "east",
        "main",
        "west",
    ]


async def test_opening_stock_is_entered_once_per_shelf(api: Any, house: Any) -> None:
    await house.register("A", "B")
    order_id = uuid4()
    await house.apply(house.order(order_id, [{"sku": "A", "ordered": 2}]))
    file = "sku,location,quantity\nA,main,10\nB,,5\nC,main,1\nA,moon,1\nB,main,x\n"
    report = (await api.upload("/v1/stock/import", file)).json()
    assert (report["created"], report["refused"]) == (2, 3)
    again = (await api.upload("/v1/stock/import", file)).json()
    assert (again["created"], again["unchanged"]) == (0, 2)
    other = (await api.upload("/v1/stock/import", "sku,quantity\nA,11\n")).json()
    assert other["refusals"][0]["reason"] == "an opening was entered before; use an adjustment"
    await house.drain()
    assert (await house.hold(order_id)).committed == 2
    assert (await house.stock("A")).on_hand == 10
    await house.audit()


async def test_receipt_counts_once_per_key(api: Any, house: Any) -> None:
    await house.register("A")
    key = uuid4().hex
    body = {"lines": [{"sku": "A", "quantity": "5"}, {"sku": "A", "quantity": "2"}], "reason": "PO 7"}
    first = await api.post("/v1/receipts", body, key=key)
    again = await api.post("/v1/receipts", body, key=key)
    assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert first.json()["stock"][0]["on_hand"] == "7"
    assert (await house.stock("A")).on_hand == 7
    moves = (await api.get("/v1/movements?sku=A&limit=1")).json()
    assert (moves["items"][0]["quantity"], moves["items"][0]["reason"]) == ("2", "PO 7")
    more = (await api.get(f"/v1/movements?sku=A&limit=1&cursor={moves['next_cursor']}")).json()
    assert (more["items"][0]["quantity"], more["next_cursor"]) == ("5", None)
    await house.audit()


async def test_adjustment_cannot_take_what_is_promised(api: Any, house: Any) -> None:
    await house.register("A")
    await house.receive("A", 10)
    await house.apply(house.order(uuid4(), [{"sku": "A", "ordered": 6}]))
    body = {"lines": [{"sku": "A", "quantity": "-3"}, {"sku": "A", "quantity": "-2"}], "reason": "count"}
    refused = await api.post("/v1/adjustments", body)
    assert (refused.status_code, refused.json()["code"]) == (409, "stock-promised")
    assert refused.json()["lines"] == [{"sku": "A", "location": "main", "free": "1"}]
    assert (await house.stock("A")).on_hand == 10, "all lines or none"
    scrap = {"lines": [{"sku": "A", "quantity": "-4", "kind": "scrap"}], "reason": "broken"}
    assert (await api.post("/v1/adjustments", scrap)).json()["stock"][0]["available"] == "0"
    await house.audit()


async def test_transfer_moves_both_ends_at_once(api: Any, house: Any) -> None:
    await house.register("A")
    await house.locate("east")
    await house.receive("A", 10)
    line = {"sku": "A", "source": "main", "destination": "east", "quantity": "4"}
    done = await api.post("/v1/transfers", {"lines": [line]})
    assert done.status_code == 201, done.text
    assert [(await house.stock("A", each)).on_hand for each in ("main", "east")] == [6, 4]
    refused = await api.post("/v1/transfers", {"lines": [{**line, "quantity": "7"}]})
    assert refused.json()["code"] == "stock-promised"
    await house.audit()


async def test_safety_and_quarantine_limit_what_may_be_promised(api: Any, house: Any) -> None:
    await house.register("A")
    await house.receive("A", 10)
    stock_id = (await house.stock("A")).stock_id
    path = f"/v1/stock/levels/{stock_id}"
    limited = await api.call(
        "PATCH", path, json={"safety": "3", "quarantined": "2"}, headers={"if-match": '"1"'}
    )
    assert (limited.status_code, limited.json()["available"]) == (200, "5")
    assert (
        await api.call("PATCH", path, json={"safety": "1"}, headers={"if-match": '"1"'})
    ).status_code == 412
    too_much = await api.call("PATCH", path, json={"quarantined": "11"})
    assert too_much.json()["code"] == "stock-promised"
    order_id = uuid4()
    await house.apply(house.order(order_id, [{"sku": "A", "ordered": 8}]))
    assert (await house.hold(order_id)).short == 3
    await api.call("PATCH", path, json={"safety": "0"})
    await house.drain()
    assert (await house.hold(order_id)).short == 0
    await house.audit()


async def test_what_is_available_of_several_full_shelves_outgrows_one_quantity(api: Any, house: Any) -> None:
    await house.register("A")
    await house.locate("east")
    for location in ("main", "east"):
        await house.receive("A", "99999999999999", location)
    [item] = (await api.get("/v1/availability?sku=A")).json()["items"]
    assert item["available"] == "199999999999998"


async def test_availability_single_and_bulk_for_partners_too(api: Any, house: Any) -> None:
    await house.register("A", "B/1")
    await house.locate("east")
    await house.receive("A", 10)
    await house.receive("A", 4, "east")
    partner = api.token("stock:read", partner_id=uuid4())
    answer = await api.get("/v1/availability?sku=A&sku=NOPE", as_=partner)
    assert [(each["sku"], each["available"]) for each in answer.json()["items"]] == [
        ("A", "14"),
        ("NOPE", "0"),
    ]
    bulk = await api.call("POST", "/v1/availability", json={"skus": ["NOPE", "A"]}, as_=partner)
    assert [each["available"] for each in bulk.json()["items"]] == ["0", "14"]
    assert (await api.get("/v1/availability?" + "&".join(f"sku=S{n}" for n in range(201)))).status_code == 422
    for path in (
        "/v1/stock",
        "/v1/stock/A",
        "/v1/movements",
        "/v1/items",
        "/v1/listings",
        "/v1/discrepancies",
    ):
        refused = await api.get(path, as_=partner)
        assert (refused.status_code, refused.json()["code"]) == (403, "staff-only")
    assert len((await api.get("/v1/stock/A")).json()) == 2
    await house.receive("B/1", 1)
    assert (await api.get("/v1/stock/B%2F1")).json()[0]["sku"] == "B/1"
    assert (await api.get("/v1/stock/NOPE")).status_code == 404


async def test_lists_page_through_everything_once(api: Any, house: Any) -> None:
    skus = [f"S{n:02}" for n in range(7)]
    await house.register(*skus)
    for sku in skus:
        await house.receive(sku, 1)
    ids = [uuid4() for _ in range(3)]
    for order_id in ids:
        await house.apply(
            house.order(order_id, [{"sku": skus[0], "ordered": 1}, {"platform_sku": "?", "ordered": 1}])
        )
    for path, expected in (
        ("/v1/items?limit=2", 7),
        ("/v1/stock?limit=3", 7),
        ("/v1/movements?limit=2", 7),
        ("/v1/holds?limit=2", 6),
        ("/v1/holds?limit=2&only=unmapped", 3),
        ("/v1/holds?limit=1&only=short", 2),
        (f"/v1/holds?order_id={ids[0]}", 2),
    ):
        seen: list[str] = []
        cursor = None
        while True:
            page = (await api.get(path + (f"&cursor={cursor}" if cursor else ""))).json()
            seen += [str(item) for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert (len(seen), len(set(seen))) == (expected, expected), path


async def test_discrepancies_are_listed_while_they_are_open(api: Any, house: Any) -> None:
    await house.register("A")
    await house.apply(house.order(uuid4(), [{"sku": "A", "ordered": 2, "shipped": 2}]))
    (gap,) = (await api.get("/v1/discrepancies")).json()["items"]
    assert (gap["kind"], gap["quantity"]) == ("shipped-beyond-stock", "2")
    await house.receive("A", 2)
    await house.drain()
    assert (await api.get("/v1/discrepancies")).json()["items"] == []


RECEIPT = {"lines": [{"sku": "A", "quantity": "1"}]}


BAD_COMMANDS: list[tuple[str, str, Any, int, str]] = [
    ("POST", "/v1/receipts", {"lines": [{"sku": "A", "quantity": "-1"}]}, 422, "invalid-request"),
    ("POST", "/v1/receipts", {"lines": [{"sku": "A", "quantity": "NaN"}]}, 422, "invalid-request"),
    (
        "POST",
        "/v1/receipts",
        {"lines": [{"sku": "A", "quantity": "1", "unit": "x"}]},
        422,
        "invalid-request",
    ),
    ("POST", "/v1/receipts", {"lines": [{"sku": "NOPE", "quantity": "1"}]}, 409, "unknown-sku"),
    ("POST", "/v1/receipts", {"lines": [{"sku": "A", "quantity": "1.5"}]}, 409, "quantity-too-fine"),
    ("POST", "/v1/receipts", {"lines": [{"sku": "A", "quantity": "9" * 14}] * 2}, 409, "stock-promised"),
    (
        "POST",
        "/v1/adjustments",
        {**RECEIPT, "lines": [{"sku": "A", "quantity": "0"}]},
        422,
        "invalid-request",
    ),
    ("POST", "/v1/adjustments", RECEIPT, 422, "invalid-request"),
    ("POST", "/v1/items", {"sku": "", "name": "x"}, 422, "invalid-request"),
    ("POST", "/v1/items", {"sku": "x" * 101, "name": "x"}, 422, "invalid-request"),
    ("POST", "/v1/items", {"sku": "N", "name": "x", "currency": "cny"}, 422, "invalid-request"),
    ("POST", "/v1/items", {"sku": "N", "name": "x", "currency": "XXX"}, 422, "invalid-request"),
    ("POST", "/v1/items", {"sku": "N\r\n", "name": "x"}, 422, "invalid-request"),
    ("POST", "/v1/items", {"sku": " ", "name": "x"}, 422, "invalid-request"),
    ("POST", "/v1/items", {"sku": "N", "name": "x", "barcodes": ["\u202e1"]}, 422, "invalid-request"),
    ("PUT", "/v1/locations", {"code": "east ", "name": "x"}, 422, "invalid-request"),
    ("POST", "/v1/items", {"sku": "N", "name": "x", "unit_cost_minor": 10**23}, 400, "malformed-json"),
    ("POST", "/v1/items", {"sku": "N", "name": "x", "unit_cost_minor": 1.5}, 422, "invalid-request"),
    ("POST", "/v1/items", {"sku": "N", "name": "x", "revision": 9}, 422, "invalid-request"),
    (
        "PUT",
        "/v1/listings",
        {"platform": "p", "shop_id": "s", "platform_sku": "x"},
        422,
        "invalid-request",
    ),
    ("PATCH", f"/v1/stock/levels/{uuid4()}", {"safety": "1"}, 404, "not-found"),
    ("PATCH", f"/v1/stock/levels/{uuid4()}", {"safety": "-1"}, 422, "invalid-request"),
    ("PATCH", "/v1/stock/levels/not-an-id", {"safety": "1"}, 422, "invalid-request"),
    ("POST", "/v1/availability", {"skus": []}, 422, "invalid-request"),
]


async def test_bad_commands_are_problems_that_say_why(api: Any, house: Any) -> None:
    await house.register("A")
    for method, path, body, status, code in BAD_COMMANDS:
        answer = await api.call(method, path, key=uuid4().hex, json=body)
        assert (answer.status_code, answer.json().get("code")) == (status, code), (path, body)
        assert answer.headers["content-type"] == "application/problem+json"
    assert not await house.rows("select * from movement")


async def test_bad_pages_are_problems(api: Any) -> None:
    for path in ("/v1/items", "/v1/stock", "/v1/movements", "/v1/holds", "/v1/listings", "/v1/discrepancies"):
        for query in (
            "limit=0",
            "limit=201",
            "limit=x",
            "limit=-1",
            "cursor=tampered",
            "cursor=%FF",
            "cursor=",
        ):
            status = (await api.get(f"{path}?{query}")).status_code
            assert 400 <= status < 500, (path, query)


async def test_scopes_are_demanded(api: Any) -> None:
    assert (await api.post("/v1/receipts", RECEIPT, as_=api.token("stock:read"))).status_code == 403
    assert (await api.get("/v1/stock", as_=api.token("orders:read"))).status_code == 403
    assert (await api.client.get("/v1/stock")).status_code == 401
