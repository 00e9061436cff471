"""No entry is outside the chain: whatever the sealer took is in exactly one block, and no block holds anything else."""

from collections.abc import Callable
from typing import Any

from channel_kit.database import WORKER
from order_svc.block.actions import seal_next

Make = Callable[..., dict[str, Any]]


async def test_every_entry_is_a_member_of_exactly_one_block(shop: Any, order: Make, refund: Make) -> None:
    for body in (order(1), order(2), order(3, paid=False)):
        await shop.post("orders/create", body)
        await shop.drain()
        while await shop.database.transact(WORKER, seal_next):
            pass
    await shop.post("refunds/create", refund(2))
    await shop.drain()
    while await shop.database.transact(WORKER, seal_next):
        pass
    entries = {row.entry_id for row in await shop.rows("select entry_id from ledger_entry")}
    members = [row.entry_id for row in await shop.rows("select entry_id from ledger_block_entry")]
    assert len(entries) > 10
    assert (set(members), len(members)) == (entries, len(entries))
    said = await shop.rows(
        """
        select b.entries, count(m.entry_id) as members, min(m.position) as first, max(m.position) as last
        from ledger_block b left join ledger_block_entry m using (block_no) group by b.block_no
        """
    )
    assert all((row.members, row.first, row.last) == (row.entries, 1, row.entries) for row in said), said
