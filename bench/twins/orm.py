"""The plain way of intake: FastAPI, a pydantic body, one SQLAlchemy ORM session and one commit a request.

Writes the very rows that the product writes, into the same tables, and verifies the same signature; the secret is a
setting, so it need not even be looked up. Run as `python -m bench.twins.orm`; `serve` starts and stops it.
"""

import base64
import hashlib
import hmac
import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from pydantic import BaseModel
from sqlalchemy import DateTime, LargeBinary, String
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from channel_kit.ids import uuid7

PLATFORM = "shopify"
SECRET = os.environ.get("TWIN_SECRET", "")
SHOP = os.environ.get("TWIN_SHOP", "")


class Base(DeclarativeBase):
    """Two of the tables of order-svc."""


class DeliveryKey(Base):
    __tablename__ = "delivery_key"

    dedupe_key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    body_key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    shop_id: Mapped[str] = mapped_column(String, primary_key=True)
    platform: Mapped[str] = mapped_column(String, primary_key=True)
    delivery_id: Mapped[UUID]


class Delivery(Base):
    __tablename__ = "delivery"

    delivery_id: Mapped[UUID] = mapped_column(primary_key=True)
    platform: Mapped[str]
    shop_id: Mapped[str]
    topic: Mapped[str]
    message_id: Mapped[str | None]
    dedupe_key: Mapped[bytes]
    body_sha256: Mapped[bytes]
    body: Mapped[bytes]
    headers: Mapped[dict[str, str]] = mapped_column(JSON)
    secret_id: Mapped[UUID | None]
    received_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class LineItem(BaseModel):
    id: int
    sku: str
    title: str
    quantity: int
    price: Decimal
    total_discount: Decimal


class Order(BaseModel):
    id: int
    name: str
    currency: str
    created_at: datetime
    updated_at: datetime
    financial_status: str
    fulfillment_status: str | None
    taxes_included: bool
    total_tax: Decimal
    total_price: Decimal
    line_items: list[LineItem]


engine = create_async_engine(os.environ.get("TWIN_DATABASE_URL", "postgresql+asyncpg://"), pool_size=10)
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


async def session() -> AsyncIterator[AsyncSession]:
    async with sessions() as opened:
        yield opened


@app.post("/webhooks/shopify/{slug}")
async def receive(
    slug: str,
    order: Order,
    request: Request,
    db: Annotated[AsyncSession, Depends(session)],
    x_shopify_hmac_sha256: Annotated[str, Header()],
    x_shopify_topic: Annotated[str, Header()],
    x_shopify_webhook_id: Annotated[str, Header()],
) -> dict[str, Any]:
    raw = await request.body()
    expected = base64.b64encode(hmac.digest(SECRET.encode(), raw, "sha256")).decode()
    if not hmac.compare_digest(expected, x_shopify_hmac_sha256):
        raise HTTPException(401, "the signature does not match")
    digest = hashlib.sha256(raw).digest()
    key = hashlib.sha256(x_shopify_topic.encode() + b"\n" + raw).digest()
    if await db.get(DeliveryKey, (key, b"", SHOP, PLATFORM)):
        return {"status": "repeated"}
    kept = {
        name: value
        for name, value in request.headers.items()
        if name.startswith(("x-shopify-", "content-type"))
    }
    kept.pop("x-shopify-hmac-sha256", None)
    delivery_id = uuid7()
    db.add(
        DeliveryKey(dedupe_key=key, body_key=b"", shop_id=SHOP, platform=PLATFORM, delivery_id=delivery_id)
    )
    db.add(
        Delivery(
            delivery_id=delivery_id,
            platform=PLATFORM,
            shop_id=SHOP,
            topic=x_shopify_topic,
            message_id=x_shopify_webhook_id,
            dedupe_key=key,
            body_sha256=digest,
            body=raw,
            headers=json.loads(json.dumps(kept)),
            secret_id=None,
            received_at=datetime.now(UTC),
        )
    )
    try:
        await db.commit()
    except IntegrityError:
        await db.rollback()
        return {"status": "repeated"}
    return {"status": "stored", "order": order.id}


@app.get("/readyz")
async def ready() -> dict[str, str]:
    return {"status": "ready"}


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["QUDAO_HTTP_PORT"]), log_level="warning", access_log=False)
