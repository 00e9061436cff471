"""The checker is seen to fail: each kind of wrong is planted into a history and a finding that are otherwise right."""

import json
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from qudao.equations import CONSUMERS, Finding

from . import check
from .check import Breach, Seen, Sent, Stored
from .history import History, Kind, Line, outcomes, read
from .schedule import KINDS, LARGE, SESSION_SECONDS, SMALL, schedule
from .world import CANARIES, OrderKey, canary, canary_sums, world

SHOP = "shopify/shop-1"
ORDER = OrderKey("shopify", "shop-1", "1001")
SUMS = {"ordered": (Decimal(2), 500), "paid": (Decimal(0), 500), "returned": (Decimal(-1), None)}
ENTRIES = {"ordered": (Decimal(2), 500), "paid": (Decimal(0), 500), "returned": (Decimal(-1), -250)}
TEXT = "planted"


def call(op: str, key: str, *kinds: Kind, **about: Any) -> list[Line]:
    """The lines of one call: each outcome follows an invocation of its own."""
    lines: list[Line] = []
    for kind in kinds:
        lines.append(Line(len(lines), "a", op, key, "invoke", about))
        if kind in ("ok", "fail", "info"):
            known = {"answer": about.get("answer"), "status": 200 if kind == "ok" else 503}
            lines.append(Line(len(lines), "a", op, key, kind, known))
    return lines


def delivered(key: str, *kinds: Kind, op: str = "deliver", nature: str = "order") -> list[Line]:
    about = {
        "nature": nature,
        "order": f"{SHOP}/1001",
        "topic": "orders/create",
        "message_id": key,
        "sha256": key,
    }
    return call(op, key, *kinds, **about)


def stored(key: str, status: str = "applied") -> Stored:
    return Stored("shopify", "shop-1", "orders/create", key, key, status)


HISTORY = [
    *delivered("d1", "ok", "ok"),
    *delivered("d2", "info", "ok"),
    *delivered("d3", "info"),  # nobody knows
    *delivered("bad", "ok", nature="poison"),
    *delivered("forged", "fail", op="forge", nature="tampered"),
    *call("receive", "r1", "info", "ok", rows=1, answer="x"),
    *call("reserve", "v1", "ok", "ok", answer="id-1"),
]
RIGHT = Seen(
    stored=[stored("d1"), stored("d2"), stored("bad", "quarantined")],
    entries={ORDER: ENTRIES},
    effects={("receive", "r1"): 1, ("reserve", "id-1"): 1},
    sent=[
        Sent("channel.order", "order/a", 1, "e1"),
        Sent("channel.order", "order/a", 2, "e2"),
        Sent("channel.order", "order/a", 1, "e1"),
        Sent("channel.order", "order/a", 2, "e2"),
        Sent("channel.order", "order/a", 3, "e3"),
    ],
    planted=[("channel.incentive", TEXT)],
    parked=[(consumer, TEXT) for consumer in CONSUMERS["channel.incentive"]],
    findings=[Finding("1 ledger", "net", {"checked": 1})],
)


def wrong(seen: Seen, lines: Iterable[Line] = HISTORY) -> list[Breach]:
    told = [
        (line.op, line.key, line.more["status"], line.more.get("code", ""))
        for line in lines
        if line.kind in ("fail", "info")
    ]
    known = outcomes(lines)
    return [
        breach
        for breach in check.all_of_it(known, told, {ORDER: SUMS}, seen)
        if (breach.word, breach.key) != ("unanswered", "d3")
    ]


def test_what_is_right_is_found_right() -> None:
    assert wrong(RIGHT) == []
    assert check.repetitions(RIGHT.sent) == 2


def test_an_unknown_outcome_may_have_happened() -> None:
    assert wrong(replace(RIGHT, stored=[*RIGHT.stored, stored("d3")])) == []


LEFT = {**ENTRIES, "paid": (Decimal(0), 499)}
TWICE = {**ENTRIES, "ordered": (Decimal(4), 1000)}
PLANTED: dict[str, tuple[Seen, str, str]] = {
    "a lost delivery": (replace(RIGHT, stored=RIGHT.stored[1:]), "lost", "d1"),
    "one that was acknowledged at its second try": (
        replace(RIGHT, stored=[stored("d1"), stored("bad", "quarantined")]),
        "lost",
        "d2",
    ),
    "a delivery stored twice": (replace(RIGHT, stored=[*RIGHT.stored, stored("d2")]), "doubled", "d2"),
    "a delivery that nobody sent": (replace(RIGHT, stored=[*RIGHT.stored, stored("d9")]), "forged", SHOP),
    "a forgery let in": (replace(RIGHT, stored=[*RIGHT.stored, stored("forged")]), "forged", "forged"),
    "poison that was read": (
        replace(RIGHT, stored=[stored("d1"), stored("d2"), stored("bad")]),
        "poison",
        "bad",
    ),
    "a sound delivery in quarantine": (
        replace(RIGHT, stored=[stored("d1", "quarantined"), *RIGHT.stored[1:]]),
        "poison",
        "d1",
    ),
    "an order without entries": (replace(RIGHT, entries={}), "lost", "/".join(ORDER)),
    "a cent less": (replace(RIGHT, entries={ORDER: LEFT}), "lost", "/".join(ORDER)),
    "entries twice": (replace(RIGHT, entries={ORDER: TWICE}), "doubled", "/".join(ORDER)),
    "an order that nobody sold": (
        replace(RIGHT, entries={ORDER: ENTRIES, OrderKey("shopify", "shop-1", "7"): ENTRIES}),
        "forged",
        f"{SHOP}/7",
    ),
    "a command without its effect": (replace(RIGHT, effects={("reserve", "id-1"): 1}), "lost", "r1"),
    "a command done twice": (
        replace(RIGHT, effects={("receive", "r1"): 2, ("reserve", "id-1"): 1}),
        "doubled",
        "r1",
    ),
    "a reservation that nobody was told of": (
        replace(RIGHT, effects={**RIGHT.effects, ("reserve", "id-2"): 1}),
        "doubled",
        "id-2",
    ),
    "a version before its predecessor": (
        replace(RIGHT, sent=[RIGHT.sent[1], RIGHT.sent[0]]),
        "inverted",
        "order/a",
    ),
    "a version left out": (replace(RIGHT, sent=[RIGHT.sent[0], RIGHT.sent[4]]), "inverted", "order/a"),
    "two histories of one aggregate": (
        replace(RIGHT, sent=[*RIGHT.sent, Sent("channel.order", "order/a", 2, "e9")]),
        "doubled",
        "order/a",
    ),
    "poison that went through": (replace(RIGHT, parked=[]), "poison", "insight.incentive"),
    "a sound event that was parked": (
        replace(RIGHT, parked=[*RIGHT.parked, ("insight.order", "sound")]),
        "poison",
        "insight.order",
    ),
    "stock below zero": (
        replace(RIGHT, findings=[Finding("3 stock", "below", {}, 1, ("x",))]),
        "oversold",
        "3 stock",
    ),
    "books that do not add up": (
        replace(RIGHT, findings=[Finding("4 rebates", "cell", {}, 1, ("x",))]),
        "unbalanced",
        "4 rebates",
    ),
    "something still on its way": (replace(RIGHT, settled=False), "lost", "quiet"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found(name: str) -> None:
    seen, word, key = PLANTED[name]
    assert (word, key) in {(breach.word, breach.key) for breach in wrong(seen)}


def test_answers_that_must_not_be_given_are_found() -> None:
    lines = [
        *HISTORY,
        *call("adjust", "silent", "info", "info"),
        Line(1, "a", "register", "no", "invoke", {}),
        Line(2, "a", "register", "no", "fail", {"status": 409, "code": "code-taken"}),
        Line(3, "a", "reserve", "sold-out", "invoke", {}),
        Line(4, "a", "reserve", "sold-out", "fail", {"status": 409, "code": "insufficient-stock"}),
        Line(5, "a", "deliver", "broken", "invoke", HISTORY[0].more),
        Line(6, "a", "deliver", "broken", "info", {"status": 500, "code": "internal-error"}),
        *call("reserve", "v1", "ok", answer="id-2"),
        *delivered("forged", "ok", op="forge", nature="tampered"),
    ]
    found = {(breach.word, breach.key) for breach in wrong(RIGHT, lines)}
    assert {
        ("unanswered", "silent"),
        ("refused", "no"),
        ("fault", "broken"),
        ("doubled", "v1"),
        ("forged", "forged"),
    } <= found
    assert not {key for _, key in found} & {"sold-out", "d1"}


async def test_a_history_is_on_the_disk_and_survives_a_cut(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    for number in range(3):
        await history.add("a", "deliver", f"d{number}", "invoke", order="x")
        await history.add("a", "deliver", f"d{number}", "ok", status=200)
    with history.path.open("ab") as file:
        file.write(json.dumps({"t": 1, "actor": "a"}).encode())  # the machine stopped here
    history.close()
    lines = list(read(history.path))
    assert [(line.key, line.kind) for line in lines] == [
        (f"d{n}", kind) for n in range(3) for kind in ("invoke", "ok")
    ]
    assert lines[0].more == {"order": "x"}
    assert all(outcome.acknowledged for outcome in outcomes(lines).values())


def test_schedules_follow_from_their_seed_and_reach_everything() -> None:
    assert schedule(5, LARGE) == schedule(5, LARGE) != schedule(6, LARGE)
    for size, least in ((SMALL, 1), (LARGE, 4)):
        faults = [step.fault for step in schedule(5, size)]
        for kind in KINDS:
            assert sum((each.what, each.target) == ("SIGKILL", kind) for each in faults) >= least
        stops = [each.seconds for each in faults if each.what == "SIGSTOP"]
        assert sum(seconds > SESSION_SECONDS for seconds in stops) * 2 == len(stops)
        assert {each.what for each in faults} >= {"delay", "hold", "reset", "cut", "commit-unheard", "poison"}


def test_the_world_is_sold_and_sent() -> None:
    small = world(3, SMALL.orders)
    assert small == world(3, SMALL.orders)
    assert len(small.day.moments) >= 1_000
    assert len(world(3, LARGE.orders).day.moments) >= 10_000
    key, body = canary(7)
    assert key == OrderKey(CANARIES.platform, CANARIES.shop_id, "canary-00007")
    assert canary_sums()["paid"] == (Decimal(0), int(Decimal(json.loads(body)["data"]["total"]) * 100))
