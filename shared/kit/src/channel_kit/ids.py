"""Identifiers of our own: UUID version 7 (RFC 9562), drawn from the operating system.

Ordered by the millisecond, so index pages fill in turn; within one millisecond the order is random
on purpose. Never seeded and never derived from a host or a process, so that forks and restored
machines cannot repeat each other.
"""

import os
import time
from uuid import UUID

_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62
_RANDOM_A_MASK = 0xFFF << 64
_RANDOM_B_MASK = (1 << 62) - 1


def uuid7() -> UUID:
    """A new identifier: 48 bits of Unix milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    return UUID(
        int=(milliseconds & 0xFFFF_FFFF_FFFF) << 80
        | _VERSION
        | (random & _RANDOM_A_MASK)
        | _VARIANT
        | (random & _RANDOM_B_MASK)
    )
