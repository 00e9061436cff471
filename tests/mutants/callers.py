"""Bugs in what callers may do and see: keys, scopes, tokens, and the walls between partners."""

from .saboteur import (
    INCENTIVE_TESTS,
    INVENTORY,
    INVENTORY_TESTS,
    KIT,
    KIT_TESTS,
    ORDER,
    ORDER_TESTS,
    Edit,
    Saboteur,
)

_NO_ROW_SECURITY = Edit(
    f"{KIT}/tables.py",
    """own = f"{partner_column} = nullif(current_setting('app.partner', true), '')::uuid\"""",
    'own = "true"',
)

CALLERS = (
    Saboteur(
        "fingerprint-ignored",
        "another command under a used key is answered as if it had been done",
        Edit(f"{KIT}/idempotency.py", "!= fingerprint:", "is fingerprint:"),
        (f"{KIT_TESTS}/test_idempotency.py::test_another_body_under_the_same_key_is_refused",),
    ),
    Saboteur(
        "keys-shared-by-callers",
        "one caller gets another one's answer",
        Edit(
            f"{KIT}/idempotency.py",
            "where subject = $1 and route = $2 and key = $3 and expires_at > now()",
            "where $1 <> '' and route = $2 and key = $3 and expires_at > now()",
        ),
        (f"{KIT_TESTS}/test_idempotency.py::test_keys_of_callers_and_routes_are_their_own",),
    ),
    Saboteur(
        "scope-guard-dropped",
        "any token opens every door",
        Edit(f"{KIT}/auth.py", "if not caller.may(name)]", "if not name]"),
        (f"{KIT_TESTS}/test_auth.py::test_a_lacking_scope_is_named",),
    ),
    Saboteur(
        "staff-guard-dropped",
        "a partner does what is the brand's alone",
        Edit(
            f"{KIT}/auth.py",
            "if staff and caller.partner_id is not None:",
            "if staff and not caller.subject:",
        ),
        (
            f"{INCENTIVE_TESTS}/test_routes.py::TestIsolation::test_a_partner_with_the_scope_still_writes_nothing",
        ),
    ),
    Saboteur(
        "tokens-never-expire",
        "a token that leaked is good for ever",
        Edit(f"{KIT}/auth.py", "if expires <= time.time():", "if expires <= 0:"),
        (f"{KIT_TESTS}/test_auth.py::test_expired_tokens_say_so",),
    ),
    Saboteur(
        "owner-not-asked",
        "a partner commits another one's reservation",
        Edit(
            f"{INVENTORY}/reservation/routes.py",
            "if await hold_store.get(tx, reservation_id) is None:",
            "if tx is None:",
        ),
        (
            f"{INVENTORY_TESTS}/test_reservation_routes.py::test_partner_owns_its_reservations_and_others_do_not_exist_for_it",
        ),
    ),
    Saboteur(
        "partner-context-missing",
        "the database does not know whose transaction it is",
        Edit(f"{KIT}/database.py", "actor.partner_id or ", "None or "),
        (f"{KIT_TESTS}/test_database.py::test_a_partner_sees_its_own_rows_only",),
    ),
    Saboteur(
        "partner-role-not-taken",
        "a partner's transaction has the rights of staff",
        Edit(f"{KIT}/database.py", "{self.service}_{actor.kind}", "{self.service}_staff"),
        (f"{KIT_TESTS}/test_database.py::test_a_partner_sees_its_own_rows_only",),
    ),
    Saboteur(
        "row-security-open",
        "every partner sees every row",
        _NO_ROW_SECURITY,
        (
            f"{KIT_TESTS}/test_database.py::test_a_partner_sees_its_own_rows_only",
            f"{ORDER_TESTS}/test_isolation.py::test_the_database_itself_shows_a_partner_nothing_else",
        ),
    ),
    Saboteur(
        "partner-filter-dropped",
        "a query shows the orders of all partners; row level security is the second wall",
        Edit(
            f"{ORDER}/order/store.py",
            "and ($4::uuid is null or h.partner_id = $4) and",
            "and ($4::uuid is null or true) and",
        ),
        (
            f"{ORDER_TESTS}/test_isolation.py::test_an_order_of_another_partner_is_as_unknown_as_one_that_never_was",
        ),
        second_wall=_NO_ROW_SECURITY,
    ),
)
