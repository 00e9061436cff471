"""The sealer: chains what was appended to the ledger, about once a second."""

from channel_kit import clock
from channel_kit.database import Write
from order_svc.block import store
from order_svc.block.rules import GENESIS, seal
from order_svc.block.store import Block

SEALER_LOCK = 818
ENTRIES_MAX = 10_000


async def seal_next(tx: Write) -> int:
    """Seals what waits into one block; returns how many entries. One sealer at a time, whoever tries."""
    if not await tx.value("select pg_try_advisory_xact_lock($1)", SEALER_LOCK):
        return 0
    members = await store.take_unsealed(tx, ENTRIES_MAX)
    if not members:
        return 0
    before = await store.last_block(tx)
    block_no, prev_hash = (before.block_no + 1, before.hash) if before else (1, GENESIS)
    # Strictly later than the block before, whatever the clock does: "as known at" sorts by this.
    sealed_at = max(clock.now(), before.sealed_at) if before else clock.now()
    root, digest = seal(block_no, prev_hash, sealed_at, [entry_hash for _, entry_hash in members])
    await store.add_block(
        tx,
        Block(block_no, prev_hash, root, digest, len(members), sealed_at),
        [entry_id for entry_id, _ in members],
    )
    return len(members)
