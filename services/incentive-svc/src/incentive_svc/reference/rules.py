"""Which contract decides for a partner at an instant.

Pure. Of one contract the greatest version that has begun decides, so an amendment replaces what came before it from
its first day on, and an early termination is not undone by the longer version it cut. Of several contracts that name
the same plan at the same time the one with the smallest id decides: a plan pays once.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby, pairwise
from uuid import UUID

from incentive_svc.reference.values import Contract, Segment


def spans(contracts: Iterable[Contract]) -> tuple[Segment, ...]:
    """Each version's span, without what later versions of the same contract took from it; by contract id."""

    def by_id(contract: Contract) -> UUID:
        return contract.contract_id

    found = []
    for _, group in groupby(sorted(contracts, key=lambda c: (c.contract_id, c.version)), key=by_id):
        next_from: datetime | None = None
        for contract in reversed(list(group)):
            ends = [end for end in (contract.valid_to, next_from) if end is not None]
            end = min(ends, default=None)
            if end is None or contract.valid_from < end:
                found.append(Segment(contract.valid_from, end, contract))
            next_from = min(contract.valid_from, next_from or contract.valid_from)
    return tuple(sorted(found, key=lambda s: (s.contract.contract_id, s.starts_at)))


def segments(contracts: Sequence[Contract], plan_code: str) -> tuple[Segment, ...]:
    """The spans in which a partner earns under a plan, in order of time and never overlapping."""
    naming = [span for span in spans(contracts) if plan_code in span.contract.plan_codes]
    cuts = sorted({at for span in naming for at in (span.starts_at, span.ends_at) if at is not None})
    found = []
    for start, end in [*pairwise(cuts), (cuts[-1], None)] if cuts else []:
        deciding = next((span for span in naming if span.holds(start)), None)
        if deciding is not None:
            found.append(Segment(start, end, deciding.contract))
    return tuple(found)
