"""The audit that every test here relies on is worth something: each equation is seen to break on a planted fault.

A fault is one figure of one row in one database, changed by one, as a bug would leave it. Nobody else works on the
stack meanwhile, and every fault is taken back.
"""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import asyncpg
import pytest

from qudao import audit as auditing
from qudao.equations import EQUATIONS
from qudao.stack import database_name

from .deployment import Deployment, new_id
from .letters import shopify_order, shopify_refund

Make = Callable[..., Awaitable[Any]]


class Fault(NamedTuple):
    """`table`'s row in which `key` is the least, of those that `where` names, gets `changes`; `{by}` is ±1."""

    name: str
    equation: str
    service: str
    table: str
    key: str
    changes: str
    where: str = "true"

    def sql(self, by: int) -> str:
        return (
            f"update {self.table} set {self.changes.format(by=by)} where {self.key} = "  # noqa: S608  constants of this module
            f"(select {self.key} from {self.table} where {self.where} order by {self.key} limit 1)"
        )


RETAXED = "tax_minor = tax_minor + {by}, list_minor = list_minor - {by}"
RAISED = "net_minor = net_minor + {by}, list_minor = list_minor + {by}"
REHASHED = "entry_hash = translate(entry_hash, '01', '10')"
WAITING = "status = case {by} when 1 then 'new' else 'applied' end"
OVERHELD = "demanded = demanded + {by}, short = short + {by}"
SOLD = "paid_net_sales_minor = paid_net_sales_minor + {by}"
DAY = "md5(concat_ws('|', day, currency, partner_id, channel, sku))"
FAULTS = [
    Fault("an entry worth more than its line", "1 ledger", "order", "ledger_entry", "entry_id", RAISED),
    Fault("an entry changed after it was sealed", "7 blocks", "order", "ledger_entry", "entry_id", RETAXED),
    Fault("a delivery that waits", "1 ledger", "order", "delivery", "delivery_id", WAITING, "order_id is not null"),
    Fault("a hold beyond its order", "2 order and stock", "inventory", "hold", "order_id", OVERHELD, "sku is not null"),
    Fault("goods nobody brought", "3 stock", "inventory", "stock", "stock_id", "on_hand = on_hand + {by}"),
    Fault("a movement of more", "3 stock", "inventory", "movement", "movement_id", "quantity = quantity + {by}", "quantity > 9"),
    Fault("another basis entry", "4 rebates", "incentive", "basis_entry", "entry_id", REHASHED),
    Fault("a cell that misses something", "4 rebates", "incentive", "basis_entry", "entry_id", RAISED, "kind = 'paid'"),
    Fault("another fact", "5 figures", "insight", "entry_fact", "entry_id", REHASHED),
    Fault("a day that sold more", "5 figures", "insight", "daily_fact", DAY, SOLD),
    Fault("a rebate nobody accrued", "5 figures", "insight", "daily_fact", DAY, "rebate_minor = rebate_minor + {by}"),
    Fault("an event not seen", "6 flow", "inventory", "watermark", "aggregate_id", "last_version = last_version - {by}"),
    Fault("an event set aside", "6 flow", "insight", "parked", "aggregate_id", ""),
]  # fmt: skip


@pytest.fixture(scope="module")
async def traded(stack: Deployment, trade: Make) -> None:
    """Something of everything for the equations to look at."""
    sold, order_id = await trade(), new_id()
    await sold.shop.sent(shopify_order(order_id, sold.sku), "orders/create")
    await sold.shop.sent(
        shopify_order(order_id, sold.sku, updated="2026-03-03T15:00:00+08:00", shipped=2), "orders/updated"
    )
    await sold.shop.sent(shopify_refund(order_id, new_id()), "refunds/create")
    await stack.audit_clean()


async def _broken(stack: Deployment) -> set[str]:
    """The equations that do not hold now, without waiting for anything."""
    async with auditing.connected(auditing.database_urls(stack.stack)) as dbs:
        found = [finding for equation in (*EQUATIONS, auditing.blocks) async for finding in equation(dbs)]
    return {finding.equation for finding in found if not finding.holds}


async def _change(stack: Deployment, fault: Fault, by: int) -> str:
    """As the superuser: no service's own role may do this."""
    where = stack.stack.admin_url.rsplit("/", 1)[0] + "/" + database_name(fault.service)
    connection = await asyncpg.connect(where)
    try:
        if fault.table == "parked":
            sql = "delete from parked where consumer = 'planted'"
            if by == 1:
                sql = (
                    "insert into parked (consumer, aggregate_id, aggregate_type, version, event, reason) "
                    "values ('planted', gen_random_uuid(), 'order', 1, '{}', 'failed')"
                )
            return str(await connection.execute(sql))
        return str(await connection.execute(fault.sql(by)))
    finally:
        await connection.close()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_a_planted_fault_breaks_its_equation(stack: Deployment, traded: None, fault: Fault) -> None:
    assert await _broken(stack) == set()
    assert (await _change(stack, fault, 1))[-2:] == " 1"
    try:
        broken = await _broken(stack)
    finally:
        assert (await _change(stack, fault, -1))[-2:] == " 1"
    assert fault.equation in broken
    assert await _broken(stack) == set()
