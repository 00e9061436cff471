"""Marginal tiers (超额累进): every tier pays its rate on its own part of the basis only.

R(B) = Σ rᵢ · max(0, min(B, lᵢ₊₁) − lᵢ). Continuous and never falling: one unit more never costs a rebate.
"""

from collections.abc import Sequence
from fractions import Fraction

from incentive_svc.plan.values import PPM, Slice, Tier


def rebate(tiers: Sequence[Tier], basis: int) -> Fraction:
    """The exact rebate in minor units: each bound adds the step in rate over all that lies above it."""
    parts, previous = 0, 0
    for tier in tiers:
        if basis <= tier.lower_minor:
            break
        parts += (tier.rate_ppm - previous) * (basis - tier.lower_minor)
        previous = tier.rate_ppm
    return Fraction(parts, PPM)


def explain(tiers: Sequence[Tier], basis: int) -> tuple[Slice, ...]:
    """One slice per tier that the basis reaches."""
    uppers = [tier.lower_minor for tier in tiers[1:]] + [None]
    slices = []
    for number, (tier, upper) in enumerate(zip(tiers, uppers, strict=True)):
        top = basis if upper is None else min(basis, upper)
        if top > tier.lower_minor:
            amount = Fraction(tier.rate_ppm * (top - tier.lower_minor), PPM)
            slices.append(Slice(number, tier.lower_minor, top, tier.rate_ppm, amount))
    return tuple(slices)
