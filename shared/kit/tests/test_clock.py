"""The clock is aware and in UTC."""

from datetime import UTC, timedelta

from channel_kit.clock import now


def test_now_is_aware_and_in_utc() -> None:
    assert now().tzinfo is UTC
    assert now() - now() < timedelta(seconds=1)
