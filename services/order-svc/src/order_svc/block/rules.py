"""How blocks of ledger entries are chained: a Merkle tree over their hashes, linked to the block before.

Pure. Anybody with the entries of a block can compute its root, and with the blocks before it the whole chain.
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from order_svc.ledger.values import instant

GENESIS = "0" * 64


def seal(block_no: int, prev_hash: str, sealed_at: datetime, hashes: Sequence[str]) -> tuple[str, str]:
    """Merkle root and hash of a block over its entries' hashes, in block order."""
    root = merkle_root(hashes)
    return root, sha256(
        f"{block_no}|{prev_hash}|{root}|{len(hashes)}|{instant(sealed_at)}".encode()
    ).hexdigest()


def merkle_root(hashes: Sequence[str]) -> str:
    """Root of the binary tree; leaves and nodes are hashed under different prefixes, an odd node moves up."""
    level = [sha256(b"\x00" + bytes.fromhex(leaf)).digest() for leaf in hashes]
    while len(level) > 1:
        pairs = [
            sha256(b"\x01" + left + right).digest()
            for left, right in zip(level[::2], level[1::2], strict=False)
        ]
        level = pairs + ([level[-1]] if len(level) % 2 else [])
    return level[0].hex()
