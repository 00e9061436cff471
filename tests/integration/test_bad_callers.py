"""Callers who are not who they say, may not do what they ask, or ask for more than anybody may.

Over real HTTP and with tokens that the stack itself gave; every operation and every role meet in
`tests/authorization`.
"""

import base64
import hashlib
import hmac
import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

from .bad import Bad, Make, Tally, judge
from .deployment import Deployment, until
from .letters import order_body
from .shops import Trade


@pytest.fixture(scope="module")
async def sold(trade: Make) -> Trade:
    made: Trade = await trade(stock="1000")
    return made


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _opened(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


async def test_tokens_that_are_forged(stack: Deployment, tally: Tally) -> None:
    real = await stack.token()
    head, claims, signature = real.split(".")
    header, said = _opened(head), _opened(claims)
    keys = (await stack.http.get(stack.stack.url("partner") + "/v1/keys")).json()["keys"]
    public = next(key for key in keys if key["kid"] == header["kid"])["x"]
    confused = f"{_part({**header, 'alg': 'HS256'})}.{claims}"
    mac = hmac.digest(base64.urlsafe_b64decode(public + "="), confused.encode(), hashlib.sha256)
    forged = {
        "dots": "..",
        "rubbish": "x",
        "other scopes": f"{head}.{_part({**said, 'scope': 'admin'})}.{signature}",
        "later end": f"{head}.{_part({**said, 'exp': said['exp'] + 600})}.{signature}",
        "of a partner": f"{head}.{_part({**said, 'partner': str(uuid4())})}.{signature}",
        "no algorithm": f"{_part({'alg': 'none', 'kid': header['kid']})}.{claims}.",
        "public key as a secret": f"{confused}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}",
        "key that is a path": f"{_part({**header, 'kid': '../../etc/passwd'})}.{claims}.{signature}",
        "key that is an address": f"{_part({**header, 'kid': 'https://example.com/k'})}.{claims}.{signature}",
        "key of nobody": f"{_part({**header, 'kid': 'k-0'})}.{claims}.{signature}",
        "its own key": f"{_part({**header, 'jwk': keys[0]})}.{claims}.{signature}",
        "short signature": real[:-4],
        "two in one": f"{real} {real}",
        "100 kB": "a" * 15_000,
    }
    for name, token in forged.items():
        answer = await stack.ask("order", "GET", "/v1/orders", headers={"authorization": f"Bearer {token}"})
        judge(tally, Bad.AUTH, name, answer, 401)
    url = stack.stack.url("order") + "/v1/orders"
    for name, headers in {
        "no header": [],
        "basic": [("authorization", "Basic YTpi")],
        "two headers": [("authorization", f"Bearer {real}")] * 2,
    }.items():
        judge(tally, Bad.AUTH, name, await stack.http.get(url, headers=headers), 401)
    token_url = stack.stack.url("partner") + "/v1/tokens"
    for name, form in {
        "wrong secret": {"grant_type": "client_credentials", "client_id": "admin", "client_secret": "x"},
        "nobody": {"grant_type": "client_credentials", "client_id": "nobody", "client_secret": "x"},
    }.items():
        judge(tally, Bad.AUTH, name, await stack.http.post(token_url, data=form), 401)


async def test_commands_that_may_not_be(stack: Deployment, sold: Trade, tally: Tally) -> None:
    """Scopes that are missing, keys that are used twice, states that are stale."""
    reader = {"authorization": f"Bearer {await stack.token('stock:read')}"}
    line = {"lines": [{"sku": sold.sku, "quantity": "1"}]}
    key, item = uuid4().hex, sold.known["item"]
    steps: list[tuple[str, str, str, str, dict[str, Any], dict[str, str], int]] = [
        ("scope missing", "inventory", "POST", "/v1/receipts", line, reader, 403),
        ("no key", "inventory", "POST", "/v1/receipts", line, {"idempotency-key": ""}, 400),
        ("short key", "inventory", "POST", "/v1/receipts", line, {"idempotency-key": "short"}, 400),
        ("key with blanks", "inventory", "POST", "/v1/receipts", line, {"idempotency-key": "a b" * 8}, 400),
        ("first use", "inventory", "POST", "/v1/receipts", line, {"idempotency-key": key}, 201),
        ("same again", "inventory", "POST", "/v1/receipts", line, {"idempotency-key": key}, 201),
        (
            "other body",
            "inventory",
            "POST",
            "/v1/receipts",
            {"lines": line["lines"] * 2},
            {"idempotency-key": key},
            422,
        ),
        (
            "stale",
            "inventory",
            "PATCH",
            f"/v1/items/{item['item_id']}",
            {"name": "x"},
            {"if-match": '"99"'},
            412,
        ),
        (
            "weak",
            "inventory",
            "PATCH",
            f"/v1/items/{item['item_id']}",
            {"name": "x"},
            {"if-match": 'W/"1"'},
            400,
        ),
        ("wrong verb", "inventory", "DELETE", "/v1/receipts", line, {}, 405),
        ("more than there is", "inventory", "POST", "/v1/adjustments", {**line, "reason": "x"}, {}, 201),
    ]
    before = await on_hand(stack, sold)
    for name, service, method, path, sent, headers, expected in steps:
        answer = await stack.ask(service, method, path, json=sent, headers=headers)
        judge(tally, Bad.AUTH, name, answer, expected)
    taken_out = {"lines": [{"sku": sold.sku, "quantity": "-100000"}], "reason": "x"}
    judge(
        tally,
        Bad.AUTH,
        "too much",
        await stack.ask("inventory", "POST", "/v1/adjustments", json=taken_out),
        409,
    )
    assert await on_hand(stack, sold) == before + 2 * 10**6  # the first use and the adjustment


async def test_a_partner_sees_nothing_of_another(stack: Deployment, trade: Make, tally: Tally) -> None:
    mine, theirs = await trade(), await trade()
    for each in (mine, theirs):
        order_id, letter, topic = order_body("shopify", each.sku)
        await each.shop.sent(letter, topic)
        each.known["order"] = await each.shop.settled(order_id)
    await stack.audit_clean()
    scopes = ["orders:read", "stock:read", "statements:read", "insight:read", "partners:read", "plans:read"]
    made = await stack.call(
        "partner", "POST", "/v1/clients", {"name": "mine", "scopes": scopes, "partner_id": mine.partner_id}
    )
    answer = await stack.http.post(
        stack.stack.url("partner") + "/v1/tokens",
        data={"grant_type": "client_credentials"},
        auth=(made["client_id"], made["client_secret"]),
    )
    as_partner = {"authorization": f"Bearer {answer.json()['access_token']}"}

    async def see(service: str, path: str) -> httpx.Response:
        found = await stack.ask(service, "GET", path, headers=as_partner)
        tally(Bad.AUTH, str(found.status_code))
        return found

    nobody = uuid4()
    for service, path in (
        ("order", "/v1/orders/{order}"),
        ("order", "/v1/orders/{order}/entries"),
        ("inventory", "/v1/reservations/{order}"),
        ("partner", "/v1/partners/{partner}"),
        ("partner", "/v1/shops/shopify/{shop}"),
    ):
        names = [
            {"order": sold.known["order"]["order_id"], "partner": sold.partner_id, "shop": sold.shop.shop_id}
            for sold in (mine, theirs)
        ]
        assert (await see(service, path.format(**names[0]))).status_code == 200, path
        other = await see(service, path.format(**names[1]))
        missing = await see(service, path.format(order=nobody, partner=nobody, shop="nobody"))
        assert other.status_code == missing.status_code == 404, path
        assert {**other.json(), "instance": ""} == {**missing.json(), "instance": ""}, (
            "existence must not show"
        )
    for service, path in (
        ("order", f"/v1/orders?partner_id={theirs.partner_id}"),
        ("inventory", f"/v1/holds?order_id={theirs.known['order']['order_id']}"),
        ("incentive", f"/v1/statements?partner_id={theirs.partner_id}"),
        ("incentive", f"/v1/accruals?partner_id={theirs.partner_id}"),
        ("insight", f"/v1/insight/kpis?from=2026-03-01&to=2026-03-31&partner_id={theirs.partner_id}"),
    ):
        assert (await see(service, path)).json()["items"] == [], path
        assert (await see(service, path.replace(theirs.partner_id, mine.partner_id))).status_code == 200, path
    for service, path in (
        ("order", "/v1/exceptions"),
        ("order", "/v1/deliveries"),
        ("order", "/v1/connections"),
        ("inventory", "/v1/stock"),
        ("partner", "/v1/clients"),
        *((name, "/v1/admin/status") for name in ("order", "inventory", "incentive", "insight", "partner")),
    ):
        assert (await see(service, path)).status_code == 403, path
    await until(lambda: stack.get("order", "/v1/orders", partner_id=theirs.partner_id))


async def test_questions_and_commands_without_measure(stack: Deployment, sold: Trade, tally: Tally) -> None:
    """Ten thousand of anything, pages of any size, expressions that never end: bounded, quickly, and by name."""
    before = await on_hand(stack, sold)
    line = {"sku": sold.sku, "quantity": "1"}
    many = [f"S{n}" for n in range(10_000)]
    tiers = [{"lower_minor": n, "rate_ppm": 1} for n in range(10_000)]
    slow = "(a+)+$" * 200 + "a" * 2_000
    plan = f"/v1/plans/{sold.plan_code}/versions"
    preview = {"shape": "marginal", "tiers": tiers, "basis_minor": 1}
    item, partner = f"/v1/items/{sold.known['item']['item_id']}", f"/v1/partners/{sold.partner_id}"
    days = {"from": "2026-03-01", "to": "2026-03-02"}
    hold = {"lines": [line], "hold_seconds": 60}
    shop = {"platform": "shopify", "shop_id": "x", "slug": slow}
    ids = {"delivery_ids": [str(uuid4()) for _ in many]}

    def changed(etag: str | None) -> dict[str, Any]:
        return {"json": {"name": "x"}, "headers": {} if etag is None else {"if-match": f'"{etag}"'}}

    cases: list[tuple[str, str, str, str, dict[str, Any], int]] = [
        ("10,000 SKUs", "inventory", "POST", "/v1/availability", {"json": {"skus": many}}, 422),
        ("10,000 lines", "inventory", "POST", "/v1/receipts", {"json": {"lines": [line] * 10_000}}, 422),
        ("10,000 lines to hold", "inventory", "POST", "/v1/reservations", {"json": {**hold, "lines": [line] * 10_000}}, 422),
        ("10,000 deliveries", "order", "POST", "/v1/deliveries/reprocess", {"json": ids}, 422),
        ("10,000 tiers", "incentive", "POST", "/v1/plans/preview", {"json": preview}, 422),
        ("10,000 channels", "incentive", "POST", plan, {"json": {"channels": many}}, 422),
        ("10,000 plans", "partner", "POST", "/v1/contracts", {"json": {"plan_codes": many}}, 422),
        ("10,000 scopes", "partner", "POST", "/v1/clients", {"json": {"name": "x", "scopes": many}}, 422),
        ("a hold for ever", "inventory", "POST", "/v1/reservations", {"json": {**hold, "hold_seconds": 10**9}}, 422),
        ("a slow expression in a search", "partner", "GET", "/v1/partners", {"params": {"search": slow[:100]}}, 200),
        ("a slow expression as a SKU", "inventory", "GET", "/v1/items", {"params": {"sku": slow[:100]}}, 200),
        ("a slow expression as a slug", "order", "POST", "/v1/connections", {"json": shop}, 422),
        ("wild cards", "partner", "GET", "/v1/partners", {"params": {"search": "%_" * 45}}, 200),
        ("page of zero", "partner", "GET", "/v1/partners", {"params": {"limit": "0"}}, 422),
        ("page below zero", "incentive", "GET", "/v1/accruals", {"params": {"limit": "-1"}}, 422),
        ("page of 201", "insight", "GET", "/v1/insight/daily", {"params": {**days, "limit": "201"}}, 422),
        ("page of 10^30", "inventory", "GET", "/v1/stock", {"params": {"limit": str(10**30)}}, 422),
        ("cursor of nothing", "incentive", "GET", "/v1/statements", {"params": {"cursor": "AAAA"}}, 400),
        ("etag of nothing", "inventory", "PATCH", item, changed("9" * 400), 400),
        ("no etag", "partner", "PATCH", partner, changed(None), 428),
        ("stale etag", "partner", "PATCH", partner, changed("99"), 412),
    ]  # fmt: skip
    for name, service, method, path, sent, expected in cases:
        answer = await stack.ask(service, method, path, **sent)
        judge(tally, Bad.AUTH, name, answer, expected)
        assert answer.elapsed.total_seconds() < 10, name
    assert await on_hand(stack, sold) == before


async def on_hand(stack: Deployment, sold: Trade) -> int:
    """Millionths of a unit."""
    return int(
        await stack.value("inventory", "select sum(on_hand * 1000000) from stock where sku = $1", sold.sku)
    )
