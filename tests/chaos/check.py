"""What was told outside against what is found inside: pure comparisons, each of which yields what is wrong.

`Seen` is what `observe` found in databases and on topics; the history says what was answered to whom. Unknown outcomes
may have happened or not; acknowledged ones have happened, once; refused ones and forgeries never. What must hold inside
the databases alone is the audit's business, whose findings come here as they are.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from qudao.equations import CONSUMERS, Finding

from .history import Outcome
from .world import OrderKey, Sums

Word = Literal[
    "lost",
    "doubled",
    "oversold",
    "unbalanced",
    "inverted",
    "forged",
    "poison",
    "refused",
    "unanswered",
    "fault",
]
WORDS: Final[tuple[Word, ...]] = (
    *("lost", "doubled", "oversold", "unbalanced", "inverted"),
    *("forged", "poison", "refused", "unanswered", "fault"),
)
COMMANDS: Final = ("receive", "adjust", "reserve", "register", "commit", "issue", "release")
# Refusals that are an answer like any other, given what is on the shelves.
FAIR_REFUSALS: Final = frozenset({"insufficient-stock", "nothing-to-issue"})
_FINDINGS: Final[Mapping[str, Word]] = {"3 stock": "oversold", "6 flow": "lost"}
Outcomes = Mapping[tuple[str, str], Outcome]


class Breach(NamedTuple):
    """Something that must not be. `key` is what to look for in the history and in the databases."""

    word: Word
    key: str
    text: str


class Stored(NamedTuple):
    """A delivery as order-svc keeps it."""

    platform: str
    shop_id: str
    topic: str
    message_id: str | None
    sha256: str
    status: str


class Sent(NamedTuple):
    """An event on a topic, in the order of its partition."""

    topic: str
    aggregate: str  # type and id
    version: int
    event_id: str


@dataclass
class Seen:
    """What was found when nothing moved any more."""

    stored: Sequence[Stored] = ()
    entries: Mapping[OrderKey, Mapping[str, tuple[Decimal, int]]] = field(default_factory=dict)
    effects: Mapping[tuple[str, str], int] = field(default_factory=dict)  # (op, key or answer) → rows of it
    sent: Sequence[Sent] = ()
    planted: Sequence[tuple[str, str]] = ()  # (topic, text) of the poison on the topics
    parked: Sequence[tuple[str, str]] = ()  # (consumer, text)
    findings: Sequence[Finding] = ()
    settled: bool = True


# -- what came in ------------------------------------------------------------------------------------------


def deliveries(known: Outcomes, stored: Sequence[Stored]) -> Iterator[Breach]:
    """Each acknowledged message is stored once and read; unreadable ones wait in quarantine, forged ones nowhere."""
    there = Counter(
        _same(each.platform, each.shop_id, each.topic, each.message_id, each.sha256) for each in stored
    )
    status = {_same(*each[:5]): each.status for each in stored}
    bodies = {each.sha256 for each in stored}
    # A forgery may be a true message that is too old; that body is stored by right.
    sound = {each.about["sha256"] for (op, _), each in known.items() if op == "deliver" and each.possible}
    possible: set[tuple[str, ...]] = set()
    for (op, key), outcome in known.items():
        if op not in ("deliver", "forge") or outcome.about["nature"] == "ping":
            continue
        platform, shop_id, _ = outcome.about["order"].split("/", 2)
        about = outcome.about
        mark = _same(platform, shop_id, about["topic"], about["message_id"], about["sha256"])
        if op == "forge":
            if outcome.acknowledged:
                yield Breach("forged", key, "a forgery was answered with success")
            if about["sha256"] in bodies - sound:
                yield Breach("forged", key, "a forgery is stored")
            continue
        if outcome.possible:
            possible.add(mark)
        if outcome.acknowledged and not there[mark]:
            yield Breach("lost", key, f"acknowledged {outcome.kinds['ok']} times and not stored")
        if there[mark] > 1:
            yield Breach("doubled", key, f"stored {there[mark]} times")
        unreadable = about["nature"] == "poison"
        if there[mark] and (status[mark] == "quarantined") is not unreadable:
            yield Breach("poison", key, f"{about['nature']} ended as {status[mark]}")
    for mark in there.keys() - possible:
        if mark[0] != "pos":  # a file is stored as one delivery for each receipt
            yield Breach("forged", "/".join(mark[:2]), f"stored, and nobody sent it: {mark[2:]}")


def _same(platform: str, shop_id: str, topic: str, message_id: str | None, sha256: str) -> tuple[str, ...]:
    """What makes a message the same one when it comes again: a signed id where there is one."""
    if platform == "generic":
        return platform, shop_id, message_id or ""
    return platform, shop_id, topic, sha256


def orders(
    known: Outcomes,
    expected: Mapping[OrderKey, Sums],
    entries: Mapping[OrderKey, Mapping[str, tuple[Decimal, int]]],
) -> Iterator[Breach]:
    """Each order's entries come to what was sold: less is lost, more is doubled."""
    for key, sums in expected.items():
        name, found = "/".join(key), entries.get(key)
        if found is None:
            yield Breach("lost", name, "no entries at all")
            continue
        for kind, (units, money) in sums.items():
            there = found.get(kind, (Decimal(0), 0))
            for what, must, is_ in (("units", units, there[0]), ("minor units", money, there[1])):
                if must is not None and is_ != must:
                    more = abs(Decimal(is_)) > abs(Decimal(must))
                    text = f"{kind}: {is_} {what} in the ledger, {must} in the world"
                    yield Breach("doubled" if more else "lost", name, text)
    for key in entries.keys() - expected.keys():
        yield Breach("forged", "/".join(key), "has entries, and nobody sold it")


def commands(known: Outcomes, effects: Mapping[tuple[str, str], int]) -> Iterator[Breach]:
    """What was answered with success has happened once, what was refused never; a repetition is answered alike."""
    named: set[tuple[str, str]] = set()
    for (op, key), outcome in known.items():
        if op not in COMMANDS:
            continue
        if len(outcome.answers) > 1:
            yield Breach(
                "doubled", key, f"{op} was answered in {len(outcome.answers)} ways: {outcome.answers}"
            )
        if op in ("commit", "issue", "release"):
            continue  # what they do shows in the stock, which the audit adds up
        rows = int(outcome.about.get("rows", 1))
        marks = {(op, answer) for answer in outcome.answers} if op == "reserve" else {(op, key)}
        named |= marks
        count = sum(effects.get(mark, 0) for mark in marks)
        if outcome.acknowledged and count < rows:
            yield Breach("lost", key, f"{op} was acknowledged and has {count} of {rows} effects")
        if count > rows or (count and not outcome.possible):
            yield Breach("doubled", key, f"{op} has {count} effects instead of {rows}")
    unknown = any(
        op == "reserve" and each.possible and not each.acknowledged for (op, _), each in known.items()
    )
    for op, mark in effects.keys() - named:
        if not (op == "reserve" and unknown):
            yield Breach("doubled", mark, f"an effect of {op} that nobody was told of")


def answers(known: Outcomes, told: Sequence[tuple[str, str, int, str]]) -> Iterator[Breach]:
    """Every call came to a yes or a no in the end, no true one to a no; `told` are (op, key, status, code)."""
    for (op, key), outcome in known.items():
        if not outcome.acknowledged and not outcome.kinds["fail"]:
            yield Breach("unanswered", key, f"{op}: {dict(outcome.kinds)}")
    for op, key, status, code in told:
        if op != "forge" and 400 <= status < 500 and code not in (*FAIR_REFUSALS, "request-in-flight"):
            yield Breach("refused", key, f"{op} was answered {status} {code}")
        if status >= 500 and status != 503:
            yield Breach("fault", key, f"{op} was answered {status} {code}")


# -- what went on inside -----------------------------------------------------------------------------------


def versions(sent: Sequence[Sent]) -> Iterator[Breach]:
    """On its topic, each version of an aggregate comes first after its predecessor, and always as the same event."""
    seen: dict[str, list[str]] = defaultdict(list)
    for each in sent:
        known = seen[each.aggregate]
        if each.version == len(known) + 1:
            known.append(each.event_id)
        elif each.version > len(known):
            yield Breach("inverted", each.aggregate, f"{each.topic}: {each.version} came after {len(known)}")
        elif known[each.version - 1] != each.event_id:
            yield Breach(
                "doubled", each.aggregate, f"{each.topic}: version {each.version} was told in two ways"
            )


def repetitions(sent: Sequence[Sent]) -> int:
    """How many events came more than once: each of them is one that consumers had to drop."""
    return len(sent) - len({(each.aggregate, each.version) for each in sent})


def parked(planted: Sequence[tuple[str, str]], found: Sequence[tuple[str, str]]) -> Iterator[Breach]:
    """Every consumer of a topic has parked the poison on it, once, and nothing else."""
    must = Counter((consumer, text) for topic, text in planted for consumer in CONSUMERS[topic])
    there = Counter(found)
    for consumer, text in must.keys() - there.keys():
        yield Breach("poison", consumer, f"did not park {text[:200]}")
    for consumer, text in there.keys() - must.keys():
        yield Breach("poison", consumer, f"parked what is no poison: {text[:200]}")
    for consumer, text in must.keys() & there.keys():
        if there[consumer, text] != must[consumer, text]:
            yield Breach("poison", consumer, f"parked {there[consumer, text]} times: {text[:200]}")


def audited(findings: Sequence[Finding]) -> Iterator[Breach]:
    """The audit's own words."""
    for finding in findings:
        if not finding.holds:
            word = _FINDINGS.get(finding.equation, "unbalanced")
            text = f"{finding.name}: {dict(finding.figures)} {finding.examples}"
            yield Breach(word, finding.equation, text)


def all_of_it(
    known: Outcomes, told: Sequence[tuple[str, str, int, str]], expected: Mapping[OrderKey, Sums], seen: Seen
) -> list[Breach]:
    """Everything that is wrong."""
    found = [
        *answers(known, told),
        *deliveries(known, seen.stored),
        *orders(known, expected, seen.entries),
        *commands(known, seen.effects),
        *versions(seen.sent),
        *parked(seen.planted, seen.parked),
        *audited(seen.findings),
    ]
    if not seen.settled:
        found.append(Breach("lost", "quiet", "something was still on its way when the time was over"))
    return found
