"""PURE: when a signing key is made, when it signs and how long what it signed is believed.

A key is announced before it signs, so that every service knows it by then, and it is believed for a while after
its successor took over. The very first key signs at once: nobody could have a token yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

SIGNS_FOR: Final = timedelta(days=30)
OVERLAP: Final = timedelta(days=7)
LEAD: Final = timedelta(minutes=5)
TOKEN_LIFE_MAX: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key's public side: it is believed in [not_before, not_after)."""

    key_id: UUID
    kid: str
    public_jwk: dict[str, str]
    not_before: datetime
    not_after: datetime


def signer(keys: Sequence[SigningKey], present: datetime) -> SigningKey | None:
    """The key that signs now: the newest begun one that outlives the longest token. None when there is none."""
    live = [key for key in keys if key.not_before <= present and present + TOKEN_LIFE_MAX <= key.not_after]
    return max(live, key=lambda key: (key.not_before, key.kid), default=None)


def next_window(keys: Sequence[SigningKey], present: datetime) -> tuple[datetime, datetime] | None:
    """(not_before, not_after) of the key to make now, or None while the newest is young enough."""
    newest = max((key.not_before for key in keys), default=None)
    if newest is not None and present < newest + SIGNS_FOR:
        return None
    not_before = present if signer(keys, present) is None else present + LEAD
    return not_before, not_before + SIGNS_FOR + OVERLAP
