"""Contract versions without a database."""

from datetime import UTC, datetime

import pytest

from partner_svc.contract import rules
from partner_svc.contract.rules import Approval, ContractVersion
from partner_svc.partner.rules import Refusal

AT = datetime(2026, 1, 1, tzinfo=UTC)


def month(number: int) -> datetime:
    return datetime(2026, number, 1, tzinfo=UTC)


def version(number: int, start: int, end: int | None = None, state: str = "draft") -> ContractVersion:
    return ContractVersion(
        number,
        state,
        month(start),
        None if end is None else month(end),
        "Asia/Shanghai",
        ("P",),
        "{}",
        "0" * 64,
        "author",
    )


def approved(number: int, start: int, end: int | None = None) -> ContractVersion:
    return version(number, start, end, "approved")


def code(answer: Approval | Refusal) -> str:
    assert isinstance(answer, Refusal)
    return answer.code


def test_a_first_version_is_approved_as_it_is() -> None:
    answer = rules.approve([version(1, 1)], 1, "boss", AT)
    assert isinstance(answer, Approval)
    assert answer.truncated is None
    assert (answer.approved.state, answer.approved.author, answer.approved.approver) == (
        "approved",
        "author",
        "boss",
    )


def test_an_amendment_ends_the_version_before_it() -> None:
    answer = rules.approve([approved(1, 1), version(2, 4)], 2, "boss", AT)
    assert isinstance(answer, Approval)
    assert answer.truncated == approved(1, 1, 4)


def test_an_amendment_may_begin_where_the_version_before_it_ends() -> None:
    answer = rules.approve([approved(1, 1, 4), version(2, 4)], 2, "boss", AT)
    assert isinstance(answer, Approval)
    assert answer.truncated is None


def test_an_amendment_may_end_a_version_that_had_an_end() -> None:
    answer = rules.approve([approved(1, 1, 8), version(2, 4, 6)], 2, "boss", AT)
    assert isinstance(answer, Approval)
    assert answer.truncated == approved(1, 1, 4)


def test_gaps_and_overlaps_are_refused() -> None:
    assert code(rules.approve([approved(1, 1, 3), version(2, 4)], 2, "boss", AT)) == "contract-gap"
    assert code(rules.approve([approved(1, 4), version(2, 4)], 2, "boss", AT)) == "contract-overlap"
    assert (
        code(rules.approve([approved(1, 1, 4), approved(2, 4), version(3, 2)], 3, "boss", AT))
        == "contract-overlap"
    )


def test_a_draft_may_be_left_behind_but_never_approved_later() -> None:
    versions = [approved(1, 1), version(2, 4), version(3, 5)]
    answer = rules.approve(versions, 3, "boss", AT)
    assert isinstance(answer, Approval)
    assert answer.truncated == approved(1, 1, 5)
    assert (
        code(rules.approve([approved(1, 1, 5), version(2, 4), approved(3, 5)], 2, "boss", AT))
        == "version-superseded"
    )


def test_what_is_approved_or_unknown_cannot_be_approved() -> None:
    assert code(rules.approve([approved(1, 1)], 1, "boss", AT)) == "already-approved"
    assert code(rules.approve([approved(1, 1)], 2, "boss", AT)) == "unknown-version"


def test_terms_have_one_hash_whatever_their_order() -> None:
    one = rules.canonical_terms({"b": [1, {"d": 2, "c": "折扣"}], "a": None})
    other = rules.canonical_terms({"a": None, "b": [1, {"c": "折扣", "d": 2}]})
    assert one == other
    # shasum -a 256 of the text itself
    assert rules.canonical_terms({}) == (
        "{}",
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    )


def test_terms_are_bounded() -> None:
    with pytest.raises(ValueError):
        rules.canonical_terms({"text": "x" * rules.TERMS_BYTES_MAX})


@pytest.mark.parametrize(
    "name", ["", "UTC+8", "+08:00", "../etc/passwd", "/etc/localtime", "asia/shanghai", "localtime"]
)
def test_only_zones_that_everybody_knows(name: str) -> None:
    with pytest.raises(ValueError):
        rules.known_zone(name)


def test_zones_are_known_by_their_iana_names() -> None:
    assert rules.known_zone("Asia/Shanghai") == "Asia/Shanghai"
