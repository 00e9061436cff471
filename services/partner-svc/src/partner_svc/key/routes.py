"""The public keys over HTTP, as a JWK set, for whoever wants to verify our tokens without our events."""

from fastapi import Request

from channel_kit import auth
from channel_kit.database import STAFF
from channel_kit.http import Router, View, database
from partner_svc.key import actions

router = Router(tags=["keys"])


class KeySetView(View):
    """RFC 7517. A key may appear some minutes before it signs."""

    keys: list[dict[str, str]]


@router.get("/v1/keys", dependencies=[auth.public])
async def list_keys(request: Request) -> KeySetView:
    """The keys that access tokens are signed with."""
    async with database(request).read(STAFF) as tx:
        return KeySetView(keys=[key.public_jwk for key in await actions.published(tx)])
