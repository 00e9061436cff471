"""The order reducer against a model that keeps everything it was ever told and decides anew each time."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule
from msgspec.structs import replace

from order_svc.order import rules
from order_svc.order.rules import Head
from order_svc.order.values import (
    FULFILMENTS,
    LIFECYCLES,
    PAYMENTS,
    Components,
    Deletion,
    Line,
    OrderDocument,
    Refund,
    RefundLine,
    dump,
)

PLACED = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
TEA = Line("a", "product", Decimal(3), Components(90), platform_sku="TEA")

refund_accounts = st.builds(
    Refund,
    st.sampled_from(("r1", "r2")),
    st.just("9"),
    st.sampled_from(("CNY", "CNY", "USD")),
    st.integers(0, 3),
    st.integers(0, 2).map(lambda days: PLACED + timedelta(days=days)),
    st.sampled_from(((), (RefundLine(None, Decimal(0), 1),))),
    st.integers(0, 2),
    st.integers(0, 1),
    st.booleans(),
)
order_accounts = st.builds(
    OrderDocument,
    st.just("9"),
    st.just("CNY"),
    st.integers(0, 3),
    st.sampled_from(LIFECYCLES[1:4]),
    st.sampled_from(PAYMENTS[:5]),
    st.sampled_from(FULFILMENTS[:4]),
    st.just(PLACED),
    st.just((TEA,)),
    st.sampled_from((0, 90)),
    refunds=st.lists(refund_accounts, max_size=2).map(tuple),
    refunds_complete=st.booleans(),
    number=st.sampled_from((None, "#1")),
)


class OrderMachine(RuleBasedStateMachine):
    """Documents come in any order and again; after each the head is what the whole heap of them means."""

    told = Bundle("told")

    def __init__(self) -> None:
        super().__init__()
        self.head = Head(UUID(int=1), "shopify", "shop", "9")
        self.documents: list[OrderDocument] = []
        self.accounts: list[tuple[Refund, bool]] = []
        self.deletions: list[Deletion] = []

    @rule(target=told, document=order_accounts)
    def order(self, document: OrderDocument) -> OrderDocument:
        self._take(document)
        return document

    @rule(target=told, refund=refund_accounts)
    def refund(self, refund: Refund) -> Refund:
        self._take(refund)
        return refund

    @rule(target=told, version=st.integers(0, 3), day=st.integers(0, 2))
    def delete(self, version: int, day: int) -> Deletion:
        deletion = Deletion("9", version, PLACED + timedelta(days=day))
        self._take(deletion)
        return deletion

    @rule(target=told, document=told)
    def again(self, document: OrderDocument | Refund | Deletion) -> object:
        before = self.head
        outcome = self._take(document)
        assert self.head == before
        assert outcome in (rules.DUPLICATE, rules.STALE)
        return multiple()

    def _take(self, document: OrderDocument | Refund | Deletion) -> str:
        self.head, outcome = rules.absorb(self.head, document)
        if isinstance(document, Deletion):
            self.deletions.append(document)
        elif isinstance(document, Refund):
            self.accounts.append((document, True))
        else:
            self.documents.append(document)
            self.accounts += [(refund, False) for refund in document.refunds]
        return outcome

    def _newest(self) -> OrderDocument | None:
        newest: OrderDocument | None = None
        for document in self.documents:
            if newest is None or _beats(document, newest):
                newest = document
        return newest

    @invariant()
    def the_head_is_the_newest_document(self) -> None:
        assert self.head.document == self._newest()

    @invariant()
    def each_refund_is_its_fullest_newest_account_at_its_earliest_own_time(self) -> None:
        for name in ("r1", "r2"):
            accounts = [refund for refund, _ in self.accounts if refund.external_id == name]
            if not accounts:
                assert name not in self.head.refunds
                continue
            fullest = max(refund.detail for refund in accounts)
            newest = max(refund.version for refund in accounts if refund.detail == fullest)
            ties = [refund for refund in accounts if (refund.detail, refund.version) == (fullest, newest)]
            texts = {dump(replace(refund, at=PLACED, at_exact=True)) for refund in ties}
            own = [refund.at for refund in accounts if refund.at_exact]
            known = self.head.refunds[name].refund
            assert dump(replace(known, at=PLACED, at_exact=True)) == max(texts)
            assert (known.at_exact, known.at) == (bool(own), min(own or [refund.at for refund in accounts]))

    @invariant()
    def the_refunds_that_count_are_those_listed_or_told_by_themselves(self) -> None:
        newest = self._newest()
        counted = {refund.external_id for refund, by_itself in self.accounts if by_itself}
        counted |= {
            refund.external_id
            for refund, _ in self.accounts
            if newest is None
            or not newest.refunds_complete
            or refund.external_id in {r.external_id for r in newest.refunds}
        }
        assert {refund.external_id for refund in rules.effective_refunds(self.head)} == counted

    @invariant()
    def an_order_is_deleted_while_no_document_is_newer_than_its_deletion(self) -> None:
        newest, facts = self._newest(), rules.facts(self.head)
        if newest is None:
            assert facts is None
            return
        assert facts is not None
        last = max((deletion.version for deletion in self.deletions), default=-1)
        assert (facts.lifecycle == "deleted") == (last > newest.version)
        if last > newest.version:
            assert facts.deleted_at == min(
                each.at or PLACED for each in self.deletions if each.version == last
            )


def _beats(left: OrderDocument, right: OrderDocument) -> bool:
    """Whether `left` is newer, asked one criterion after the other."""
    for mine, theirs in (
        (left.version, right.version),
        (PAYMENTS.index(left.payment), PAYMENTS.index(right.payment)),
        (FULFILMENTS.index(left.fulfilment), FULFILMENTS.index(right.fulfilment)),
        (LIFECYCLES.index(left.lifecycle), LIFECYCLES.index(right.lifecycle)),
        (left.content_hash, right.content_hash),
    ):
        if mine != theirs:
            return mine > theirs  # type: ignore[operator]  # both of one kind
    return False


TestOrderMachine = OrderMachine.TestCase
TestOrderMachine.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
