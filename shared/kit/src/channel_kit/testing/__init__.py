"""What tests of every package share: the failpoints here, the fixtures in `plugin`."""

from channel_kit.failpoints import failpoint

__all__ = ["failpoint"]
