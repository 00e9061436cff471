"""What a connection to a shop is: an immutable slug, and one or more secrets that are valid at the same time.

Platforms go on signing with the old secret for a while after a rotation, so the old one stays good for a grace
period. Pure; secrets here are already open.
"""

import base64
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from channel_kit.problems import Conflict, NotFound, Unprocessable

GRACE = timedelta(hours=24)
SLUG = r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$"


class UnknownConnection(NotFound):
    code = "unknown-connection"
    title = "There is no connection under this address; see GET /v1/connections for those there are"


class ConnectionExists(Conflict):
    code = "connection-exists"
    title = "This shop, or this slug, is already connected on the platform; rotate its secret instead"


class UnusableSecret(Unprocessable):
    code = "unusable-secret"
    title = "The secret cannot be used on this platform; give the one that the platform shows for the webhook"


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret that may sign deliveries until `expires_at` (None = for good)."""

    secret_id: UUID
    text: str
    expires_at: datetime | None = None

    def live(self, at: datetime) -> bool:
        return self.expires_at is None or at < self.expires_at


@dataclass(frozen=True, slots=True)
class Connection:
    """One link: deliveries to `/webhooks/{platform}/{slug}` are this shop's."""

    connection_id: UUID
    platform: str
    shop_id: str
    slug: str
    state: str
    revision: int
    secrets: tuple[Secret, ...] = ()


def fresh_secret(platform: str) -> str:
    """A secret of ours for platforms that let the receiver choose it; 256 bits."""
    raw = secrets.token_bytes(32)
    return (
        "whsec_" + base64.b64encode(raw).decode() if platform == "generic" else base64.b64encode(raw).decode()
    )


def check_secret(platform: str, text: str) -> None:
    """Raises UnusableSecret when the platform's signatures could never be checked with it."""
    if not 8 <= len(text) <= 512 or any(ord(character) < 32 for character in text):
        raise UnusableSecret("A secret has 8 to 512 characters and no control characters.")
    if platform == "generic":
        try:
            key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
        except ValueError:
            key = b""
        if len(key) < 24:
            raise UnusableSecret("Give `whsec_` followed by the base64 of at least 24 bytes.")
