"""How tiers turn a basis into a rebate: one file per shape, all of them pure.

A shape has two functions written apart: `rebate`, the exact amount, and `explain`, the slices it is made of, whose
amounts sum to it. Both take tiers in ascending order of their lower bounds, the first at 0, and give nothing for a
basis that is not positive. Only `plan.rules` calls them, since it rounds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from incentive_svc.plan.shapes import all_units, marginal
from incentive_svc.plan.values import Slice, Tier


@dataclass(frozen=True, slots=True)
class Shape:
    """`rebate(tiers, basis)` in exact minor units; `explain(tiers, basis)` the slices that sum to it."""

    rebate: Callable[[Sequence[Tier], int], Fraction]
    explain: Callable[[Sequence[Tier], int], tuple[Slice, ...]]


SHAPES: Final[Mapping[str, Shape]] = MappingProxyType(
    {
        "marginal": Shape(marginal.rebate, marginal.explain),
        "all_units": Shape(all_units.rebate, all_units.explain),
    }
)
