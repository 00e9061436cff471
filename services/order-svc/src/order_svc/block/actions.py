"""The sealer: chains what was appended to the ledger, about once a second."""

from datetime import timedelta

from channel_kit.database import Write
from order_svc.block import store
from order_svc.block.rules import GENESIS, seal
from order_svc.block.store import Block

ENTRIES_MAX = 10_000


async def seal_next(tx: Write) -> int:
    """Seals what waits into one block; returns how many entries. One sealer at a time, whoever tries.

    Its time is the database's, taken under the lock, and strictly later than that of the block before, whatever
    the clock does: "as known at" sorts by it.
    """
    at = await store.become_sealer(tx)
    if at is None:
        return 0
    members = await store.take_unsealed(tx, ENTRIES_MAX)
    if not members:
        return 0
    before = await store.last_block(tx)
    block_no, prev_hash = (before.block_no + 1, before.hash) if before else (1, GENESIS)
    sealed_at = max(at, before.sealed_at + timedelta(microseconds=1)) if before else at
    root, digest = seal(block_no, prev_hash, sealed_at, [entry_hash for _, entry_hash in members])
    await store.add_block(
        tx,
        Block(block_no, prev_hash, root, digest, len(members), sealed_at),
        [entry_id for entry_id, _ in members],
    )
    return len(members)
