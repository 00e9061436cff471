"""Identifiers of version 7: ordered by time, never repeated."""

import time

from channel_kit.ids import uuid7


def test_version_variant_and_time() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid7()
    after = time.time_ns() // 1_000_000
    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert before <= made.int >> 80 <= after


def test_no_two_are_equal() -> None:
    assert len({uuid7() for _ in range(100_000)}) == 100_000


def test_later_ones_sort_later() -> None:
    early = uuid7()
    time.sleep(0.002)
    assert early < uuid7()
    assert str(early) < str(uuid7())


def test_all_random_bits_are_used() -> None:
    ones, zeros = 0, (1 << 128) - 1
    for _ in range(500):
        ones |= uuid7().int
        zeros &= uuid7().int
    random_bits = (0xFFF << 64) | ((1 << 62) - 1)
    assert ones & random_bits == random_bits
    assert zeros & random_bits == 0
