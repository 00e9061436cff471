"""When keys are made and which one signs, without a database."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from partner_svc.key import rules
from partner_svc.key.rules import SigningKey

START = datetime(2026, 1, 1, tzinfo=UTC)


def made(number: int, window: tuple[datetime, datetime] | None) -> SigningKey:
    assert window is not None
    return SigningKey(UUID(int=number), f"k{number}", {}, *window)


def test_the_first_key_signs_at_once() -> None:
    first = made(1, rules.next_window([], START))
    assert rules.signer([first], START) == first
    assert rules.next_window([first], START) is None


def test_a_year_with_a_worker_awake_has_a_signer_at_every_moment_that_others_know() -> None:
    keys = [made(0, rules.next_window([], START))]
    announced_at = {"k0": START}
    present = START
    while present < START + timedelta(days=365):
        present += timedelta(hours=1)
        window = rules.next_window(keys, present)
        if window is not None:
            keys.append(made(len(keys), window))
            announced_at[keys[-1].kid] = present
        for moment in (present, present + timedelta(minutes=30)):
            signer = rules.signer(keys, moment)
            assert signer is not None
            assert signer.kid == "k0" or moment >= announced_at[signer.kid] + rules.LEAD
            assert moment + rules.TOKEN_LIFE_MAX <= signer.not_after
    assert len(keys) == 13  # one to begin with and one every thirty days


def test_the_old_key_is_believed_after_the_new_one_signs() -> None:
    old = made(1, rules.next_window([], START))
    due = START + rules.SIGNS_FOR
    new = made(2, rules.next_window([old], due))
    assert rules.signer([old, new], due) == old
    assert rules.signer([old, new], due + rules.LEAD) == new
    assert old.not_after > due + rules.LEAD + rules.TOKEN_LIFE_MAX


def test_after_a_long_sleep_the_new_key_signs_at_once() -> None:
    old = made(1, rules.next_window([], START))
    late = START + timedelta(days=90)
    assert rules.signer([old], late) is None
    assert rules.next_window([old], late) == (late, late + rules.SIGNS_FOR + rules.OVERLAP)


def test_a_key_that_waits_for_its_beginning_is_not_made_twice() -> None:
    old = made(1, rules.next_window([], START))
    due = START + rules.SIGNS_FOR
    new = made(2, rules.next_window([old], due))
    assert rules.next_window([old, new], due + timedelta(seconds=1)) is None
