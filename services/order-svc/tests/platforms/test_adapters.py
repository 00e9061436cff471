"""What every adapter promises: it never fails, never guesses from the order of keys, and always adds up.

Bodies are arbitrary bytes, arbitrary JSON, and real-looking documents with a few places changed.
"""

import json
import random
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from order_svc.order.values import LINE_KINDS, LINES_MAX, OrderDocument, Refund, dump, load_order
from order_svc.platforms import PLATFORMS
from order_svc.platforms.contract import Documents, Ignored, Unreadable
from order_svc.platforms.pos import encode_receipt

FIXTURES = Path(__file__).parent / "fixtures"
SAMPLES = Path(__file__).parents[5] / "shared" / "samples"
NOW = datetime(2026, 3, 1, 2, 0, 10, tzinfo=UTC)
TOPICS = {
    "shopify": ["", "orders/updated", "orders/delete", "refunds/create", "orders/edited"],
    "woocommerce": ["", "order.updated", "order.deleted", "order.refunded"],
    "generic": [""],
    "pos": ["", "receipt"],
}
ALL_TOPICS = sorted({topic for topics in TOPICS.values() for topic in topics})
CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")


def stock() -> Iterator[tuple[str, str, bytes]]:
    """(platform, name, body): our own documents, and the public samples where they stand beside this checkout."""
    for path in sorted(FIXTURES.glob("*.json")):
        yield path.name.split("_")[0], path.name, path.read_bytes()
    rows = [
        {
            "business_date": "2026-02-01",
            "terminal": "1",
            "receipt": "7",
            "line": "1",
            "quantity": "2",
            "total": "9",
        },
        {
            "business_date": "2026-02-01",
            "terminal": "1",
            "receipt": "7",
            "quantity": "-1",
            "unit_price": "4.5",
        }
        | {"original_receipt": "6", "original_line": "1", "tax": "0.5", "discount": "0.1"},
    ]
    raw = encode_receipt(rows, time_zone="Asia/Shanghai", received_at=NOW, currency="CNY")
    yield "pos", "pos_receipt", raw
    for folder, platform in (("shopify",) * 2, ("woocommerce",) * 2, ("standard_webhooks", "generic")):
        for path in sorted((SAMPLES / folder).glob("*.json")):
            yield platform, path.name, path.read_bytes()


STOCK = list(stock())


def verdict(platform: str, topic: str, raw: bytes) -> Documents | Ignored | str:
    """What the adapter says; the code of a refusal as text. Any other exception is a failure of the test."""
    try:
        answer = PLATFORMS[platform].normalise(topic, raw, NOW)
    except Unreadable as problem:
        return problem.code if problem.detail else "refused-without-detail"
    if isinstance(answer, Ignored):
        assert CODE.fullmatch(answer.reason)
    if isinstance(answer, Documents):
        for order in answer.orders:
            check_order(order)
        for refund in answer.refunds:
            check_refund(refund)
        assert answer.orders or answer.refunds or answer.deletions
    return answer


def check_order(order: OrderDocument) -> None:
    assert 1 <= len(order.platform_order_id) <= 255
    assert len({line.external_id for line in order.lines}) == len(order.lines) <= LINES_MAX
    assert 0 <= order.paid_minor <= 10**15
    assert 0 <= order.version < 2**63
    for line in order.lines:
        assert line.line_kind in LINE_KINDS
        assert min(line.ordered, line.removed, line.shipped) >= 0
        assert max(line.ordered, line.removed, line.shipped) < 10**14 * LINES_MAX
        assert abs(line.components.net_minor) <= 10**15
        assert line.line_kind != "product" or line.components.net_minor >= 0
        assert line.components.platform_fee_minor == 0 or line.line_kind == "platform_fee"
    for refund in order.refunds:
        check_refund(refund)
        assert refund.platform_order_id == order.platform_order_id
        assert refund.currency == order.currency
    # What is stored can be read back to the same value, so nothing here is beyond JSON or the database.
    assert load_order(dump(order)) == order
    dump(order).encode()
    assert "\\u0000" not in dump(order)


def check_refund(refund: Refund) -> None:
    assert 0 <= refund.amount_minor <= 10**15 * LINES_MAX
    if refund.lines:
        assert sum(line.amount_minor for line in refund.lines) == refund.amount_minor
    for line in refund.lines:
        assert line.quantity >= 0
        assert line.restocked >= 0
        assert line.amount_minor >= 0 or line.line_external_id is None


@pytest.mark.parametrize(("platform", "name", "raw"), STOCK, ids=[f"{each[0]}-{each[1]}" for each in STOCK])
def test_every_document_has_a_verdict_under_every_topic(platform: str, name: str, raw: bytes) -> None:
    for topic in TOPICS[platform]:
        assert verdict(platform, topic, raw) is not None


def test_our_own_documents_are_all_read() -> None:
    for platform, name, raw in STOCK:
        if name.startswith(platform):
            assert isinstance(verdict(platform, "", raw), Documents), name


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(
    platform=st.sampled_from(sorted(PLATFORMS)),
    topic=st.sampled_from(ALL_TOPICS),
    raw=st.binary(),
)
def test_bytes(platform: str, topic: str, raw: bytes) -> None:
    verdict(platform, topic, raw)


@settings(max_examples=150, deadline=None)
@given(
    platform=st.sampled_from(sorted(PLATFORMS)),
    topic=st.sampled_from(ALL_TOPICS),
    body=anything,
)
def test_json(platform: str, topic: str, body: Any) -> None:
    verdict(platform, topic, json.dumps(body).encode())


NASTY: list[Any] = [
    None, True, False, 0, -1, 1, 2, 1.5, 2**63, 10**23, 10**4000, -(10**15), 0.1, "", " ", "0", "-0", "-1", "1", "0.005",
    "1e15", "1E-400", "9" * 400, "1_000", "١٢", "NaN", "CNY", "JPY", "usd", "XXX", "a\u0000b", "\ud800", "x" * 300,
    "1970-01-01T00:00:00Z", "2026-02-03T10:15:02", "9999-12-31T23:59:59+00:00", "2026-02-03T10:15:02+08:00",
    [], {}, [[]], [{}], [None], {"1": {}, "0": {}}, [{"id": 1}, {"id": 1}], {"shop_money": {"amount": "7"}}, "fulfilled",
    "cancel", "refund", "success", "pending", "refunded", "completed", "voided", "partial", "restocked",
]  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    for key, child in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(child, (*at, key))


def parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


SHAPES = [(platform, body) for platform, _, raw in STOCK if (body := parsed(raw)) is not None]


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(choose=st.randoms(use_true_random=False), changes=st.integers(1, 5))
def test_documents_with_places_changed(choose: random.Random, changes: int) -> None:
    platform, shape = choose.choice(SHAPES)
    body = deepcopy(shape)
    for _ in range(changes):
        spots = list(places(body))
        if not spots:
            break
        *path, last = choose.choice(spots)
        target = body
        for step in path:
            target = target[step]
        if choose.random() < 0.2:
            del target[last]
        else:
            target[last] = deepcopy(choose.choice(NASTY))
    for topic in TOPICS[platform]:
        verdict(platform, topic, json.dumps(body).encode())


@settings(max_examples=60, deadline=None)
@given(choose=st.randoms(use_true_random=False))
def test_the_order_of_keys_says_nothing(choose: random.Random) -> None:
    platform, shape = choose.choice(SHAPES)
    for topic in TOPICS[platform]:
        plain = verdict(platform, topic, json.dumps(shape).encode())
        assert verdict(platform, topic, json.dumps(shuffled(shape, choose)).encode()) == plain


def shuffled(value: Any, choose: random.Random) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        choose.shuffle(keys)
        return {key: shuffled(value[key], choose) for key in keys}
    return [shuffled(child, choose) for child in value] if isinstance(value, list) else value


cents = st.integers(0, 10**9).map(lambda units: f"{units // 100}.{units % 100:02d}")


@settings(max_examples=100, deadline=None)
@given(
    lines=st.lists(st.tuples(st.integers(0, 99), cents, cents, cents), max_size=8),
    freight=cents,
    total=cents,
    included=st.booleans(),
)
def test_nets_add_up_to_the_stated_total_always(
    lines: list[tuple[int, str, str, str]], freight: str, total: str, included: bool
) -> None:
    shopify = json.loads((FIXTURES / "shopify_order.json").read_text("utf-8")) | {
        "taxes_included": included,
        "total_price": total,
        "line_items": [
            {"quantity": count, "price": price, "total_discount": off, "tax_lines": [{"price": tax}]}
            for count, price, off, tax in lines
        ],
        "shipping_lines": [{"price": freight}],
    }
    woo = json.loads((FIXTURES / "woocommerce_order.json").read_text("utf-8")) | {
        "total": total,
        "line_items": [
            {"quantity": count, "total": price, "subtotal": off, "total_tax": tax}
            for count, price, off, tax in lines
        ],
        "shipping_lines": [{"total": freight, "total_tax": "0.005"}],
    }
    wanted = int(total.replace(".", ""))
    bodies: list[tuple[str, Any]] = [("shopify", shopify), ("woocommerce", woo)]
    for platform, body in bodies:
        answer = verdict(platform, "", json.dumps(body).encode())
        assert isinstance(answer, Documents)
        assert sum(line.components.net_minor for line in answer.orders[0].lines) == wanted


def test_lone_surrogates_and_nul_in_names_that_are_read() -> None:
    read: Callable[[str, Any], Any] = lambda name, body: verdict(name, "", json.dumps(body).encode())  # noqa: E731
    for platform, field in (("shopify", "name"), ("woocommerce", "number")):
        body = json.loads((FIXTURES / f"{platform}_order.json").read_text("utf-8"))
        assert read(platform, body | {field: "a\ud800"}) == "lone-surrogate"
        assert read(platform, body | {field: "a\u0000"}) == "nul-in-text"
        assert isinstance(read(platform, body | {"unread": "a\u0000\ud800"}), Documents)
