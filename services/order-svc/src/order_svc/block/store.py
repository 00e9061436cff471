"""Sealed blocks of the ledger and their members; append-only, like the entries."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from channel_kit.database import Read, Row, Write
from order_svc.ledger.store import COLUMNS
from order_svc.ledger.values import KINDS

SEALER_LOCK = 818


class Block(NamedTuple):
    """A sealed block; `hash` chains it to the one before."""

    block_no: int
    prev_hash: str
    merkle_root: str
    hash: str
    entries: int
    sealed_at: datetime


async def become_sealer(tx: Write) -> datetime | None:
    """The database's time, for the one sealer there is until this transaction ends; None for any other."""
    at: datetime | None = await tx.value(
        "select case when pg_try_advisory_xact_lock($1) then clock_timestamp() end", SEALER_LOCK
    )
    return at


async def sealed_until_now(tx: Read) -> datetime:
    """Waits until nobody is sealing; the database's time then. Every block to come is sealed after it."""
    await tx.rows("select pg_advisory_xact_lock_shared($1)", SEALER_LOCK)
    at: datetime = await tx.value("select clock_timestamp()")
    return at


async def last_block(tx: Read) -> Block | None:
    row = await tx.row(
        "select block_no, prev_hash, merkle_root, hash, entries, sealed_at from ledger_block order by block_no desc limit 1"
    )
    return None if row is None else Block._make(row)


async def take_unsealed(tx: Write, limit: int) -> list[tuple[UUID, str]]:
    """Takes entries that no block has, in the order of their ids; with their hashes."""
    rows = await tx.rows(
        """
        with taken as (
          delete from ledger_unsealed where entry_id in (
            select entry_id from ledger_unsealed order by entry_id limit $1) returning entry_id)
        select e.entry_id, e.entry_hash from taken join ledger_entry e using (entry_id) order by e.entry_id
        """,
        limit,
    )
    return [(row.entry_id, row.entry_hash) for row in rows]


async def add_block(tx: Write, block: Block, members: Sequence[UUID]) -> None:
    await tx.execute("insert into ledger_block values ($1, $2, $3, $4, $5, $6)", *block)
    await tx.execute(
        """
        insert into ledger_block_entry (block_no, position, entry_id)
        select $1, n, entry_id from unnest($2::uuid[]) with ordinality t(entry_id, n)
        """,
        block.block_no,
        list(members),
    )


async def entries_of(tx: Read, order_id: UUID, known_at: datetime | None) -> Sequence[Row]:
    """An order's entries with their block, as recorded, what was taken back first; those of blocks sealed by
    `known_at` only, when given."""
    return await tx.rows(
        f"""
        select {COLUMNS}, m.block_no
        from ledger_entry e
        left join ledger_block_entry m on m.entry_id = e.entry_id
        left join ledger_block b on b.block_no = m.block_no
        where e.order_id = $1 and ($2::timestamptz is null or b.sealed_at <= $2)
        order by e.recorded_at, e.reverses_entry_id is null, array_position($3::text[], e.kind), e.line_no, e.entry_id
        """,  # noqa: S608  a constant list of columns
        order_id,
        known_at,
        list(KINDS),
    )


async def page(tx: Read, before: int | None, limit: int) -> Sequence[Row]:
    """Blocks, latest first."""
    return await tx.rows(
        """
        select block_no, prev_hash, merkle_root, hash, entries, sealed_at from ledger_block
        where $1::bigint is null or block_no < $1 order by block_no desc limit $2
        """,
        before,
        limit,
    )


async def members(tx: Read, block_no: int) -> Sequence[Row]:
    """The entries of a block in block order, whole, so that their hashes can be computed again."""
    return await tx.rows(
        f"""
        select {COLUMNS} from ledger_block_entry m join ledger_entry e using (entry_id)
        where m.block_no = $1 order by m.position
        """,  # noqa: S608  a constant list of columns
        block_no,
    )


async def one(tx: Read, block_no: int) -> Block | None:
    row = await tx.row(
        "select block_no, prev_hash, merkle_root, hash, entries, sealed_at from ledger_block where block_no = $1",
        block_no,
    )
    return None if row is None else Block._make(row)
