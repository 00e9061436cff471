"""Keeping copies of contracts, and saying whose cells they touch.

The copy changes under the exclusive reference lock and only marks the partners; `accrual.actions.restate` works the
marks off. Called by the partner feed.
"""

from collections.abc import Sequence
from uuid import UUID

from channel_events.partner import ContractBody
from channel_kit import reference
from channel_kit.database import Write
from incentive_svc.reference import store

PARTNER = "partner"
"""The kind of the marks: a partner whose cells are to be derived again."""


async def remember_contracts(tx: Write, contracts: Sequence[tuple[UUID, ContractBody]]) -> None:
    """Copies approved contract versions, each with its contract's id, and marks their partners."""
    if not contracts:
        return
    await reference.exclusive(tx)
    ids = [contract_id for contract_id, _ in contracts]
    before = await store.partners_of(tx, ids)
    await store.save(tx, contracts)
    # A version that moves a contract to another partner touches both.
    await reference.mark(tx, PARTNER, [*before, *(body.partner_id for _, body in contracts)])
