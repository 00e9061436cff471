"""Who may do what, over every operation of every service's OpenAPI document and on real rows.

Each operation meets strangers, expired tokens, staff with and without its scopes, and two partners. A new route is
in here by being in the document: for partners it is closed until it is named in `OPEN_TO_PARTNERS`, and what it
then shows of A must stay hidden from B, behind the very answer that something absent gets.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from string import Template
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from channel_events.partner import SigningKeyBody
from channel_kit import auth
from channel_kit.clock import now
from channel_kit.database import OWNER, Database
from channel_kit.ids import uuid7
from channel_kit.service import Runtime, Service
from channel_kit.settings import ServiceSettings
from channel_kit.testing.plugin import SECRET_KEY
from incentive_svc.__main__ import SERVICE as INCENTIVE
from insight_svc.__main__ import SERVICE as INSIGHT
from inventory_svc.service import SERVICE as INVENTORY
from order_svc.service import SERVICE as ORDER
from partner_svc.service import SERVICE as PARTNER

A, B = UUID("0190a000-0000-7000-8000-00000000000a"), UUID("0190b000-0000-7000-8000-00000000000b")
THING = UUID("0190a000-0000-7000-8000-0000000000aa")
"""The id of everything of A's below; as texts, A's things say OF-A."""

SERVICES = {each.name: each for each in (ORDER, PARTNER, INVENTORY, INCENTIVE, INSIGHT)}
SCOPES = ("deliveries:replay", "insight:read", "orders:read", "orders:write", "partners:read", "partners:write",
          "plans:read", "plans:write", "statements:read", "stock:read", "stock:write")  # fmt: skip
PUBLIC = {"GET /v1/keys", "POST /v1/tokens"}

# Every operation a partner may call, and how what is A's is asked for; the same to all partners when None.
OPEN_TO_PARTNERS: dict[str, dict[str, str] | None] = {
    "GET /v1/orders": {},
    "GET /v1/orders/{order_id}": {"order_id": str(THING)},
    "GET /v1/orders/{order_id}/entries": {"order_id": str(THING)},
    "GET /v1/ledger/blocks": None,
    "GET /v1/partners": {},
    "GET /v1/partners/{partner_id}": {"partner_id": str(A)},
    "GET /v1/shops": {},
    "GET /v1/shops/{platform}/{shop_id}": {"platform": "pos", "shop_id": "OF-A"},
    "GET /v1/contracts": {},
    "GET /v1/contracts/{contract_id}": {"contract_id": str(THING)},
    "POST /v1/reservations": None,
    "GET /v1/reservations/{reservation_id}": {"reservation_id": str(THING)},
    "POST /v1/reservations/{reservation_id}/commit": {"reservation_id": str(THING)},
    "POST /v1/reservations/{reservation_id}/issue": {"reservation_id": str(THING)},
    "POST /v1/reservations/{reservation_id}/release": {"reservation_id": str(THING)},
    "GET /v1/holds": {},
    "GET /v1/availability": None,
    "POST /v1/availability": None,
    "GET /v1/plans": {},
    "GET /v1/plans/{code}": {"code": "OF-A"},
    "POST /v1/plans/preview": None,
    "GET /v1/accruals": {},
    "GET /v1/accruals/{cell_id}/steps": {"cell_id": str(THING)},
    "GET /v1/statements": {},
    "GET /v1/statements/{partner_id}/{plan_code}/{period_start}": {
        "partner_id": str(A), "plan_code": "OF-A", "period_start": "2026-05-01"},
    "GET /v1/statements/{partner_id}/{plan_code}/{period_start}/left-out": {
        "partner_id": str(A), "plan_code": "OF-A", "period_start": "2026-05-01"},
    "GET /v1/insight/kpis": {"from": "2026-05-01", "to": "2026-05-02", "group_by": "channel"},
    "GET /v1/insight/daily": {"from": "2026-05-01", "to": "2026-05-02"},
    "GET /v1/insight/freshness": None,
}  # fmt: skip

# What stands in for whatever else an operation must be given; the guard answers before it looks at any of it.
ANYTHING = {"from": "2026-05-01", "to": "2026-05-02", "period_start": "2026-05-01", "version": "1", "block_no": "1",
            "sku": "OF-A", "shop_id": "OF-A", "platform": "pos"}  # fmt: skip

ROWS: dict[str, str] = {
    "order": """
        insert into order_head (order_id, platform, shop_id, platform_order_id, document, lifecycle, payment, fulfilment,
            currency, partner_id, channel, business_at)
          values ($thing, 'pos', 'OF-A', 'OF-A', '{}', 'open', 'paid', 'none', 'CNY', $a, 'OF-A', $may);
        insert into order_line (order_id, line_no, external_id, line_kind, ordered, cancelled, shipped, returned,
            restocked, net_minor, kinds, partner_id)
          values ($thing, 1, 'OF-A', 'product', 1, 0, 0, 0, 0, 100, '{}', $a);
        insert into ledger_entry (entry_id, order_id, line_no, line_kind, kind, quantity, currency, list_minor,
            promo_minor, platform_coupon_minor, merchant_coupon_minor, freight_minor, tax_minor, platform_fee_minor,
            net_minor, tax_included, partner_id, channel, business_at, origin_at, recorded_at, entry_hash)
          values ($thing, $thing, 1, 'product', 'ordered', 1, 'CNY', 100, 0, 0, 0, 0, 0, 0, 100, false, $a,
            'OF-A', $may, $may, $may, repeat('a', 64))""",
    "partner": """
        insert into partner values ($a, 'OF-A', 'OF-A', 'store', 'active', null, $may, 1, 1);
        insert into partner values ($b, 'OF-B', 'OF-B', 'store', 'active', null, $may, 1, 1);
        insert into shop values ('pos', 'OF-A', 1);
        insert into binding values ('OF-A', 'pos', $may, null, $a, 'OF-A');
        insert into contract values ($thing, 'OF-A', $a, 1, 1);
        insert into contract_version values ($thing, 1, $a, 'approved', $may, null, 'UTC', '{OF-A}', '{}',
            'OF-A', 'x', 'y', $may)""",
    "inventory": """
        insert into item (item_id, sku, name, uom, quantity_scale) values ($thing, 'OF-A', 'x', 'pcs', 0);
        insert into stock (stock_id, sku, location, on_hand, reserved) values ($thing, 'OF-A', 'main', 5, 1);
        insert into reservation (order_id, partner_id, source, state, hold_seconds, expires_at)
          values ($thing, $a, 'api', 'held', 600, now() + interval '1 hour');
        insert into hold values ($thing, 1, 'main', null, 'OF-A', 1, 0, 0, 1, 0, 0, 0, 0, 0,
            now() + interval '1 hour', $a)""",
    "incentive": """
        insert into plan (plan_id, code, name) values ($thing, 'OF-A', 'OF-A');
        insert into plan_version (plan_id, version, state, valid_from, calendar, currency, shape, tiers, basis,
            recognition, rounding, content_hash, activated_at)
          values ($thing, 1, 'active', '2026-01-01', 'month', 'CNY', 'marginal',
            '[{"lower_minor": 0, "rate_ppm": 10000}]', 'net_sales', 'paid', 'half_even', repeat('a', 64), $may);
        insert into contract values ($thing, 1, $a, '2026-01-01T00:00:00Z', null, 'UTC', '{OF-A}', 'x');
        insert into basis_entry (entry_id, order_id, line_no, line_kind, kind, quantity, currency, list_minor,
            promo_minor, platform_coupon_minor, merchant_coupon_minor, freight_minor, tax_minor, platform_fee_minor,
            net_minor, tax_included, partner_id, channel, sku, business_at, origin_at, recorded_at, entry_hash)
          values ($thing, $thing, 1, 'product', 'ordered', 1, 'CNY', 100, 0, 0, 0, 0, 0, 0, 100, false, $a,
            'OF-A', 'OF-A', '2026-05-03Z', '2026-05-03Z', '2026-05-03Z', 'x');
        insert into cell (cell_id, plan_id, partner_id, period_start, period_end, currency, plan_version, basis_minor,
            accrued_minor, seq)
          values ($thing, $thing, $a, '2026-05-01', '2026-06-01', 'CNY', 1, 100, 1, 1);
        insert into accrual (cell_id, seq, partner_id, basis_before, basis_after, rebate_before, rebate_after,
            delta_minor, plan_version, slices) values ($thing, 1, $a, 0, 100, 0, 1, 1, 1,
            '[{"channel": "OF-A", "sku": "OF-A", "basis_delta_minor": 100}]')""",
    "insight": """
        insert into partner_name values ($a, 1, 'OF-A', 'OF-A');
        insert into daily_fact values ('2026-05-01', 'CNY', $a, 'OF-A', 'OF-A',
            1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)""",
}


class Operation(NamedTuple):
    """One operation of a document."""

    name: str
    method: str
    path: str
    scopes: tuple[str, ...]
    query: tuple[str, ...]
    has_body: bool
    wants_key: bool

    def request(self, given: dict[str, str]) -> dict[str, Any]:
        """The arguments of a request with `given` where it fits, and a body that is JSON at least."""

        def fill(match: re.Match[str]) -> str:
            return given.get(match[1]) or ANYTHING.get(match[1]) or str(uuid7())

        params = {name: value for name, value in (ANYTHING | given).items() if name in self.query}
        headers = {"Idempotency-Key": uuid4().hex} if self.wants_key else {}
        body: dict[str, Any] = {"json": {}} if self.has_body else {}
        url = re.sub(r"{(\w+)}", fill, self.path)
        return {"method": self.method, "url": url, "params": params, "headers": headers} | body


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    """All of them, in the document's order."""
    for path, methods in document["paths"].items():
        for method, detail in methods.items():
            scopes = [name for each in detail["security"] for names in each.values() for name in names]
            parameters = detail.get("parameters", [])
            yield Operation(
                f"{method.upper()} {path}",
                method.upper(),
                path,
                tuple(scopes),
                tuple(each["name"] for each in parameters if each["in"] == "query"),
                "requestBody" in detail,
                any(each["name"] == "Idempotency-Key" for each in parameters),
            )


class House:
    """One service with A's things in it, and its callers."""

    def __init__(
        self,
        database: Database,
        app: Any,
        client: httpx.AsyncClient,
        key: tuple[str, str],
        document: dict[str, Any],
    ) -> None:
        self.database, self.app, self.client = database, app, client
        self.kid, self.pem = key
        self.operations = list(operations(document))

    async def ask(
        self,
        operation: Operation,
        given: dict[str, str],
        *scopes: str,
        partner: UUID | None = None,
        age: int = 0,
    ) -> httpx.Response:
        """The answer to a caller with these scopes, whose token was made `age` seconds ago."""
        token = auth.sign(
            self.pem,
            self.kid,
            subject=str(partner or "staff"),
            scopes=scopes,
            partner_id=partner,
            issued_at=now() - timedelta(seconds=age),
        )
        return await self.send(operation, given, {"Authorization": f"Bearer {token}"})

    async def send(
        self, operation: Operation, given: dict[str, str], headers: dict[str, str]
    ) -> httpx.Response:
        """The answer, which is never an error of ours, and a problem when it is none of success."""
        request = operation.request(given)
        request["headers"] = request["headers"] | headers
        answer = await self.client.request(**request)
        assert answer.status_code < 500, (operation.name, answer.text)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json", operation.name
        return answer


@pytest.fixture(scope="module", params=SERVICES)
async def house(
    request: pytest.FixtureRequest, service_database: Callable[[Service], Awaitable[Database]]
) -> AsyncIterator[House]:
    name = request.param
    service = SERVICES[name]
    database = await service_database(service)
    kid, pem, jwk = auth.new_key()
    key = SigningKeyBody(
        kid=kid, public_jwk=jwk, not_before=now() - timedelta(hours=2), not_after=now() + timedelta(hours=2)
    )
    async with database.write(OWNER) as tx:
        await auth.remember_keys(tx, [(uuid7(), key)])
        for statement in ROWS[name].split(";"):
            named = {"a": A, "b": B, "thing": THING, "may": "2026-05-01T00:00:00Z"}
            await tx.execute(
                Template(statement).substitute({key: f"'{value}'" for key, value in named.items()})
            )
    settings = ServiceSettings.model_validate({"secret_key": SECRET_KEY, "docs": True})
    app = service.app(Runtime(settings, database))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{name}") as client:
        document = (await client.get("/openapi.json")).json()
        yield House(database, app, client, (kid, pem), document)


async def test_the_document_lists_every_route(house: House) -> None:
    inner = getattr(
        house.app, "_app", house.app
    )  # order-svc answers its webhooks in front of the application
    routes = {
        f"{method} {context.path_format}"
        for context in iter_route_contexts(inner.routes)
        if isinstance(context.original_route, APIRoute)
        for method in context.methods or ()
    }
    assert routes == {operation.name for operation in house.operations}


async def test_every_table_that_names_a_partner_is_protected_by_force(house: House) -> None:
    async with house.database.read(OWNER) as tx:
        tables = await tx.rows(
            """
            select c.relname::text as name, c.relrowsecurity and c.relforcerowsecurity as forced,
                   (select count(*) from pg_policy p where p.polrelid = c.oid) as policies
            from pg_class c
            join pg_attribute a on a.attrelid = c.oid and a.attname = 'partner_id' and not a.attisdropped
            where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace
            """
        )
    assert tables
    assert [each.name for each in tables if not (each.forced and each.policies)] == []


async def test_every_operation_wants_a_living_token_and_its_scopes(house: House) -> None:
    assert len(house.operations) >= 8
    for operation in house.operations:
        if operation.name in PUBLIC:
            assert not operation.scopes
            assert (await house.send(operation, {}, {})).status_code != 403
            continue
        assert operation.scopes, operation.name
        nobody = await house.send(operation, {}, {})
        assert (nobody.status_code, nobody.json()["code"]) == (401, "token-missing"), operation.name
        expired = await house.ask(operation, {}, "admin", age=901)
        assert (expired.status_code, expired.json()["code"]) == (401, "token-expired"), operation.name
        others = [each for each in SCOPES if each not in operation.scopes]
        lacking = await house.ask(operation, {}, *others)
        assert (lacking.status_code, lacking.json()["code"]) == (403, "scope-missing"), operation.name
        for scopes in (operation.scopes, ("admin",)):
            assert (await house.ask(operation, {}, *scopes)).status_code not in (401, 403), operation.name


async def test_partners_may_call_what_is_open_to_them_and_nothing_else(house: House) -> None:
    for operation in house.operations:
        if operation.name in PUBLIC:
            continue
        answer = await house.ask(operation, {}, *operation.scopes, "admin", partner=A)
        if operation.name in OPEN_TO_PARTNERS:
            assert answer.status_code not in (401, 403), operation.name
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "staff-only"), operation.name


async def test_what_is_as_is_seen_by_a_and_by_staff_and_looks_absent_to_b(house: House) -> None:
    of_a = [each for each in house.operations if OPEN_TO_PARTNERS.get(each.name) is not None]
    assert of_a
    # Last what changes something: everybody else must find it as it was.
    for operation in sorted(of_a, key=lambda each: each.method):
        given = OPEN_TO_PARTNERS[operation.name] or {}
        named = [name for name in given if f"{{{name}}}" in operation.path]
        foreign = await house.ask(operation, given, *operation.scopes, partner=B)
        assert not {str(A), str(THING), "OF-A"} & _texts(foreign.json()), operation.name
        if named:
            for name in named:
                if name == "period_start":  # a day is nobody's
                    continue
                absent = given | {name: str(uuid7()) if given[name] in (str(A), str(THING)) else "absent"}
                nothing = await house.ask(operation, absent, *operation.scopes, partner=B)
                assert (foreign.status_code, foreign.text) == (404, nothing.text), operation.name
        else:
            assert foreign.status_code == 200
            for name in {"partner_id", "order_id"} & set(operation.query):
                aimed = await house.ask(
                    operation,
                    given | {name: str(A if name == "partner_id" else THING)},
                    *operation.scopes,
                    partner=B,
                )
                assert not {str(A), str(THING), "OF-A"} & _texts(aimed.json()), operation.name
        for partner in (A, None):
            own = await house.ask(operation, given, *operation.scopes, partner=partner)
            assert own.status_code == 200, (operation.name, own.text)
            assert {str(A), str(THING), "OF-A"} & _texts(own.json()), operation.name


def _texts(value: Any) -> set[str]:
    """All texts in an answer."""
    if isinstance(value, dict):
        return set().union(*map(_texts, value.values()))
    if isinstance(value, list):
        return set().union(*map(_texts, value))
    return {value} if isinstance(value, str) else set()
