"""Builders and a real database for the tests of this service.

Builders make whole values with plain defaults, so that a test names only what it is about. Money is minor units.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
import pytest

from channel_events.catalog import (
    ORDER_CHANGED,
    PARTNER_CONTRACT_APPROVED,
    PARTNER_SIGNING_KEY_PUBLISHED,
    envelope_class,
)
from channel_events.envelope import Event
from channel_events.order import EntryBody, OrderBody, OrderSnapshot, OrderTotals
from channel_events.partner import ContractBody, SigningKeyBody
from channel_kit.auth import new_key, sign
from channel_kit.clock import now
from channel_kit.database import OWNER, STAFF, WORKER, Database, Write
from channel_kit.ids import uuid7
from channel_kit.service import Runtime
from channel_kit.settings import ServiceSettings
from channel_kit.testing.plugin import ServiceDatabase
from incentive_svc.__main__ import SERVICE
from incentive_svc.accrual.actions import restate
from incentive_svc.feeds import order, partner
from incentive_svc.plan import actions as plan_actions
from incentive_svc.plan.values import Terms, Tier

HASH = "0" * 64


def make_terms(**given: Any) -> Terms:
    """Monthly plan in CNY from 2026 on: 0 % below 10,000.00, then 3 %, 5 % from 20,000.00, all units."""
    fields: dict[str, Any] = {
        "plan_id": UUID(int=1),
        "code": "P1",
        "version": 1,
        "valid_from": date(2026, 1, 1),
        "valid_to": None,
        "calendar": "month",
        "currency": "CNY",
        "shape": "all_units",
        "tiers": tiers((0, 0), (1_000_000, 30_000), (2_000_000, 50_000)),
    }
    return Terms(**(fields | given))


def tiers(*rows: tuple[int, int]) -> tuple[Tier, ...]:
    return tuple(Tier(lower, rate) for lower, rate in rows)


def at(text: str) -> datetime:
    """`2026-05-03` or `2026-05-03T10:00` in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def make_entry(partner_id: UUID | None, net: int, **given: Any) -> EntryBody:
    """A `paid` product line of 3 May 2026, all of whose net is net sales."""
    when = given.pop("when", at("2026-05-03T04:00"))
    fields: dict[str, Any] = {
        "entry_id": uuid7(),
        "order_id": uuid7(),
        "line_no": 1,
        "line_kind": "product",
        "kind": "paid",
        "quantity": Decimal(0),
        "currency": "CNY",
        "list_minor": 0,
        "promo_minor": 0,
        "platform_coupon_minor": 0,
        "merchant_coupon_minor": 0,
        "freight_minor": 0,
        "tax_minor": 0,
        "platform_fee_minor": 0,
        "net_minor": net,
        "tax_included": True,
        "partner_id": partner_id,
        "channel": "online",
        "sku": "SKU-1",
        "business_at": when,
        "origin_at": when,
        "recorded_at": when,
        "entry_hash": HASH,
    } | given
    stated = sum(fields[f"{part}_minor"] for part in ("promo", "platform_coupon", "freight", "tax"))
    fields["list_minor"] = fields["net_minor"] - stated
    return EntryBody(**fields)


def reversal(body: EntryBody) -> EntryBody:
    """The entry that takes another back."""
    signs = {name: -getattr(body, name) for name in EntryBody.model_fields if name.endswith("_minor")}
    return body.model_copy(
        update={"entry_id": uuid7(), "reverses_entry_id": body.entry_id, "quantity": -body.quantity, **signs}
    )


def order_event(
    entries: Sequence[EntryBody], version: int = 1, order_id: UUID | None = None
) -> Event[OrderBody]:
    """One event of one order with these entries."""
    order_id = order_id or uuid7()
    zero = OrderTotals(
        ordered_net_minor=0,
        cancelled_net_minor=0,
        returned_net_minor=0,
        paid_minor=0,
        refunded_minor=0,
        net_sales_minor=0,
    )
    snapshot = OrderSnapshot(
        order_id=order_id,
        platform="generic",
        shop_id="S1",
        platform_order_id=str(order_id),
        currency="CNY",
        tax_included=True,
        lifecycle="open",
        payment="paid",
        fulfilment="unfulfilled",
        business_at=at("2026-05-03"),
        flags=(),
        totals=zero,
        lines=(),
    )
    body = OrderBody(order=snapshot, transitions=(), entries=tuple(entries))
    return envelope(ORDER_CHANGED, "order", order_id, version, body)


def contract_event(partner_id: UUID, *plan_codes: str, **given: Any) -> Event[ContractBody]:
    """An approved contract in Shanghai time from 2026 on."""
    contract_id = given.pop("contract_id", None) or uuid7()
    fields: dict[str, Any] = {
        "version": 1,
        "partner_id": partner_id,
        "valid_from": at("2025-12-31T16:00"),
        "time_zone": "Asia/Shanghai",
        "plan_codes": plan_codes,
        "terms_hash": HASH,
    } | given
    return envelope(
        PARTNER_CONTRACT_APPROVED, "contract", contract_id, fields["version"], ContractBody(**fields)
    )


def envelope(kind: str, aggregate: str, aggregate_id: UUID, version: int, body: Any) -> Event[Any]:
    return envelope_class(kind)(
        id=uuid7(),
        source="/qudao/test",
        type=kind,
        subject=str(aggregate_id),
        time=at("2026-05-03"),
        aggregatetype=aggregate,
        aggregateversion=version,
        correlationid=uuid7(),
        data=body,
    )


class Desk:
    """What the tests do to a database: feed events, make plans, drain, and look."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def orders(self, *events: Event[Any]) -> None:
        await self._as_worker(lambda tx: order.handle(tx, events))

    async def entries(self, *entries: EntryBody) -> None:
        """One event with these entries."""
        await self.orders(order_event(entries))

    async def contracts(self, *events: Event[Any]) -> None:
        await self._as_worker(lambda tx: partner.handle(tx, events))

    async def plan(self, terms: Terms, *, activate: bool = True) -> int:
        """Makes the plan when it is new, drafts a version and activates it; returns the version."""

        async def run(tx: Write) -> int:
            if not await tx.value("select exists (select from plan where code = $1)", terms.code):
                await plan_actions.create(tx, terms.code, "A plan")
            return (await plan_actions.draft(tx, terms.code, terms)).terms.version

        version = await self.database.transact(STAFF, run)
        if activate:
            await self.activate(terms.code, version)
        return version

    async def activate(self, code: str, version: int) -> None:
        await self.database.transact(STAFF, lambda tx: plan_actions.activate(tx, code, version))

    async def drain(self) -> None:
        while await self.database.transact(WORKER, restate):
            pass

    async def rows(self, sql: str, *args: Any) -> list[Any]:
        async with self.database.read(WORKER) as tx:
            return await tx.rows(sql, *args)

    async def value(self, sql: str, *args: Any) -> Any:
        rows = await self.rows(sql, *args)
        return rows[0][0] if rows else None

    async def accrued(self, partner_id: UUID) -> dict[date, tuple[int, int]]:
        """Basis and rebate per period of a partner's cells."""
        rows = await self.rows(
            "select period_start, basis_minor, accrued_minor from cell where partner_id = $1 and seq > 0",
            partner_id,
        )
        return {row.period_start: (row.basis_minor, row.accrued_minor) for row in rows}

    async def _as_worker(self, run: Callable[[Write], Awaitable[None]]) -> None:
        await self.database.transact(WORKER, run)


class Api:
    """Calls with a token of all this service's scopes, unless a test names others."""

    def __init__(self, client: httpx.AsyncClient, kid: str, pem: str) -> None:
        self._client, self._kid, self._pem = client, kid, pem

    def token(
        self, partner_id: UUID | None = None, scopes: str = "plans:read plans:write statements:read"
    ) -> str:
        return sign(self._pem, self._kid, subject="tester", scopes=scopes.split(), partner_id=partner_id)

    async def get(self, path: str, caller: UUID | None = None, **query: Any) -> httpx.Response:
        return await self._call("GET", path, caller, params=query)

    async def post(
        self, path: str, body: Any = None, partner_id: UUID | None = None, **headers: str
    ) -> httpx.Response:
        return await self._call("POST", path, partner_id, json=body, headers=headers)

    async def _call(
        self,
        method: str,
        path: str,
        partner_id: UUID | None,
        headers: dict[str, str] | None = None,
        **given: Any,
    ) -> httpx.Response:
        authorization = {"authorization": f"Bearer {self.token(partner_id)}"}
        return await self._client.request(method, path, headers=authorization | (headers or {}), **given)

    async def bare(self, method: str, path: str, **given: Any) -> httpx.Response:
        """A call exactly as given."""
        return await self._client.request(method, path, **given)


@pytest.fixture(scope="session")
async def database(service_database: ServiceDatabase) -> Database:
    """One migrated database for the whole run."""
    return await service_database(SERVICE)


@pytest.fixture
async def desk(database: Database) -> Desk:
    """A desk over an empty database."""
    async with database.write(OWNER) as tx:
        tables = await tx.value(
            "select string_agg(tablename, ', ') from pg_tables where schemaname = 'public' and tablename <> 'alembic_version'"
        )
        await tx.execute(f"truncate {tables}")
    return Desk(database)


@pytest.fixture
async def api(desk: Desk) -> AsyncIterator[Api]:
    """The HTTP side over the desk's database, and tokens for it."""
    app: Any = SERVICE.app(Runtime(ServiceSettings(), desk.database))
    kid, pem, jwk = new_key()
    key = SigningKeyBody(
        kid=kid, public_jwk=jwk, not_before=now() - timedelta(hours=1), not_after=now() + timedelta(hours=1)
    )
    await desk.contracts(envelope(PARTNER_SIGNING_KEY_PUBLISHED, "key", uuid7(), 1, key))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://incentive") as client:
        yield Api(client, kid, pem)


@pytest.fixture(scope="session")
def build() -> Any:
    """The builders of this module, for test modules that cannot import it."""
    return SimpleNamespace(**{name: value for name, value in globals().items() if not name.startswith("_")})
