"""What several accounts of one order come to: newest first, refunds merged, names and steps of its events."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from uuid import UUID

import pytest
from msgspec.structs import replace

from channel_events.order import OrderSnapshot
from order_svc.order import rules
from order_svc.order.rules import Attribution, Head
from order_svc.order.values import (
    Components,
    Deletion,
    Line,
    OrderDocument,
    Refund,
    RefundLine,
    dump,
    load_order,
    load_refund,
)

PLACED = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
PARTNER = UUID(int=5)
HEAD = Head(UUID(int=1), "shopify", "shop", "9")
TEA = Line("a", "product", Decimal(2), Components(100), platform_sku="TEA", shipped=Decimal(2))
ORDER = OrderDocument("9", "CNY", 10, "open", "paid", "shipped", PLACED, (TEA,), 100, PLACED)
REFUND = Refund("r", "9", "CNY", 40, PLACED + timedelta(days=1), version=1)


def head(*news: OrderDocument | Refund | Deletion, attribution: Attribution | None = None) -> Head:
    known = HEAD
    for each in news:
        known, _ = rules.absorb(known, each)
    return replace(known, attribution=attribution or Attribution())


def snapshot(
    *news: OrderDocument | Refund | Deletion, attribution: Attribution | None = None
) -> OrderSnapshot:
    account = rules.account(head(*news, attribution=attribution))
    assert account is not None
    return account.snapshot


@pytest.mark.parametrize(
    "newer",
    [
        replace(ORDER, version=11, payment="unpaid"),
        replace(ORDER, payment="partially_refunded"),
        replace(ORDER, fulfilment="delivered"),
        replace(ORDER, lifecycle="completed"),
        max(
            replace(ORDER, number="1"), replace(ORDER, number="2"), key=lambda document: document.content_hash
        ),
    ],
    ids=["version", "payment", "fulfilment", "lifecycle", "content"],
)
def test_of_two_documents_the_same_one_wins_whichever_comes_first(newer: OrderDocument) -> None:
    older = replace(ORDER, number="1")
    older = replace(ORDER, number="2") if older == newer else older
    assert head(older, newer).document == head(newer, older).document == newer
    assert rules.absorb(head(newer), older)[1] == rules.STALE
    assert rules.absorb(head(newer), newer) == (head(newer), rules.DUPLICATE)


def test_the_same_webhook_five_times_then_an_older_version_then_the_refunds_parent_last() -> None:
    """V9."""
    older = replace(ORDER, version=5, payment="unpaid", paid_minor=0, paid_at=None)
    assert head(*[REFUND] * 5, older, *[ORDER] * 5) == head(ORDER, REFUND)
    outcomes = [rules.absorb(head(ORDER, REFUND), each)[1] for each in (ORDER, REFUND, older)]
    assert outcomes == [rules.DUPLICATE, rules.DUPLICATE, rules.STALE]


def test_three_accounts_of_a_refund_end_the_same_in_every_order() -> None:
    """An exact time between two inexact ones: judged with the content, the last to meet would decide."""
    accounts = [
        replace(REFUND, version=1, at=PLACED, at_exact=False),
        replace(REFUND, version=2, at=PLACED + timedelta(days=9)),
        replace(REFUND, version=3, at=PLACED + timedelta(days=6), at_exact=False, amount_minor=41),
    ]
    ends = {dump(rules.merge(rules.merge(*pair[:2]), pair[2])) for pair in permutations(accounts)} | {
        dump(rules.merge(pair[0], rules.merge(*pair[1:]))) for pair in permutations(accounts)
    }
    assert [load_refund(end) for end in ends] == [replace(accounts[2], at=accounts[1].at, at_exact=True)]


def test_a_full_account_of_a_refund_beats_a_bare_total_told_later() -> None:
    full = replace(REFUND, lines=(RefundLine("a", Decimal(1), 40),))
    bare = replace(REFUND, version=99, detail=0, at_exact=False)
    assert rules.merge(bare, full) == full


def test_a_refund_missing_from_a_complete_list_is_gone_unless_it_was_told_by_itself() -> None:
    listed = replace(ORDER, refunds=(REFUND,), refunds_complete=True)
    without = replace(ORDER, version=11, refunds_complete=True)
    assert rules.effective_refunds(head(listed)) == (REFUND,)
    assert rules.effective_refunds(head(listed, without)) == ()
    assert rules.effective_refunds(head(listed, without, REFUND)) == (REFUND,)


def test_a_refund_in_another_currency_is_kept_flagged_and_posted_nowhere() -> None:
    foreign = replace(REFUND, currency="USD")
    account = rules.account(head(ORDER, foreign))
    assert account is not None
    assert "currency-mismatch" in account.snapshot.flags
    assert {entry.kind for entry in account.entries} == {"ordered", "shipped", "paid"}
    assert head(ORDER, foreign).refunds["r"].refund == foreign


def test_a_deletion_counted_by_a_sequence_happened_when_it_was_received() -> None:
    heard = PLACED + timedelta(days=2)
    counted = replace(ORDER, version=3, lines=(replace(TEA, shipped=Decimal(0)),))
    account = rules.account(head(counted, Deletion("9", 4, heard)))
    assert account is not None
    assert account.snapshot.lifecycle == "deleted"
    assert [entry.business_at for entry in account.entries if entry.kind == "cancelled"] == [heard]


def test_of_two_deletions_of_one_version_the_first_one_heard_counts() -> None:
    early, late = Deletion("9", 20, PLACED), Deletion("9", 20, PLACED + timedelta(days=1))
    assert head(ORDER, early, late) == head(ORDER, late, early) == head(ORDER, early)


def test_a_later_document_revives_a_deleted_order_and_says_so() -> None:
    again = replace(ORDER, version=30)
    assert snapshot(ORDER, Deletion("9", 20, PLACED)).lifecycle == "deleted"
    assert snapshot(Deletion("9", 20, PLACED), again).lifecycle == "open"
    assert "revived" in snapshot(ORDER, Deletion("9", 20, PLACED), again).flags


def test_a_binding_counts_from_its_first_instant_until_just_before_its_last() -> None:
    july = "2026-07-01T00:00:00Z"
    bindings: list[dict[str, str | None]] = [
        {
            "partner_id": str(PARTNER),
            "channel": "distributor",
            "valid_from": "2026-01-01T00:00:00Z",
            "valid_to": july,
        },
        {"partner_id": str(UUID(int=6)), "channel": "online", "valid_from": july, "valid_to": None},
    ]
    at = datetime.fromisoformat(july)
    assert rules.attribute(bindings, at - timedelta(microseconds=1)) == Attribution(PARTNER, "distributor")
    assert rules.attribute(bindings, at) == Attribution(UUID(int=6), "online")
    assert rules.attribute(bindings, datetime(2025, 12, 31, tzinfo=UTC)) == Attribution()


def test_returned_more_than_shipped_is_flagged_for_goods_only() -> None:
    freight = Line("f", "freight", Decimal(1), Components(freight_minor=10))
    back = replace(REFUND, amount_minor=10, lines=(RefundLine("f", Decimal(1), 10),))
    assert "over-returned" not in snapshot(replace(ORDER, lines=(TEA, freight)), back).flags
    units = replace(REFUND, lines=(RefundLine("a", Decimal(3), 40),))
    assert "over-returned" in snapshot(ORDER, units).flags


def test_an_amount_beyond_the_bounds_of_an_event_has_a_name() -> None:
    huge = [replace(REFUND, external_id=name, amount_minor=10**15) for name in "ab"]
    with pytest.raises(rules.OutOfBounds, match="net_minor") as caught:
        rules.account(head(ORDER, *huge))
    assert caught.value.code == "out-of-bounds"


BOUND = Attribution(PARTNER, "online")
MAPPED = Attribution(PARTNER, "online", {"TEA": "OUR-TEA"})
LONGER = replace(ORDER, version=11, lines=(TEA, replace(TEA, external_id="b", platform_sku="CUP")))


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        (None, snapshot(ORDER), "placed"),
        (None, snapshot(ORDER, REFUND), "refunded"),
        (None, snapshot(replace(ORDER, lifecycle="cancelled"), REFUND), "cancelled"),
        (snapshot(ORDER), snapshot(ORDER, REFUND, attribution=BOUND), "refunded"),
        (snapshot(ORDER), snapshot(ORDER, attribution=MAPPED), "attributed"),
        (snapshot(ORDER, attribution=BOUND), snapshot(ORDER, attribution=MAPPED), "resolved"),
        (snapshot(ORDER, attribution=MAPPED), snapshot(LONGER, attribution=MAPPED), "changed"),
        (snapshot(ORDER, Deletion("9", 20, PLACED)), snapshot(replace(ORDER, version=30)), "changed"),
    ],
)
def test_an_event_is_called_after_the_highest_thing_that_happened(
    before: OrderSnapshot | None, after: OrderSnapshot, name: str
) -> None:
    assert rules.event_name(before, after) == name


def test_steps_are_told_per_axis_and_only_where_something_moved() -> None:
    at = PLACED + timedelta(hours=1)
    first = rules.transitions(None, snapshot(ORDER), at)
    assert {(step.axis, step.from_, step.to) for step in first} == {
        ("lifecycle", None, "open"),
        ("payment", None, "paid"),
        ("fulfilment", None, "shipped"),
        ("reference", None, "unbound"),
    }
    then = rules.transitions(snapshot(ORDER), snapshot(ORDER, REFUND, attribution=MAPPED), at)
    assert {(step.axis, step.from_, step.to, step.at) for step in then} == {
        ("refund", "none", "partial", at),
        ("reference", "unbound", "resolved", at),
    }
    assert rules.transitions(snapshot(ORDER), snapshot(ORDER), at) == ()


def test_what_is_stored_of_a_document_reads_back_as_it_was() -> None:
    document = replace(
        ORDER,
        refunds=(replace(REFUND, lines=(RefundLine("a", Decimal("0.5"), 40),)),),
        alt_ids={"name": "#1"},
    )
    assert load_order(dump(document)) == document
    assert load_order(dump(document)).content_hash == document.content_hash
