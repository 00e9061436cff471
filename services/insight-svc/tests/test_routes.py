"""Figures over HTTP: one worked example by hand, comparison, pages, what a partner sees, and bad questions.

The example, in fen, days in Shanghai:
order A, placed 1 July, paid 2 July at 00:30 (16:30 UTC of the first): 2 of TEA, list 200.00, promotion −20.00,
platform coupon −10.00, merchant coupon −5.00, tax 19.50, so net 184.50 and net sales 184.50 − 19.50 + 10.00 = 175.00;
freight 8.00. Both shipped 2 July; one sent back and paid back on 3 July: half of everything, 92.25, net sales 87.50.
order B, placed and paid 2 July: 1 of TEA, list 50.00, tax 5.00; 1 of CUP, list 300.00, tax 30.00.
Rebate: 10.00 accrued on 2 July over bases TEA 225.00 and CUP 300.00; −1.67 on 3 July for TEA.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from channel_events import catalog
from channel_events.envelope import Event
from channel_events.inventory import ItemBody
from channel_kit.database import Database

P1, P2 = UUID(int=1), UUID(int=2)
CELL = UUID(int=5)
PLACED_A = datetime(2026, 7, 1, 4, tzinfo=UTC)
PAID_A = datetime(2026, 7, 1, 16, 30, tzinfo=UTC)
SENT_A = datetime(2026, 7, 2, 6, tzinfo=UTC)
BACK_A = datetime(2026, 7, 3, 3, tzinfo=UTC)
AT_B = datetime(2026, 7, 2, 4, tzinfo=UTC)
JULY = {"from_": "2026-07-01", "to": "2026-07-31"}


def example(make: Any) -> list[Event[Any]]:
    online: dict[str, Any] = {"partner_id": P1, "channel": "online"}
    a, b = uuid4(), uuid4()
    tea: dict[str, Any] = {**online, "order_id": a, "sku": "TEA", "line_no": 1}
    freight: dict[str, Any] = {**online, "order_id": a, "line_no": 2, "line_kind": "freight", "freight": 800}
    full = {"list": 20_000, "promo": -2_000, "platform_coupon": -1_000, "merchant_coupon": -500, "tax": 1_950}
    half = {name: -amount // 2 for name, amount in full.items()}
    tea_b: dict[str, Any] = {**online, "order_id": b, "sku": "TEA", "line_no": 1, "list": 5_000, "tax": 500}
    cup_b: dict[str, Any] = {
        **online,
        "order_id": b,
        "sku": "CUP",
        "line_no": 2,
        "list": 30_000,
        "tax": 3_000,
    }
    item = ItemBody(sku="TEA", name="Green tea", uom="box", quantity_scale=0)
    return [
        make.partner(P1, "Jade House"),
        make.event(catalog.INVENTORY_ITEM_REGISTERED, uuid4(), 1, item, PLACED_A),
        make.order_event(
            make.order(a, PLACED_A, ["TEA"], **online),
            1,
            [
                make.entry("ordered", PLACED_A, quantity=Decimal(2), **tea, **full),
                make.entry("ordered", PLACED_A, quantity=Decimal(1), **freight),
            ],
        ),
        make.order_event(
            make.order(a, PLACED_A, ["TEA"], paid_at=PAID_A, **online),
            2,
            [make.entry("paid", PAID_A, **tea, **full), make.entry("paid", PAID_A, **freight)],
        ),
        make.order_event(
            make.order(a, PLACED_A, ["TEA"], paid_at=PAID_A, **online),
            3,
            [make.entry("shipped", SENT_A, origin_at=PLACED_A, quantity=Decimal(2), **tea)],
        ),
        make.order_event(
            make.order(a, PLACED_A, ["TEA"], paid_at=PAID_A, **online),
            4,
            [
                make.entry("returned", BACK_A, origin_at=PLACED_A, quantity=Decimal(-1), **tea, **half),
                make.entry("refunded", BACK_A, origin_at=PAID_A, **tea, **half),
            ],
            at=BACK_A,
        ),
        make.order_event(
            make.order(b, AT_B, ["TEA", "CUP"], paid_at=AT_B, **online),
            1,
            [
                make.entry("ordered", AT_B, quantity=Decimal(1), **tea_b),
                make.entry("ordered", AT_B, quantity=Decimal(1), **cup_b),
                make.entry("paid", AT_B, **tea_b),
                make.entry("paid", AT_B, **cup_b),
            ],
        ),
        make.accrual(CELL, 1, P1, 1_000, [("online", "TEA", 22_500), ("online", "CUP", 30_000)], SENT_A),
        make.accrual(CELL, 2, P1, -167, [("online", "TEA", -8_750)], BACK_A),
    ]


async def figures(client: Any, **query: Any) -> dict[str | None, dict[str, Any]]:
    answer = await client.get("/v1/insight/kpis", **query)
    assert answer.status_code == 200, answer.text
    return {item["key"]: item["figures"] for item in answer.json()["items"]}


def values(group: dict[str, Any]) -> dict[str, Any]:
    return {name: figure["value"] for name, figure in group.items()}


async def test_the_example_by_hand(facts: Database, make: Any, deliver: Any, client: Any) -> None:
    await deliver(facts, example(make))
    [group] = (await figures(client, **JULY)).values()
    assert values(group) == {
        "net_sales": 43_750,  # 175.00 + 50.00 + 300.00 - 87.50
        "demand_net_sales": 43_750,
        "orders": 2,
        "units": "4",  # the freight line's quantity is no unit
        "aov": 21_875,
        "refund_rate": "0.15974",  # 92.25 / 577.50 = 0.159740…
        "return_rate": "0.5",
        "rebate_cost": 833,
        "rebate_rate": "0.01904",
    }
    rate = group["refund_rate"]
    assert (rate["numerator"], rate["denominator"], rate["entries"]) == (9_225, 57_750, 5)
    assert (rate["unit"], rate["formula_version"], rate["completeness_percent"]) == ("ratio", 1, "100.00")
    returned = group["return_rate"]
    assert (returned["numerator"], returned["denominator"], returned["entries"]) == ("1", "2", 2)
    assert (group["aov"]["numerator"], group["aov"]["denominator"]) == (43_750, 2)


async def test_the_example_by_sku_counts_an_order_under_each(
    facts: Database, make: Any, deliver: Any, client: Any
) -> None:
    await deliver(facts, example(make))
    groups = await figures(client, group_by="sku", **JULY)
    assert {key: group["net_sales"]["value"] for key, group in groups.items()} == {
        None: 0,
        "CUP": 30_000,
        "TEA": 13_750,
    }
    assert {key: group["orders"]["value"] for key, group in groups.items()} == {None: 0, "CUP": 1, "TEA": 2}
    assert {key: group["rebate_cost"]["value"] for key, group in groups.items()} == {
        None: 0,
        "CUP": 571,
        "TEA": 262,
    }
    assert groups["TEA"]["aov"]["value"] == 6_875
    assert (groups[None]["aov"]["value"], groups[None]["aov"]["reason"]) == (None, "denominator-zero")
    [tea] = (await figures(client, sku="TEA", **JULY)).values()
    assert values(tea) == values(groups["TEA"])


async def test_the_example_by_day_in_the_enterprise_zone(
    facts: Database, make: Any, deliver: Any, client: Any
) -> None:
    await deliver(facts, example(make))
    groups = await figures(client, group_by="day", **JULY)
    assert {
        key: (g["net_sales"]["value"], g["orders"]["value"], g["units"]["value"]) for key, g in groups.items()
    } == {
        "2026-07-01": (0, 0, "2"),
        "2026-07-02": (52_500, 2, "2"),
        "2026-07-03": (-8_750, 0, "0"),
    }


async def test_labels_scope_and_freshness(facts: Database, make: Any, deliver: Any, client: Any) -> None:
    await deliver(facts, example(make))
    answer = (await client.get("/v1/insight/kpis", group_by="partner", **JULY)).json()
    [group] = answer["items"]
    assert (group["key"], group["label"], group["currency"]) == (str(P1), "Jade House", "CNY")
    assert (answer["from_on"], answer["to_on"], answer["time_zone"]) == (
        "2026-07-01",
        "2026-07-31",
        "Asia/Shanghai",
    )
    assert answer["as_of"] == "2026-07-03T03:00:00Z"
    by_sku = (await client.get("/v1/insight/kpis", group_by="sku", **JULY)).json()
    assert {item["key"]: item["label"] for item in by_sku["items"]} == {
        None: None,
        "CUP": None,
        "TEA": "Green tea",
    }
    feeds = {feed["consumer"]: feed for feed in (await client.get("/v1/insight/freshness")).json()["feeds"]}
    assert set(feeds) == {"insight.order", "insight.incentive", "insight.inventory", "insight.partner"}
    assert feeds["insight.order"]["last_event_at"] == "2026-07-03T03:00:00Z"
    assert feeds["insight.order"]["age_seconds"] >= feeds["insight.order"]["lag_seconds"] >= 0


async def test_a_period_is_compared_with_the_one_before(
    facts: Database, make: Any, deliver: Any, client: Any
) -> None:
    await deliver(facts, example(make))
    query = {"from_": "2026-07-03", "to": "2026-07-03", "compare": "previous"}
    [group] = (await figures(client, **query)).values()
    assert group["net_sales"]["previous"] == {"value": 52_500, "change": "-1.166667", "reason": None}
    assert group["aov"]["previous"] == {"value": 26_250, "change": None, "reason": "denominator-zero"}
    days = await figures(client, group_by="day", from_="2026-07-02", to="2026-07-03", compare="previous")
    assert days["2026-07-03"]["units"]["previous"] == {"value": "2", "change": "-1", "reason": None}
    assert days["2026-07-02"]["units"]["previous"] == {
        "value": "0",
        "change": None,
        "reason": "no-previous-value",
    }


async def test_currencies_are_never_added_up(facts: Database, make: Any, deliver: Any, client: Any) -> None:
    for currency, amount in (("CNY", 100), ("JPY", 7)):
        order_id = uuid4()
        entry = make.entry("paid", AT_B, order_id=order_id, currency=currency, list=amount)
        order = make.order(order_id, AT_B, [None], currency=currency, paid_at=AT_B)
        await deliver(facts, [make.order_event(order, 1, [entry])])
    items = (await client.get("/v1/insight/kpis", **JULY)).json()["items"]
    assert [(item["currency"], item["figures"]["aov"]["value"]) for item in items] == [
        ("CNY", 100),
        ("JPY", 7),
    ]
    only = (await client.get("/v1/insight/kpis", currency="JPY", **JULY)).json()["items"]
    assert [item["currency"] for item in only] == ["JPY"]


async def test_what_is_not_attributed_or_mapped_lowers_completeness(
    facts: Database, make: Any, deliver: Any, client: Any
) -> None:
    known: dict[str, Any] = {"partner_id": P1, "channel": "online", "sku": "TEA"}
    for given in (known, {**known, "sku": None}, {**known, "sku": "CUP"}, {}):
        order_id = uuid4()
        entry = make.entry("paid", AT_B, order_id=order_id, list=100, **given)
        await deliver(facts, [make.order_event(make.order(order_id, AT_B, [None]), 1, [entry])])

    async def percent(**query: Any) -> Any:
        answer = (await client.get("/v1/insight/kpis", **query, **JULY)).json()
        return (
            answer["completeness_of"],
            answer["items"][0]["figures"]["net_sales"]["completeness_percent"],
        )

    assert await percent() == (["attributed"], "75.00")
    assert await percent(group_by="sku") == (["attributed", "mapped"], "50.00")
    # TEA itself, the unmapped one and the one nobody knows anything of: one of three is certain.
    assert await percent(sku="TEA") == (["attributed", "mapped"], "33.33")
    # The one that nobody is known for may be the partner's; a partner itself sees only what certainly is.
    assert await percent(partner_id=P1) == (["attributed"], "75.00")
    assert await percent(as_partner=P1) == (["attributed"], "100.00")
    answer = await client.get("/v1/insight/kpis", **JULY)
    assert answer.json()["items"][0]["completeness"] == {
        "entries": 4,
        "attributed": 3,
        "product_entries": 4,
        "mapped": 2,
    }


async def test_pages_hold_every_group_and_row_once(
    facts: Database, make: Any, deliver: Any, client: Any
) -> None:
    skus = [None, "A", "a", "B", "Ä", "茶", "z-1", "Z"]
    for sku in skus:
        order_id = uuid4()
        entry = make.entry("paid", AT_B, order_id=order_id, list=1, sku=sku)
        await deliver(facts, [make.order_event(make.order(order_id, AT_B, [sku], paid_at=AT_B), 1, [entry])])
    for path, name, more in (
        ("/v1/insight/kpis", "key", {"group_by": "sku"}),
        ("/v1/insight/daily", "sku", {}),
    ):
        found: list[Any] = []
        cursor: dict[str, Any] = {}
        while True:
            page = (await client.get(path, limit=3, **more, **cursor, **JULY)).json()
            assert len(page["items"]) <= 3
            found += [item[name] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert len(found) == len(skus)
        assert set(found) == set(skus)


async def test_daily_rows_show_their_measures(facts: Database, make: Any, deliver: Any, client: Any) -> None:
    await deliver(facts, example(make))
    rows = (await client.get("/v1/insight/daily", sku="TEA", **JULY)).json()["items"]
    assert [row["day"] for row in rows] == ["2026-07-01", "2026-07-02", "2026-07-03"]
    assert rows[0]["partner_id"] == str(P1)
    assert rows[0]["measures"]["ordered_units"] == "2"
    assert rows[0]["measures"]["cohort_returned_units"] == "-1"
    assert rows[1]["measures"]["paid_net_sales_minor"] == 22_500
    assert rows[2]["measures"]["refunded_net_minor"] == -9_225


async def test_a_partner_sees_its_figures_only(facts: Database, make: Any, deliver: Any, client: Any) -> None:
    await deliver(facts, example(make))
    order_id = uuid4()
    entry = make.entry("paid", AT_B, order_id=order_id, list=999, partner_id=P2, channel="store")
    order = make.order(order_id, AT_B, [None], partner_id=P2, channel="store", paid_at=AT_B)
    unbound = make.entry("paid", AT_B, order_id=uuid4(), list=5)
    stray = make.order(unbound.order_id, AT_B, [None], paid_at=AT_B)
    await deliver(facts, [make.order_event(order, 1, [entry]), make.order_event(stray, 1, [unbound])])

    async def net_sales(**query: Any) -> Any:
        items = (await client.get("/v1/insight/kpis", **query, **JULY)).json()["items"]
        return [(item["figures"]["net_sales"]["value"], item["figures"]["orders"]["value"]) for item in items]

    assert await net_sales(as_partner=P1) == [(43_750, 2)]
    assert await net_sales(as_partner=P2) == [(999, 1)]
    assert await net_sales() == [(44_754, 4)]
    daily = (await client.get("/v1/insight/daily", as_partner=P2, **JULY)).json()["items"]
    assert [row["partner_id"] for row in daily] == [str(P2)]


async def test_a_partner_that_asks_for_another_gets_nothing(
    facts: Database, make: Any, deliver: Any, client: Any
) -> None:
    await deliver(facts, example(make))
    answer = await client.get("/v1/insight/kpis", partner_id=P1, as_partner=P2, **JULY)
    assert answer.json()["items"] == []


async def test_without_the_scope_nothing_is_shown(client_of_nothing: Any) -> None:
    for path in ("/v1/insight/kpis", "/v1/insight/daily", "/v1/insight/freshness"):
        answer = await client_of_nothing.get(path, scopes=("orders:read",), **JULY)
        assert (answer.status_code, answer.json()["code"]) == (403, "scope-missing")


async def test_no_facts_is_an_empty_answer(client_of_nothing: Any) -> None:
    answer = (await client_of_nothing.get("/v1/insight/kpis", compare="previous", **JULY)).json()
    assert (answer["items"], answer["as_of"], answer["next_cursor"]) == ([], None, None)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"from_": "2026-07-02", "to": "2026-07-01"}, "bad-period"),
        ({"from_": "2020-01-01", "to": "2026-07-01"}, "bad-period"),
        ({"from_": "2026-02-30", "to": "2026-03-01"}, "bad-period"),
        ({"from_": "0", "to": "2026-03-01"}, "bad-period"),
        ({"from_": "0000-01-01", "to": "0000-01-02"}, "bad-period"),
        ({"from_": "0001-01-01", "to": "0001-01-02", "compare": "previous"}, "bad-period"),
        ({"from_": "２０２６-07-01", "to": "2026-07-02"}, "bad-period"),
        ({"from_": "2026-07-01T00:00:00", "to": "2026-07-02"}, "bad-period"),
        ({"to": "2026-07-01"}, "invalid-request"),
        ({**JULY, "partner_id": "1"}, "invalid-request"),
        ({**JULY, "currency": "cny"}, "invalid-request"),
        ({**JULY, "sku": ""}, "invalid-request"),
        ({**JULY, "sku": "x" * 101}, "invalid-request"),
        ({**JULY, "channel": "a\0b"}, "invalid-target"),
        ({**JULY, "group_by": "week"}, "invalid-request"),
        ({**JULY, "compare": "next"}, "invalid-request"),
        ({**JULY, "limit": "0"}, "invalid-request"),
        ({**JULY, "limit": "1e3"}, "invalid-request"),
        ({**JULY, "cursor": "AAAA"}, "bad-cursor"),
        ({**JULY, "cursor": "%"}, "bad-cursor"),
    ],
)
async def test_bad_questions_are_problems(client_of_nothing: Any, query: dict[str, str], code: str) -> None:
    answer = await client_of_nothing.get("/v1/insight/kpis", **query)
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code
