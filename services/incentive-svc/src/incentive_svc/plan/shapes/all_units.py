"""All-units tiers (全额): the highest tier reached pays its rate on the whole basis.

R(B) = rₖ · B with k the last tier whose bound is at or below B. It jumps at every bound, so a return that falls
below one takes back more than its own rate: that is what such a plan means.
"""

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction

from incentive_svc.plan.values import PPM, Slice, Tier


def rebate(tiers: Sequence[Tier], basis: int) -> Fraction:
    """The exact rebate in minor units."""
    rate = 0
    for tier in tiers:
        if tier.lower_minor <= basis:
            rate = tier.rate_ppm
    return Fraction(rate * max(basis, 0), PPM)


def explain(tiers: Sequence[Tier], basis: int) -> tuple[Slice, ...]:
    """One slice: the whole basis at the rate of the tier reached."""
    if basis <= 0:
        return ()
    number = bisect_right(tiers, basis, key=lambda tier: tier.lower_minor) - 1
    tier = tiers[number]
    return (Slice(number, 0, basis, tier.rate_ppm, Fraction(tier.rate_ppm * basis, PPM)),)
