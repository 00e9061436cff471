"""The operations of every service's OpenAPI document, what a partner may call, and what A's things are called there.

A new route is in the matrix by being in the document: for partners it is closed until it is named in
`OPEN_TO_PARTNERS`, and what it then shows of A must stay hidden from B.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from channel_kit.ids import uuid7
from channel_kit.service import Service
from incentive_svc.__main__ import SERVICE as INCENTIVE
from insight_svc.__main__ import SERVICE as INSIGHT
from inventory_svc.service import SERVICE as INVENTORY
from order_svc.service import SERVICE as ORDER
from partner_svc.service import SERVICE as PARTNER

A, B = UUID("0190a000-0000-7000-8000-00000000000a"), UUID("0190b000-0000-7000-8000-00000000000b")
THING = UUID("0190a000-0000-7000-8000-0000000000aa")
"""The id of everything of A's; as texts, A's things begin with OF-A, and B's with OF-B."""

SERVICES: dict[str, Service] = {each.name: each for each in (ORDER, PARTNER, INVENTORY, INCENTIVE, INSIGHT)}
SCOPES = ("deliveries:replay", "insight:read", "orders:read", "orders:write", "partners:read", "partners:write",
          "plans:read", "plans:write", "statements:read", "stock:read", "stock:write", "admin")  # fmt: skip
PUBLIC = frozenset({"GET /v1/keys", "POST /v1/tokens"})
NOT_IN_THE_DOCUMENT = frozenset({"/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"})
"""Paths of the application that are no operations: the document itself, and its page."""

PERIOD = {"from": "2026-05-01", "to": "2026-05-02"}
STATEMENT = {"partner_id": str(A), "plan_code": "OF-A", "period_start": "2026-05-01"}

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
    "GET /v1/statements/{partner_id}/{plan_code}/{period_start}": STATEMENT,
    "GET /v1/statements/{partner_id}/{plan_code}/{period_start}/left-out": STATEMENT,
    "GET /v1/insight/kpis": {**PERIOD, "group_by": "channel"},
    "GET /v1/insight/daily": PERIOD,
    "GET /v1/insight/freshness": None,
}

# What A's things are called wherever a query may name them; the first value is A's, the second is nobody's.
NAMED_IN_QUERIES: dict[str, tuple[str, str]] = {
    "partner_id": (str(A), str(uuid7())),
    "order_id": (str(THING), str(uuid7())),
    **dict.fromkeys(
        ("platform_order_id", "shop_id", "channel", "code", "search", "plan_code", "sku"), ("OF-A", "OF-X")
    ),
}
# Bodies with something of A's in it, for whoever may send one.
BODIES_OF_A: dict[str, dict[str, Any]] = {
    "POST /v1/reservations": {"lines": [{"sku": "COMMON", "quantity": "1"}], "hold_seconds": 600},
    "POST /v1/availability": {"skus": ["COMMON"]},
    "POST /v1/partners": {"code": "NEW", "name": "NEW", "kind": "store", "parent_id": str(A)},
    "POST /v1/contracts": {
        "code": "NEW", "partner_id": str(A), "valid_from": "2026-01-01T00:00:00Z", "time_zone": "UTC", "plan_codes": ["OF-A"]},
    "POST /v1/contracts/{contract_id}/versions": {"valid_from": "2027-01-01T00:00:00Z", "time_zone": "UTC"},
    "POST /v1/shops/{platform}/{shop_id}/bindings": {
        "partner_id": str(A), "channel": "x", "valid_from": "2027-01-01T00:00:00Z", "replace": True},
    "POST /v1/clients": {"name": "x", "scopes": ["orders:read"], "partner_id": str(A)},
    "PATCH /v1/partners/{partner_id}": {"name": "mine now"},
}  # fmt: skip
PARTNERS_IN_BODIES = frozenset(
    {"POST /v1/contracts", "POST /v1/shops/{platform}/{shop_id}/bindings", "POST /v1/clients"}
)
"""Where a body rightly names a partner."""

# What stands in for whatever else an operation must be given; the guard answers before it looks at any of it.
ANYTHING = {**PERIOD, "period_start": "2026-05-01", "version": "1", "block_no": "1", "sku": "COMMON", "shop_id": "OF-X",
            "platform": "pos", "code": "OF-X", "slug": "of-x"}  # fmt: skip
OF_A = {"order_id": str(THING), "partner_id": str(A), "contract_id": str(THING), "reservation_id": str(THING),
        "cell_id": str(THING), "delivery_id": str(THING), "shop_id": "OF-A", "code": "OF-A",
        "plan_code": "OF-A", "sku": "COMMON", "client_id": "OF-A"}  # fmt: skip
"""How A's things are named in any path."""


class Operation(NamedTuple):
    """One operation of a document."""

    name: str
    method: str
    path: str
    scopes: tuple[str, ...]
    query: tuple[str, ...]
    required: tuple[str, ...]
    media: tuple[str, ...]
    wants_key: bool

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    @property
    def in_path(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)

    def request(self, given: dict[str, str], body: Any = None) -> dict[str, Any]:
        """The arguments of a request with `given` where it fits, and a body that is JSON at least."""

        def fill(match: re.Match[str]) -> str:
            return given.get(match[1]) or ANYTHING.get(match[1]) or str(uuid7())

        params = {name: ANYTHING[name] for name in self.required}
        params |= {name: value for name, value in given.items() if name in self.query}
        headers = {"Idempotency-Key": uuid4().hex} if self.wants_key else {}
        sent: dict[str, Any] = {"json": {} if body is None else body} if self.media else {}
        url = re.sub(r"{(\w+)}", fill, self.path)
        return {"method": self.method, "url": url, "params": params, "headers": headers} | sent


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
                tuple(each["name"] for each in parameters if each["in"] == "query" and each.get("required")),
                tuple(detail.get("requestBody", {}).get("content", {})),
                any(each["name"] == "Idempotency-Key" for each in parameters),
            )
