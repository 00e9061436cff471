"""What a planted bug is: a few lines to replace, and the tests that must notice.

Data and the paths that it is written with. `lineup` has them all, `test_lineup` holds them to the tree, and
`__main__` plants them one at a time.
"""

from typing import NamedTuple

KIT, KIT_TESTS = "shared/kit/src/channel_kit", "shared/kit/tests"
ORDER, ORDER_TESTS = "services/order-svc/src/order_svc", "services/order-svc/tests"
INVENTORY, INVENTORY_TESTS = "services/inventory-svc/src/inventory_svc", "services/inventory-svc/tests"
INCENTIVE, INCENTIVE_TESTS = "services/incentive-svc/src/incentive_svc", "services/incentive-svc/tests"


class Edit(NamedTuple):
    """`original` → `replacement` in `file`, a path from the root of the repository. It must stand there once."""

    file: str
    original: str
    replacement: str


class Saboteur(NamedTuple):
    """One planted bug. `breaks` says what somebody would suffer; every one of `tests` must fail by an assertion.

    With a `second_wall` the bug alone must *not* be noticed, since that wall stops it; with the wall taken down as
    well, it must.
    """

    name: str
    breaks: str
    edit: Edit
    tests: tuple[str, ...]
    second_wall: Edit | None = None
