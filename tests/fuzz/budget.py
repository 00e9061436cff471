"""How much a run tries. By default little, and the same every time.

`QUDAO_FUZZ=20` tries twenty times as much with a seed of its own, which the run prints; `QUDAO_FUZZ_SEED` repeats it.
"""

import os
import random
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, seed, settings

FIXED_SEED = 20260302
FACTOR = int(os.environ.get("QUDAO_FUZZ", "1"))
SEED = int(os.environ.get("QUDAO_FUZZ_SEED", FIXED_SEED if FACTOR == 1 else random.randrange(1, 2**31)))
REPEATABLE = SEED == FIXED_SEED


def tries(examples: int) -> Callable[[Any], Any]:
    """A hypothesis test of so many examples, or of `FACTOR` times as many; a failure prints how to repeat it."""

    def decorate(test: Any) -> Any:
        bounded = settings(
            max_examples=examples * FACTOR,
            derandomize=REPEATABLE,
            database=None,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        )
        return bounded(test if REPEATABLE else seed(SEED)(test))

    return decorate
