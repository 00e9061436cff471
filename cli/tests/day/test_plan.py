"""The day as it is planned, read with the adapters and rules of order-svc: what the plan says of itself is true."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from uuid import UUID

import pytest

from channel_kit.files import read_table
from order_svc.order import rules
from order_svc.order.rules import Head, absorb
from order_svc.order.values import Deletion, OrderDocument, Refund
from order_svc.platforms import PLATFORMS as ADAPTERS
from order_svc.platforms.contract import BadSignature, Documents, Ignored, Unreadable
from order_svc.platforms.pos import rows_to_documents
from qudao.day import plan as planning
from qudao.day.catalog import TIME_ZONE, ZONE
from qudao.day.moments import Bind, Day, Delivery, MapSkus, Rotate, Upload
from qudao.day.plan import PLATFORMS, plan
from qudao.day.sales import ORDERS_MAX, Run
from qudao.day.stories import sales

ENDS_AT = datetime(2026, 3, 2, 15, 20, 7, tzinfo=ZONE)
SECRETS = {"shopify": "a-secret", "woocommerce": "a-secret&lt;&amp;&gt;", "generic": "whsec_" + "cQ/+" * 8}
NATURES = {"order": Documents, "test": Ignored, "ignored": Ignored, "poison": Unreadable}


@pytest.fixture(scope="module", params=[20_240_101, 7])
def day(request: pytest.FixtureRequest) -> Day:
    return plan(Run(request.param, 400, ENDS_AT))


def deliveries(day: Day) -> list[Delivery]:
    return [moment for moment in day.moments if isinstance(moment, Delivery)]


def uploads(day: Day) -> dict[str, Upload]:
    return {moment.nature: moment for moment in day.moments if isinstance(moment, Upload)}


def headers(delivery: Delivery, secret: str) -> dict[str, str]:
    at = ENDS_AT - timedelta(seconds=delivery.age_seconds)
    signed = delivery.body if delivery.signed is None else delivery.signed
    made: dict[str, str] = PLATFORMS[delivery.shop.platform].headers(
        delivery.topic, delivery.message_id, signed, secret, at
    )
    return made


def read(delivery: Delivery) -> Documents | Ignored | Unreadable:
    """What order-svc reads in a delivery."""
    adapter = ADAPTERS[delivery.shop.platform]
    topic = adapter.describe(delivery.body, headers(delivery, SECRETS[delivery.shop.platform])).topic
    try:
        return adapter.normalise(topic, delivery.body, ENDS_AT)
    except Unreadable as problem:
        return problem


def test_same_run_gives_the_same_day_byte_for_byte(day: Day) -> None:
    assert plan(day.run) == day
    assert plan(Run(day.run.seed + 1, day.run.orders, ENDS_AT)).moments != day.moments


def test_another_day_shares_no_order_and_no_message_with_this_one(day: Day) -> None:
    later = plan(Run(day.run.seed, day.run.orders, ENDS_AT + timedelta(seconds=1)))
    assert not {each.order_id for each in day.expected} & {each.order_id for each in later.expected}
    bodies = {(each.topic, each.body) for each in deliveries(day) if each.nature != "ping"}
    assert not bodies & {(each.topic, each.body) for each in deliveries(later) if each.nature != "ping"}


def test_every_body_is_read_as_planned(day: Day) -> None:
    readable = [each for each in deliveries(day) if each.nature in NATURES]
    wrong = [
        (each.nature, each.topic, told)
        for each in readable
        if not isinstance(told := read(each), NATURES[each.nature])
    ]
    assert wrong == []
    spoilt = {told.code for each in readable if isinstance(told := read(each), Unreadable)}
    # The generic contract is stricter than a platform's: a currency has three letters there.
    assert spoilt - {"bad-value"} == {"not-json", "not-utf8", "unknown-currency"}


def test_shares_are_as_configured(day: Day) -> None:
    found = deliveries(day)
    first = [each for each in found if each.nature in ("order", "test") and not each.repeated]
    percent = {
        "repeated": sum(each.repeated for each in found),
        "tampered": sum(each.nature == "tampered" for each in found),
    }
    assert percent == {
        "repeated": len(first) * planning.REPEATED_PERCENT // 100,
        "tampered": len(first) * planning.TAMPERED_PERCENT // 100,
    }
    poison = sum(each.nature == "poison" for each in found)
    assert 0.5 <= 100 * poison / len(first) <= planning.POISON_PERCENT
    pairs = sum(count - 1 for count in Counter(each.order_id for each in first).values())
    assert day.reordered == pairs * planning.REORDERED_PERCENT // 100


def test_a_small_day_has_its_disturbances_too() -> None:
    small = plan(Run(1, 12, ENDS_AT))
    natures = Counter(each.nature for each in deliveries(small))
    assert {"tampered", "poison", "ignored"} <= natures.keys()
    assert small.reordered
    assert any(each.repeated for each in deliveries(small))


def test_only_repetitions_are_the_same_delivery(day: Day) -> None:
    keys = Counter(
        (
            each.shop.shop_id,
            adapter.describe(each.body, headers(each, SECRETS[each.shop.platform])).dedupe_key,
        )
        for each in deliveries(day)
        if each.nature not in ("tampered", "ping")
        for adapter in (ADAPTERS[each.shop.platform],)
    )
    assert keys.total() - len(keys) == sum(each.repeated for each in deliveries(day))


def test_signatures_are_good_but_for_the_forged(day: Day) -> None:
    for delivery in deliveries(day):
        secret, adapter = SECRETS[delivery.shop.platform], ADAPTERS[delivery.shop.platform]
        if delivery.nature == "ping":
            assert adapter.handshake(delivery.body, {}) is not None
        elif delivery.nature == "tampered":
            with pytest.raises(BadSignature):
                adapter.verify(delivery.body, headers(delivery, secret), [secret], ENDS_AT)
        else:
            assert adapter.verify(delivery.body, headers(delivery, secret), [secret], ENDS_AT) == 0


def test_old_secret_signs_only_after_the_rotation(day: Day) -> None:
    at = next(at for at, moment in enumerate(day.moments) if isinstance(moment, Rotate))
    old = [n for n, moment in enumerate(day.moments) if isinstance(moment, Delivery) and moment.old_secret]
    assert old
    assert min(old) > at


def test_shop_and_skus_are_made_known_after_their_first_orders_and_before_their_last(day: Day) -> None:
    mapped = next(each for each in day.moments if isinstance(each, MapSkus))
    unknown = [platform_sku.encode() for _, _, platform_sku, _ in mapped.rows]
    for kind, concerned in (
        (Bind, [isinstance(m, Delivery) and m.shop.shop_id == "qinglan-pop-up" for m in day.moments]),
        (MapSkus, [isinstance(m, Delivery) and any(sku in m.body for sku in unknown) for m in day.moments]),
    ):
        at = next(at for at, moment in enumerate(day.moments) if isinstance(moment, kind))
        assert any(concerned[:at])
        assert any(concerned[at:])


def test_some_refunds_come_before_their_orders(day: Day) -> None:
    seen: set[str] = set()
    early = 0
    for delivery in deliveries(day):
        if delivery.order_id is None:
            continue
        early += delivery.topic in ("refunds/create", "qudao.refund.v1") and delivery.order_id not in seen
        seen.add(delivery.order_id)
    assert early


def test_times_of_an_order_never_go_back_and_end_with_the_day(day: Day) -> None:
    for sale in sales(day.run):
        times = [step.at for step in sale.steps]
        assert times == sorted(times)
        assert day.begins_at <= times[0]
        assert times[-1] <= ENDS_AT


def heads(day: Day, found: Iterator[tuple[tuple[str, str], Documents]]) -> dict[tuple[str, str], Head]:
    """Every order after its documents, folded in this order."""
    result: dict[tuple[str, str], Head] = {}
    for shop_and_platform, documents in found:
        news: list[OrderDocument | Refund | Deletion] = [*documents.orders, *documents.refunds]
        for document in [*news, *documents.deletions]:
            key = (shop_and_platform[1], document.platform_order_id)
            head = result.get(key) or Head(UUID(int=len(result)), *shop_and_platform, key[1])
            result[key], _ = absorb(head, document)
    return result


def told(day: Day, order: list[int]) -> Iterator[tuple[tuple[str, str], Documents]]:
    """What the deliveries say, in this order, and then the till's corrected file."""
    found = deliveries(day)
    for at in order:
        if found[at].nature == "order" and isinstance(documents := read(found[at]), Documents):
            yield (found[at].shop.platform, found[at].shop.shop_id), documents
    till = uploads(day)["corrected"]
    for receipt in rows_to_documents(
        read_table(till.raw).rows, time_zone=TIME_ZONE, received_at=ENDS_AT
    ).receipts:
        yield (till.shop.platform, till.shop.shop_id), receipt.documents


@pytest.mark.parametrize("shuffled", [False, True])
def test_orders_end_as_they_were_sold(day: Day, *, shuffled: bool) -> None:
    order = list(range(len(deliveries(day))))
    if shuffled:
        Random(1).shuffle(order)
    found = heads(day, told(day, order))
    ends: dict[tuple[str, str], tuple[str, int, int, int]] = {}
    for key, head in found.items():
        account = rules.account(head)
        assert account is not None, f"{key} has refunds and no order"
        totals = account.snapshot.totals
        ends[key] = (
            account.snapshot.lifecycle,
            totals.ordered_net_minor,
            totals.paid_minor,
            -totals.refunded_minor,
        )
    assert ends == {
        (each.shop.shop_id, each.order_id): (
            each.lifecycle,
            each.total_minor,
            each.paid_minor,
            each.refunded_minor,
        )
        for each in day.expected
    }


def test_till_file_is_gb18030_with_faults_that_the_corrected_one_has_not(day: Day) -> None:
    first, again, corrected = (uploads(day)[nature] for nature in ("first", "again", "corrected"))
    assert first.raw == again.raw
    with pytest.raises(UnicodeDecodeError):
        first.raw.decode()
    judged = {
        upload.nature: Counter(
            rows_to_documents(read_table(upload.raw).rows, time_zone=TIME_ZONE, received_at=ENDS_AT).verdicts
        )
        for upload in (first, corrected)
    }
    assert judged["first"]["quantity-not-stated"] == 1
    assert set(judged["corrected"]) == {"ok"}
    assert "微信支付" in first.raw.decode("gb18030")


def test_a_day_that_cannot_be_numbered_is_refused() -> None:
    for orders in (0, ORDERS_MAX + 1):
        with pytest.raises(ValueError, match="orders"):
            plan(Run(1, orders, ENDS_AT))
