"""Bugs in promising stock: more than there is, twice, or by a state that is over."""

from .saboteur import INVENTORY, INVENTORY_TESTS, Edit, Saboteur

STOCK = (
    Saboteur(
        "stock-checked-then-updated",
        "two buyers see the last unit, and one fails at the constraint",
        Edit(f"{INVENTORY}/stock/store.py", "for update of s\n", "\n"),
        (
            f"{INVENTORY_TESTS}/test_under_lock.py::test_the_last_unit_is_promised_once_and_the_other_order_is_short",
        ),
    ),
    Saboteur(
        "stock-left-to-the-constraint",
        "more is promised than there is; only a CHECK stops it, and the whole batch with it",
        Edit(f"{INVENTORY}/hold/rules.py", "taken = min(need, shelf.available)", "taken = need"),
        (
            f"{INVENTORY_TESTS}/test_under_lock.py::test_more_than_there_is_is_short_and_not_left_to_a_constraint",
            f"{INVENTORY_TESTS}/test_hold_rules.py::test_expiry_ends_the_wait_too_and_payment_claims_anew",
        ),
    ),
    Saboteur(
        "cart-lines-counted-apart",
        "a cart with two lines of one SKU is granted more than there is",
        Edit(f"{INVENTORY}/reservation/rules.py", "sums.get(key, ZERO) + quantity", "quantity"),
        (
            f"{INVENTORY_TESTS}/test_reservation_routes.py::test_v10_whole_carts_with_two_lines_of_one_sku_are_decided_together",
        ),
    ),
    Saboteur(
        "sweep-without-reading-again",
        "an order that was paid meanwhile loses its stock to the sweep",
        Edit(
            f"{INVENTORY}/hold/actions.py",
            "heads = await store.lock(tx, list(order_ids))\n    lines, now = await store.lines(tx, heads), await store.now(tx)",
            "lines, now = await store.lines(tx, list(order_ids)), await store.now(tx)\n"
            "    heads = await store.lock(tx, list(order_ids))",
        ),
        (
            f"{INVENTORY_TESTS}/test_under_lock.py::test_a_sweep_that_waited_for_a_payment_leaves_what_was_paid",
        ),
    ),
    Saboteur(
        "stale-snapshot-wins",
        "an order's older state takes its holds back",
        Edit(f"{INVENTORY}/hold/rules.py", "if version > seen:", "if version:"),
        (f"{INVENTORY_TESTS}/test_hold_actions.py::test_stale_and_doubled_snapshots_change_nothing",),
    ),
)
