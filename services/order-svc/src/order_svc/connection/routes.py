"""`/v1/connections`: connect a shop, rotate its secret, see when it last delivered."""

import json
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Request
from pydantic import AfterValidator, Field

from channel_kit.admin import record
from channel_kit.auth import Caller, scope
from channel_kit.clock import now
from channel_kit.http import Body, Router, View, database, json_body
from channel_kit.pagination import Cursor, Page
from order_svc.connection import actions, store
from order_svc.connection.rules import SLUG, Connection
from order_svc.platforms import PLATFORMS

router = Router(tags=["connections"])


def _known(platform: str) -> str:
    if platform not in PLATFORMS or platform == "pos":
        raise ValueError(f"use one of {', '.join(sorted(set(PLATFORMS) - {'pos'}))}")
    return platform


PlatformName = Annotated[str, Field(max_length=40), AfterValidator(_known)]
Slug = Annotated[str, Field(pattern=SLUG)]
ShopId = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f]+$")]


class ConnectShop(Body):
    """`secret` is what the platform shows for the webhook; left out, one is made here and shown once."""

    platform: PlatformName
    shop_id: ShopId
    slug: Slug
    secret: str | None = Field(default=None, min_length=8, max_length=512)


class RotateSecret(Body):
    secret: str | None = Field(default=None, min_length=8, max_length=512)
    grace_seconds: int = Field(default=86_400, ge=0, le=2_592_000)


class ConnectionView(View):
    connection_id: UUID
    platform: str
    shop_id: str
    slug: str
    state: str
    revision: int
    webhook_path: str
    secrets_live: int
    last_delivery_at: datetime | None = None


class ConnectedView(ConnectionView):
    """The only answer that ever holds a secret."""

    secret: str


def _connected(connection: Connection) -> ConnectedView:
    return ConnectedView(
        connection_id=connection.connection_id,
        platform=connection.platform,
        shop_id=connection.shop_id,
        slug=connection.slug,
        state=connection.state,
        revision=connection.revision,
        webhook_path=f"/webhooks/{connection.platform}/{connection.slug}",
        secrets_live=len(connection.secrets),
        secret=connection.secrets[0].text,
    )


@router.post("/v1/connections", status_code=201)
async def connect(
    command: Annotated[ConnectShop, json_body(ConnectShop)],
    caller: Annotated[Caller, scope("orders:write", staff=True)],
    request: Request,
) -> ConnectedView:
    """Connects a shop: the platform may now deliver to `webhook_path`, signed with `secret`."""
    async with database(request).write(caller.actor) as tx:
        connection = await actions.connect(
            tx, request.app.state.vault, command.platform, command.shop_id, command.slug, command.secret
        )
        await record(tx, caller, "connect", platform=command.platform, slug=command.slug)
    request.app.state.connections.forget(command.platform, command.slug)
    return _connected(connection)


@router.post("/v1/connections/{platform}/{slug}/secrets", status_code=201)
async def rotate(
    platform: str,
    slug: str,
    command: Annotated[RotateSecret, json_body(RotateSecret)],
    caller: Annotated[Caller, scope("orders:write", staff=True)],
    request: Request,
) -> ConnectedView:
    """Adds a secret; the ones before stay good for `grace_seconds`."""
    until = now() + timedelta(seconds=command.grace_seconds)
    async with database(request).write(caller.actor) as tx:
        connection = await actions.rotate(tx, request.app.state.vault, platform, slug, command.secret, until)
        await record(
            tx, caller, "rotate-secret", platform=platform, slug=slug, grace_seconds=command.grace_seconds
        )
    request.app.state.connections.forget(platform, slug)
    return _connected(connection)


@router.get("/v1/connections")
async def connections(
    caller: Annotated[Caller, scope("orders:read", staff=True)], cursor: Cursor, request: Request
) -> Page[ConnectionView]:
    """The connected shops; secrets are never shown again."""
    after = cursor.values(UUID)
    async with database(request).read(caller.actor) as tx:
        rows = await store.page(tx, after[0] if after else None, cursor.limit + 1)
    items = [_view(row) for row in rows[: cursor.limit]]
    return cursor.page(items, len(rows), (items[-1].connection_id,) if items else ())


def _view(row: Any) -> ConnectionView:
    return ConnectionView(
        connection_id=row.connection_id,
        platform=row.platform,
        shop_id=row.shop_id,
        slug=row.slug,
        state=row.state,
        revision=row.revision,
        webhook_path=f"/webhooks/{row.platform}/{row.slug}",
        secrets_live=len(json.loads(row.secrets)),
        last_delivery_at=row.last_delivery_at,
    )
