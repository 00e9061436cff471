"""Bodies of every platform, changed at random: a document, ignored, or quarantined with a reason, and no cent lost.

The way is the drain's own: `intake.rules.read`, then the order's account. What a document states as its total is
read here from the body by other means.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from channel_kit.money import EXPONENTS
from order_svc.intake import rules
from order_svc.intake.rules import ADAPTER_FAILED, APPLIED, IGNORED, QUARANTINED, Delivery
from order_svc.order.rules import Head, OutOfBounds, absorb, account, effective_refunds
from order_svc.order.values import Deletion, News, OrderDocument, Refund, dump, load_order, load_refund
from order_svc.platforms import PLATFORMS
from order_svc.platforms.pos import encode_receipt

from .budget import tries
from .furniture import FIXTURES
from .mutations import mutated, written

NOW = datetime(2026, 3, 1, 2, 0, 10, tzinfo=UTC)
ORDER = UUID(int=7)
CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")
TOPICS = {
    "shopify": ("", "orders/create", "orders/updated", "orders/delete", "refunds/create", "orders/edited"),
    "woocommerce": ("", "order.created", "order.updated", "order.deleted", "order.refunded"),
    "generic": ("",),
    "pos": ("receipt",),
}
TOTAL = {"shopify": "total_price", "woocommerce": "total"}
TILL = {"business_date": "2026-02-01", "terminal": "1", "receipt": "7", "quantity": "2", "unit_price": "4.50"}
# Faults of an adapter that `intake` only catches because it trusts none: no adapter may get there.
UNFIT = {
    "id-out-of-bounds", "line-id-repeated", "quantity-out-of-bounds", "negative-line", "fee-on-a-line", "negative-refund",
    "refund-does-not-add-up", ADAPTER_FAILED,
}  # fmt: skip
ends: Counter[str] = Counter()


def stock() -> Iterator[tuple[str, Any]]:
    """Platform and body of our own documents."""
    for path in sorted(FIXTURES.glob("*.json")):
        yield path.name.partition("_")[0], json.loads(path.read_text("utf-8"))
    back = {"quantity": "-1", "original_receipt": "6", "original_line": "1", "tax": "0.5", "discount": "0.1"}
    rows = [TILL, TILL | {"line": "9", "total": "9.99"}, TILL | back]
    yield "pos", json.loads(encode_receipt(rows, time_zone="Asia/Shanghai", received_at=NOW, currency="CNY"))


STOCK = list(stock())


def read(platform: str, topic: str, raw: bytes) -> tuple[News, ...]:
    """What the drain makes of a body, with everything checked that can be said of any."""
    given = Delivery(UUID(int=1), platform, "shop", topic, raw, NOW, False)
    found = rules.read(given)
    ends[f"{platform} {found.status}"] += 1
    assert found.reason not in UNFIT, (found.reason, found.detail)
    if found.status == APPLIED:
        assert found.news
        for each in found.news:
            check(platform, each)
        return found.news
    assert found.status in (IGNORED, QUARANTINED)
    assert CODE.fullmatch(found.reason or ""), found.reason
    assert found.status == IGNORED or found.detail
    (found.detail or "").encode()
    assert "\x00" not in (found.detail or "")
    return ()


def check(platform: str, news: News) -> None:
    """A document survives its storage, and the ledger makes entries of it that add up to what it says."""
    document = news.document
    if isinstance(document, Deletion):
        return
    stored = dump(document)
    assert (load_refund(stored) if isinstance(document, Refund) else load_order(stored)) == document
    assert "\\u0000" not in stored  # which PostgreSQL refuses
    head, _ = absorb(Head(ORDER, platform, "shop", document.platform_order_id), document)
    try:
        told = account(head)
    except OutOfBounds:
        ends[f"{platform} out of bounds"] += 1
        return
    if isinstance(document, Refund) or told is None:
        return
    lines = [line for line in document.lines if line.line_kind != "platform_fee"]
    totals = told.snapshot.totals
    given_back = [refund for refund in effective_refunds(head) if refund.currency == document.currency]
    assert totals.ordered_net_minor == sum(line.components.net_minor for line in lines)
    assert totals.paid_minor == document.paid_minor
    assert totals.refunded_minor == -sum(refund.amount_minor for refund in given_back)


def stated(platform: str, body: Any) -> int | None:
    """The total that the body of one order states, in minor units; None where it is not plain to see."""
    order = body.get("data") if platform == "generic" and isinstance(body, dict) else body
    if not isinstance(order, dict):
        return None
    total, currency = order.get(TOTAL.get(platform, "total")), order.get("currency")
    places = EXPONENTS.get(currency.strip().upper()) if isinstance(currency, str) else None
    if places is None or not isinstance(total, str | int) or isinstance(total, bool):
        return None
    try:
        exact = Decimal(total if isinstance(total, int) else total.strip()).scaleb(places)
        return int(exact.quantize(Decimal(1), ROUND_HALF_EVEN))
    except (InvalidOperation, ValueError):
        return None


@tries(700)
@given(chance=st.randoms(use_true_random=False), changes=st.sampled_from((0, 1, 1, 1, 2, 2, 3, 5)))
def test_documents_with_places_changed(chance: random.Random, changes: int) -> None:
    platform, shape = chance.choice(STOCK)
    body = mutated(chance, shape, changes)
    raw = written(chance, body)
    for topic in TOPICS[platform]:
        news = read(platform, topic, raw)
        orders = [each.document for each in news if isinstance(each.document, OrderDocument)]
        if platform != "pos" and len(orders) == 1 and (total := stated(platform, reread(raw))) is not None:
            lines = [line for line in orders[0].lines if line.line_kind != "platform_fee"]
            ends["totals compared"] += 1
            assert sum(line.components.net_minor for line in lines) == total


def reread(raw: bytes) -> Any:
    """The body once more, by the standard library; None when that cannot."""
    try:
        return json.loads(raw.decode("utf-8-sig"), parse_float=str)
    except (ValueError, RecursionError):
        return None


@tries(300)
@given(platform=st.sampled_from(sorted(PLATFORMS)), topic=st.text(max_size=30), raw=st.binary(max_size=400))
@example(platform="shopify", topic="orders/create", raw=b"[" * 100_000)
@example(platform="generic", topic="", raw=b'{"type": 1e999999999999}')
@example(platform="pos", topic="receipt", raw=b'{"rows": [{"quantity": 1E-400}]}')
def test_any_bytes_under_any_topic(platform: str, topic: str, raw: bytes) -> None:
    read(platform, topic, raw)


@pytest.fixture(scope="module", autouse=True)
def _told(tell: Callable[[str], Any]) -> Any:
    yield
    tell("fuzz, documents: " + ", ".join(f"{n} × {end}" for end, n in sorted(ends.items())))
