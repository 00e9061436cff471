"""Bugs in arithmetic and in the ledger: roundings, splits, rebates, reversals, seals."""

from .saboteur import INCENTIVE, INCENTIVE_TESTS, KIT, KIT_TESTS, ORDER, ORDER_TESTS, Edit, Saboteur

MONEY = (
    Saboteur(
        "float-share",
        "large amounts are off by a minor unit",
        Edit(
            f"{KIT}/money.py",
            "return _half_even(amount * over * below, under * above)",
            "return round(amount * over * below / (under * above))",
        ),
        (
            f"{KIT_TESTS}/test_money_exact.py::test_shares_beside_a_tie[961386558989538-816812-785272078021363]",
        ),
    ),
    Saboteur(
        "float-parsed",
        "a total of a platform is not what it said",
        Edit(
            f"{KIT}/money.py",
            "whole = exact.to_integral_value(ROUND_HALF_EVEN, _EXACT)",
            "whole = Decimal(round(float(exact)))",
        ),
        (
            f"{KIT_TESTS}/test_money_exact.py::test_minor_units_beside_a_tie[9007199254740.9949-900719925474099-0.0049]",
        ),
    ),
    Saboteur(
        "float-rebate",
        "a rebate is a binary fraction before it is rounded",
        Edit(
            f"{INCENTIVE}/plan/shapes/marginal.py",
            "return Fraction(parts, PPM)",
            "return Fraction(parts / PPM)",
        ),
        ("tests/test_house.py::test_no_float_comes_near_money",),
    ),
    Saboteur(
        "half-up",
        "ties always go up, so sums drift",
        Edit(f"{KIT}/money.py", " and whole % 2 == 1", ""),
        (f"{KIT_TESTS}/test_money.py::test_ties_go_to_the_even_neighbour[0.5-0]",),
    ),
    Saboteur(
        "split-loses-the-remainder",
        "the parts of an amount add up to less",
        Edit(f"{KIT}/money.py", "by_remainder[: magnitude - sum(parts)]", "by_remainder[:0]"),
        (f"{KIT_TESTS}/test_money.py::test_ten_cents_over_three_equal_lines",),
    ),
    Saboteur(
        "rebate-per-line",
        "each line earns from the first tier on, and is rounded by itself",
        Edit(
            f"{INCENTIVE}/accrual/rules.py",
            "owed = rebate(terms, basis) if",
            "owed = cell.accrued_minor + sum(rebate(terms, amount) for _, amount in changed) if",
        ),
        (
            f"{INCENTIVE_TESTS}/test_accrual_rules.py::TestAdvance::test_v3_steps",
            f"{INCENTIVE_TESTS}/test_accrual_rules.py::TestAdvance::test_v4_a_return_claws_back_the_tier_drop",
        ),
    ),
    Saboteur(
        "reversals-forgotten",
        "a corrected entry counts beside the one it corrects",
        Edit(
            f"{ORDER}/ledger/rules.py",
            "return Posting(reversals, tuple(added))",
            "return Posting((), tuple(added))",
        ),
        (f"{ORDER_TESTS}/test_ledger_rules.py::test_an_entry_that_changed_takes_its_undoing_rows_along",),
    ),
    Saboteur(
        "refund-adds-money",
        "what is given back is counted as taken",
        Edit(
            f"{ORDER}/ledger/rules.py",
            'self._add(each, "refunded", ZERO, negated(components), at, self._paid_at)',
            'self._add(each, "refunded", ZERO, components, at, self._paid_at)',
        ),
        (
            f"{ORDER_TESTS}/test_ledger_rules.py::test_a_refund_of_a_cancelled_order_is_not_counted_twice_on_demand",
        ),
    ),
    Saboteur(
        "sealer-skips",
        "an entry is in no block, so it may be altered unnoticed",
        Edit(
            f"{ORDER}/block/store.py",
            "return [(row.entry_id, row.entry_hash) for row in rows]",
            "return [(row.entry_id, row.entry_hash) for row in rows[1:]]",
        ),
        (f"{ORDER_TESTS}/test_all_sealed.py::test_every_entry_is_a_member_of_exactly_one_block",),
    ),
)
