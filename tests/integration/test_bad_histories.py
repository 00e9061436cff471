"""Facts in an order that cannot be, and times on the wrong side of a line: recorded as they came, and adding up.

What contradicts itself is flagged; what is late or early ends as if it had come in time; what belongs to a closed
span or overlaps another is refused by name.
"""

import itertools
from typing import Any

import pytest

from .bad import Bad, Make, Tally, judge
from .deployment import Deployment, new_id
from .letters import generic_order, shopify_order, shopify_refund
from .shops import IN_FORCE, Trade


async def test_states_that_regress_or_contradict_are_recorded(
    stack: Deployment, connect: Make, tally: Tally
) -> None:
    shop, order_id = await connect(), new_id()

    def at(minute: int, **changes: Any) -> dict[str, Any]:
        return shopify_order(order_id, "TEA", updated=f"2026-03-02T10:{minute:02}:00+08:00", **changes)

    for body in (
        at(20, shipped=3),
        at(10),  # an older state, later
        at(20, shipped=3),
        at(30, shipped=3, cancelled_at="2026-03-02T10:30:00+08:00"),  # cancelled after it had left
        at(
            40, shipped=3, cancelled_at="2026-03-02T10:30:00+08:00", financial_status="pending"
        ),  # unpaid again
        at(5, paid=False),
    ):
        await shop.sent(body, "orders/updated")
        tally(Bad.TIME, "200")
    await stack.audit_clean()
    order = await shop.settled(order_id)
    assert (order["lifecycle"], order["payment"], order["fulfilment"]) == ("cancelled", "unpaid", "shipped")
    assert order["lines"][0]["shipped"] == "3"
    assert order["lines"][0]["cancelled"] == "0", "what has left is not cancelled"
    documents = await stack.get("order", f"/v1/orders/{order['order_id']}/documents")
    assert len(documents) == 5

    # Nothing was paid yet 500.00 are given back: recorded, flagged, and it adds up.
    unpaid = await connect("generic")
    back = {"refund_id": "R", "amount": "500.00", "at": "2026-03-07T00:00:00Z"}
    await unpaid.sent(generic_order("O", "TEA", payment="unpaid", refunds=[back]))
    order = await unpaid.settled("O")
    assert (order["paid_minor"], order["refunded_minor"], order["needs_review"]) == (0, -50_000, True)
    assert "over-refunded" in order["flags"]
    await stack.audit_clean()


def facts(order_id: int, sku: str) -> list[tuple[str, dict[str, Any]]]:
    """Placed unpaid, paid, paid again, shipped, and one tin given back."""

    def at(minute: int, **changes: Any) -> dict[str, Any]:
        return shopify_order(order_id, sku, updated=f"2026-03-02T10:{minute:02}:00+08:00", **changes)

    return [
        ("orders/create", at(0, paid=False)),
        ("orders/paid", at(10)),
        ("orders/paid", at(11)),
        ("orders/updated", at(20, shipped=3)),
        ("refunds/create", shopify_refund(order_id, 77)),
    ]


async def test_any_order_of_arrival_ends_in_the_same_ledger(
    stack: Deployment, trade: Make, tally: Tally
) -> None:
    """Refund before its order, shipped before it is paid, paid twice: every permutation, one result."""
    sold: Trade = await trade(stock="1000")
    permutations = list(itertools.permutations(range(5)))[::5]
    orders = []
    for permutation in permutations:
        order_id = new_id()
        orders.append(order_id)
        made = facts(order_id, sold.sku)
        for n in permutation:
            answer = await sold.shop.post(made[n][1], made[n][0])
            tally(Bad.TIME, str(answer.status_code))
            assert answer.status_code == 200
    await stack.taken_in()
    await stack.audit_clean()
    ends = []
    for order_id in orders:
        order = await sold.shop.settled(order_id)
        ends.append(
            {
                "entries": await sold.live_entries(order),
                "holds": await sold.holds(order),
                "paid": order["paid_minor"],
                "refunded": order["refunded_minor"],
                "states": (order["lifecycle"], order["payment"], order["fulfilment"]),
            }
        )
    assert all(end == ends[0] for end in ends)
    assert (ends[0]["paid"], ends[0]["refunded"]) == (36_200, -11_667)
    tally(Bad.TIME, f"{len(permutations)} histories with one end")


async def test_a_month_ends_at_midnight_where_the_partner_is(
    stack: Deployment, trade: Make, tally: Tally
) -> None:
    """The last and the first moment of a month, in any spelling of the zone, count where they belong."""
    sold: Trade = await trade("generic", stock="1000")
    moments = {
        "2026-03-31T23:59:59.999999+08:00": "2026-03-01",
        "2026-03-31T15:59:59Z": "2026-03-01",
        "2026-04-01T00:00:00+08:00": "2026-04-01",
        "2026-03-31T16:00:00Z": "2026-04-01",
        "2026-03-31T17:00:00+01:00": "2026-04-01",
        "2026-03-31T02:00:00-14:00": "2026-04-01",
        "2024-02-29T23:59:59+08:00": "",
    }
    for n, moment in enumerate(moments):
        body = generic_order(f"M-{n}", sold.sku, placed_at=moment, paid_at=moment)
        answer = await sold.shop.post(body)
        tally(Bad.TIME, str(answer.status_code))
        assert answer.status_code == 200
    await stack.taken_in()
    await stack.audit_clean()
    one = (await sold.shop.settled("M-3"))["business_at"]
    assert one == (await sold.shop.settled("M-2"))["business_at"], "one instant, spelt in two zones"
    for month in ("2026-03-01", "2026-04-01"):
        statement = await stack.get("incentive", f"/v1/statements/{sold.partner_id}/{sold.plan_code}/{month}")
        basis_of_one = 7_580  # 80.00 less 9.20 of tax, and the 5.00 that the platform pays
        assert statement["basis_minor"] == basis_of_one * list(moments.values()).count(month), month


@pytest.fixture(scope="module")
async def ruled(stack: Deployment, trade: Make) -> Trade:
    """A trade with an order in March, so that there is something to change afterwards."""
    sold: Trade = await trade(stock="1000")
    order_id = new_id()
    await sold.shop.sent(shopify_order(order_id, sold.sku), "orders/create")
    await sold.agreed(order_id, 30_973, 949)
    sold.known["order"] = order_id
    return sold


def version(**changes: Any) -> dict[str, Any]:
    return {
        "valid_from": "2026-01-01",
        "calendar": "month",
        "currency": "CNY",
        "shape": "marginal",
        "tiers": [{"lower_minor": 0, "rate_ppm": 10_000}],
        **changes,
    }


async def test_rules_that_overlap_or_make_no_sense_are_refused(
    stack: Deployment, ruled: Trade, tally: Tally
) -> None:
    binding = {"partner_id": ruled.partner_id, "channel": "x", "valid_from": IN_FORCE}
    contract = {"code": "C", "partner_id": ruled.partner_id, "time_zone": "UTC", "valid_from": IN_FORCE}
    past = "2025-01-01T00:00:00Z"
    plan, shop = f"/v1/plans/{ruled.plan_code}/versions", f"/v1/shops/shopify/{ruled.shop.shop_id}/bindings"
    tiers = [{"lower_minor": 0, "rate_ppm": 1}]
    cases: list[tuple[str, str, str, dict[str, Any], int]] = [
        ("binding over another", "partner", shop, binding, 409),
        ("binding that ends before it begins", "partner", shop, {**binding, "valid_to": past}, 422),
        ("binding of nobody", "partner", shop, {**binding, "partner_id": "00000000-0000-0000-0000-000000000000"}, 422),
        ("binding without a zone", "partner", shop, {**binding, "valid_from": "2026-01-01T00:00:00"}, 422),
        ("contract that ends before it begins", "partner", "/v1/contracts", {**contract, "valid_to": past}, 422),
        ("contract in no zone", "partner", "/v1/contracts", {**contract, "time_zone": "Mars/Base"}, 422),
        ("version that cuts a month", "incentive", plan, version(valid_from="2026-03-02"), 409),
        ("version that ends before it begins", "incentive", plan, version(valid_to="2025-01-01"), 422),
        ("version in the year 1", "incentive", plan, version(valid_from="0001-01-01"), 422),
        ("no leap day", "incentive", plan, version(valid_from="2026-02-29"), 422),
        ("seconds for a day", "incentive", plan, version(valid_from=1_772_323_200), 422),
        ("tiers in no order", "incentive", plan, version(tiers=[*tiers, {"lower_minor": -5, "rate_ppm": 1}]), 422),
        ("two tiers at one place", "incentive", plan, version(tiers=tiers * 2), 422),
        ("tiers that begin late", "incentive", plan, version(tiers=[{"lower_minor": 5, "rate_ppm": 1}]), 422),
        ("rate below zero", "incentive", plan, version(tiers=[{"lower_minor": 0, "rate_ppm": -1}]), 422),
        ("rate as a float", "incentive", plan, version(tiers=[{"lower_minor": 0, "rate_ppm": 0.5}]), 422),
        ("no tiers", "incentive", plan, version(tiers=[]), 422),
    ]  # fmt: skip
    await stack.audit_clean()
    before = await stack.contents()
    for name, service, path, body, expected in cases:
        judge(tally, Bad.TIME, name, await stack.ask(service, "POST", path, json=body), expected)
    assert await stack.contents() == before


async def test_a_tier_that_changes_afterwards_restates_and_never_rewrites(
    stack: Deployment, ruled: Trade, tally: Tally
) -> None:
    """A version that is in force from a month that has passed: what was accrued stays, a difference is added."""
    path = f"/v1/plans/{ruled.plan_code}/versions"
    steps = "select count(*) from accrual where partner_id = $1::text::uuid"
    before = await stack.value("incentive", steps, ruled.partner_id)
    made = await stack.call("incentive", "POST", path, version(valid_from="2026-03-01", recognition="paid"))
    await stack.call("incentive", "POST", f"{path}/{made['version']}/activate")
    tally(Bad.TIME, "restated")
    await ruled.agreed(ruled.known["order"], 30_973, 310)  # one per cent of 309.73, half to even
    await stack.audit_clean()
    assert await stack.value("incentive", steps, ruled.partner_id) > before
    again = await stack.ask("incentive", "POST", f"{path}/1/activate")
    tally(Bad.TIME, str(again.status_code))
    assert again.status_code in (200, 409)
    await ruled.agreed(ruled.known["order"], 30_973, 310)
