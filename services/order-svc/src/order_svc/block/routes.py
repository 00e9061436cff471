"""`/v1/ledger/blocks`: the sealed chain, and the proof that a block still says what it said."""

from datetime import datetime
from typing import Annotated

from fastapi import Path, Request

from channel_kit.auth import Caller, scope
from channel_kit.http import Router, View, database
from channel_kit.pagination import Cursor, Page
from channel_kit.problems import NotFound
from order_svc.block import store
from order_svc.block.rules import GENESIS, seal
from order_svc.ledger.store import entry

router = Router(tags=["ledger"])


class UnknownBlock(NotFound):
    code = "unknown-block"
    title = "There is no block with this number"


class BlockView(View):
    block_no: int
    prev_hash: str
    merkle_root: str
    hash: str
    entries: int
    sealed_at: datetime


class VerifiedBlock(BlockView):
    """`verified`: every entry hashes to what it was sealed as, and the block is chained to the one before."""

    verified: bool


@router.get("/v1/ledger/blocks")
async def blocks(
    caller: Annotated[Caller, scope("orders:read")], cursor: Cursor, request: Request
) -> Page[BlockView]:
    """The blocks, latest first; the first of them is the head that partners may note down."""
    before = cursor.values(int)
    async with database(request).read(caller.actor) as tx:
        rows = await store.page(tx, before[0] if before else None, cursor.limit + 1)
    items = [BlockView(**row) for row in rows[: cursor.limit]]
    return cursor.page(items, len(rows), (items[-1].block_no,) if items else ())


@router.get("/v1/ledger/blocks/{block_no}")
async def block(
    block_no: Annotated[int, Path(ge=1, le=2**62)],
    caller: Annotated[Caller, scope("orders:read", staff=True)],
    request: Request,
) -> VerifiedBlock:
    """A block, computed again from its entries as they are stored now."""
    async with database(request).read(caller.actor) as tx:
        found = await store.one(tx, block_no)
        if found is None:
            raise UnknownBlock
        before = await store.one(tx, block_no - 1)
        rows = await store.members(tx, block_no)
    hashes = [entry(row).entry_hash for row in rows]
    prev_hash = before.hash if before else GENESIS
    root, digest = seal(block_no, prev_hash, found.sealed_at, hashes) if hashes else ("", "")
    stated = (found.prev_hash, found.merkle_root, found.hash, [row.entry_hash for row in rows])
    return VerifiedBlock(**found._asdict(), verified=stated == (prev_hash, root, digest, hashes))
