"""Partners without a database: texts, instants, states, the tree, and what an import decides."""

import random
from datetime import UTC, datetime
from itertools import count
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_svc.partner import rules
from partner_svc.partner.rules import ImportRow, Partner, Verdict

PRESENT = datetime(2026, 3, 1, tzinfo=UTC)
SHANGHAI = ZoneInfo("Asia/Shanghai")


def row(line: int, code: str, parent: str | None = None, **more: object) -> ImportRow:
    values: dict[str, object] = {"name": code.upper(), "kind": "store", "effective_from": None} | more
    return ImportRow(line=line, code=code, parent_code=parent, **values)  # type: ignore[arg-type]


def plan(rows: list[ImportRow], known: list[Partner] = []) -> list[Verdict]:  # noqa: B006  never changed
    ids = (UUID(int=n) for n in count(1_000))
    ancestors = {each.partner_id: each.parent_id for each in known}
    return rules.plan_import(rows, {each.code: each for each in known}, ancestors, ids, PRESENT)


def partner(number: int, code: str, parent: int | None = None) -> Partner:
    parent_id = None if parent is None else UUID(int=parent)
    return Partner(UUID(int=number), code, code.upper(), "store", "active", parent_id, PRESENT)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [(" a ", "a"), ("e\u0301", "\u00e9"), ("华东一区", "华东一区"), ("x" * 100, "x" * 100)],
)
def test_codes_are_trimmed_and_composed(text: str, cleaned: str) -> None:
    assert rules.clean_code(text) == cleaned


@pytest.mark.parametrize(
    "text", ["", "  ", "x" * 101, "a\nb", "a\u202eb", "a\u200bb", "\u0000", "x" * 10_000]
)
def test_codes_that_mislead_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        rules.clean_code(text)


def test_names_keep_joiners_and_emoji() -> None:
    assert rules.clean_name("家 👩‍👧") == "家 👩‍👧"


@pytest.mark.parametrize("text", ["", " shop", "a\r\nb", "x" * 256])
def test_foreign_ids_are_never_repaired(text: str) -> None:
    with pytest.raises(ValueError):
        rules.foreign_id(text)


def test_a_foreign_id_stays_as_it_is() -> None:
    assert rules.foreign_id("e\u0301-shop.example") == "e\u0301-shop.example"


def test_a_day_is_midnight_in_the_zone() -> None:
    assert rules.moment_or_day("2026-01-31", SHANGHAI) == datetime(2026, 1, 30, 16, tzinfo=UTC)


def test_an_instant_keeps_its_own_zone() -> None:
    assert rules.moment("2026-01-31T00:00:00+08:00") == datetime(2026, 1, 30, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        "1767225600",
        1767225600,
        None,
        "2026-01-31",
        "2026-01-31T00:00:00",
        "2026-02-30T00:00:00Z",
        "1969-12-31T00:00:00Z",
        "9999-12-31T23:59:59-08:00",
        "0001-01-01T00:00:00+14:00",
        "２０２６-01-31T00:00:00Z",
    ],
)
def test_instants_without_doubt_only(value: object) -> None:
    with pytest.raises(ValueError):
        rules.moment(value)


@pytest.mark.parametrize("text", ["2026-13-01", "2026-02-30", "31.01.2026", "20260131", ""])
def test_days_without_doubt_only(text: str) -> None:
    with pytest.raises(ValueError):
        rules.moment_or_day(text, SHANGHAI)


def test_termination_is_final_and_suspension_is_not() -> None:
    allowed = {(a, b) for a in rules.STATES for b in rules.STATES if rules.transition(a, b) is None}
    assert allowed == {(each, each) for each in rules.STATES} | {
        ("active", "suspended"),
        ("active", "terminated"),
        ("suspended", "active"),
        ("suspended", "terminated"),
    }


@given(st.integers(2, 30), st.randoms(use_true_random=False))
def test_cycles_are_found_exactly(size: int, chance: random.Random) -> None:
    parents = {UUID(int=n): UUID(int=chance.randrange(size + 5)) for n in range(size)}

    def is_its_own_ancestor(node: UUID) -> bool:
        at = parents.get(node)
        for _ in range(size):
            if at == node:
                return True
            at = parents.get(at) if at is not None else None
        return False

    assert rules.on_a_cycle(dict(parents)) == {node for node in parents if is_its_own_ancestor(node)}


def test_parents_may_stand_below_their_children() -> None:
    verdicts = plan([row(2, "shop", "area"), row(3, "area", "brand"), row(4, "brand")])
    assert [each.outcome for each in verdicts] == ["created"] * 3
    made = {each.code: each.partner for each in verdicts}
    assert made["shop"] is not None
    assert made["area"] is not None
    assert made["shop"].parent_id == made["area"].partner_id


def test_the_same_rows_again_change_nothing() -> None:
    known = [partner(1, "brand"), partner(2, "area", 1)]
    assert [each.outcome for each in plan([row(2, "area", "brand"), row(3, "brand", "")], known)] == [
        "unchanged"
    ] * 2


def test_an_absent_parent_column_keeps_the_parent_and_an_empty_one_takes_it_away() -> None:
    known = [partner(1, "brand"), partner(2, "area", 1)]
    (kept,) = plan([row(2, "area", None)], known)
    (taken,) = plan([row(2, "area", "")], known)
    assert kept.outcome == "unchanged"
    assert taken.outcome == "changed"
    assert taken.partner is not None
    assert taken.partner.parent_id is None
    assert taken.partner.revision == 2


def test_a_refused_row_takes_new_children_with_it_and_nobody_else() -> None:
    verdicts = plan([row(2, "a", "nowhere"), row(3, "b", "a"), row(4, "c", "b"), row(5, "d")])
    assert [each.outcome for each in verdicts] == ["refused", "refused", "refused", "created"]
    assert {each.refusal.code for each in verdicts if each.refusal} == {"unknown-parent"}


def test_a_child_of_a_known_partner_whose_row_is_refused_is_kept() -> None:
    verdicts = plan([row(2, "brand", "nowhere"), row(3, "shop", "brand")], [partner(1, "brand")])
    assert [each.outcome for each in verdicts] == ["refused", "created"]


def test_rows_that_close_a_cycle_are_refused_together() -> None:
    verdicts = plan([row(2, "a", "b"), row(3, "b", "a"), row(4, "c")])
    assert [each.refusal and each.refusal.code for each in verdicts] == ["parent-cycle", "parent-cycle", None]


def test_a_cycle_through_partners_that_are_known_is_refused() -> None:
    known = [partner(1, "top"), partner(2, "middle", 1), partner(3, "low", 2)]
    (verdict,) = plan([row(2, "top", "low")], known)
    assert verdict.refusal is not None
    assert verdict.refusal.code == "parent-cycle"


def test_a_row_that_falls_back_to_its_old_parent_may_refuse_another() -> None:
    # Were "top" moved away, "low" under it would be fine; but its new parent does not exist, so it stays below.
    known = [partner(1, "low"), partner(2, "top", 1)]
    verdicts = plan([row(2, "top", "nowhere"), row(3, "low", "top")], known)
    assert [each.refusal and each.refusal.code for each in verdicts] == ["unknown-parent", "parent-cycle"]


def test_a_code_stands_once_in_a_file_and_new_partners_need_a_kind() -> None:
    verdicts = plan([row(2, "a"), row(3, "a"), row(4, "b", kind=None)])
    assert [each.refusal and each.refusal.code for each in verdicts] == [
        None,
        "duplicate-row",
        "missing-kind",
    ]


def test_a_long_chain_of_orphans_is_judged_quickly() -> None:
    rows = [row(n, f"p{n}", f"p{n + 1}") for n in range(20_000)]
    assert {each.outcome for each in plan(rows)} == {"refused"}
