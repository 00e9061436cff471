"""PURE: partners, their states, their tree, and how texts and instants from outside are accepted.

The lowest noun: the rules of the others use its texts, instants and `Refusal`. Nothing here raises a problem;
a refusal is a value, since an import refuses a row and keeps its neighbours.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, tzinfo
from typing import Final, Literal, NamedTuple
from uuid import UUID

CODE_MAX: Final = 100
NAME_MAX: Final = 200
FOREIGN_ID_MAX: Final = 255
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"
)

STATES: Final = ("active", "suspended", "terminated")
# Nothing leaves "terminated": to come back is a new enrolment, not an undone ending.
_TRANSITIONS: Final = {
    "active": ("suspended", "terminated"),
    "suspended": ("active", "terminated"),
    "terminated": (),
}


class Refusal(NamedTuple):
    """Why something of ours is not done: a stable kebab-case code and a sentence that says what to do."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Partner:
    """A partner as stored. `revision` moves with any change, `stream_version` with each announcement."""

    partner_id: UUID
    code: str
    name: str
    kind: str
    state: str
    parent_id: UUID | None
    effective_from: datetime
    revision: int = 1
    stream_version: int = 0


@dataclass(frozen=True, slots=True)
class ImportRow:
    """A readable line of a partner file. None = the file does not say; `parent_code` "" = no parent."""

    line: int
    code: str
    name: str
    kind: str | None
    parent_code: str | None
    effective_from: datetime | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a line of a file came to; `partner` is the new state when it was created or changed."""

    line: int
    code: str
    outcome: Literal["created", "changed", "unchanged", "refused"]
    refusal: Refusal | None = None
    partner: Partner | None = None


def clean_code(text: str) -> str:
    """A code that people and files agree on: trimmed, composed (NFC), nothing invisible.

    ValueError when it is empty, longer than 100 characters or holds control or format characters.
    """
    return _clean(text, CODE_MAX, ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))


def clean_name(text: str) -> str:
    """A name: as `clean_code`, up to 200 characters; joiners inside scripts and emoji are kept."""
    return _clean(text, NAME_MAX, ("Cc", "Cs", "Zl", "Zp"))


def foreign_id(text: str) -> str:
    """A platform's own id, unchanged, since others compare it character by character.

    ValueError when it is empty, longer than 255 characters, or has outer spaces or control characters.
    """
    if not text or len(text) > FOREIGN_ID_MAX or text != text.strip():
        raise ValueError(f"use the platform's own id: 1 to {FOREIGN_ID_MAX} characters, no outer spaces")
    if any(unicodedata.category(each) in ("Cc", "Cs") for each in text):
        raise ValueError("leave out control characters")
    return text


def _clean(text: str, longest: int, unwanted: tuple[str, ...]) -> str:
    if len(text) > 4 * longest:
        raise ValueError(f"use at most {longest} characters")
    cleaned = unicodedata.normalize("NFC", text.strip())
    if not cleaned or len(cleaned) > longest:
        raise ValueError(f"use 1 to {longest} characters")
    if any(unicodedata.category(each) in unwanted for each in cleaned):
        raise ValueError("leave out control and invisible characters")
    return cleaned


def moment(value: object) -> datetime:
    """An RFC 3339 text with its zone, as an instant in UTC. ValueError for anything else, numbers in texts too,
    and outside the years 1970 to 2199."""
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("use an instant with its zone, such as 2026-01-31T00:00:00+08:00")
    return _bounded(datetime.fromisoformat(value))


def moment_or_day(text: str, zone: tzinfo) -> datetime:
    """As `moment`; a plain date such as 2026-01-31 is its midnight in `zone`."""
    if _DAY.fullmatch(text):
        return _bounded(datetime.combine(date.fromisoformat(text), time(), zone))
    return moment(text)


def _bounded(value: datetime) -> datetime:
    try:
        instant = value.astimezone(UTC)
    except OverflowError:
        instant = _LATEST
    if not EARLIEST <= instant < _LATEST:
        raise ValueError("use an instant between the years 1970 and 2199")
    return instant


def transition(current: str, wanted: str) -> Refusal | None:
    """None when a partner may go from `current` to `wanted` (staying is allowed)."""
    if wanted == current or wanted in _TRANSITIONS[current]:
        return None
    allowed = " or ".join(_TRANSITIONS[current]) or "nothing: register it again under a new code"
    return Refusal("state-not-allowed", f"From {current} a partner can become {allowed}.")


def on_a_cycle(parents: Mapping[UUID, UUID | None]) -> set[UUID]:
    """The nodes that are their own ancestors. `parents`: node → parent; what is missing is a root."""
    settled: set[UUID] = set()
    looping: set[UUID] = set()
    for start in parents:
        path: dict[UUID, None] = {}
        node: UUID | None = start
        while node is not None and node not in settled and node not in path:
            path[node] = None
            node = parents.get(node)
        if node is not None and node in path:
            steps = list(path)
            looping.update(steps[steps.index(node) :])
        settled.update(path)
    return looping


def plan_import(
    rows: Sequence[ImportRow],
    known: Mapping[str, Partner],
    ancestors: Mapping[UUID, UUID | None],
    fresh_ids: Iterator[UUID],
    present: datetime,
) -> list[Verdict]:
    """What each row does, in file order, whatever order parents and children stand in.

    `known`: existing partners by code, for every code the rows name. `ancestors`: child → parent, upwards from
    all of them. `present` fills `effective_from` of new partners. A refused row never refuses its neighbours,
    except new partners below it.
    """
    verdicts: dict[int, Verdict] = {}
    wanted: dict[str, ImportRow] = {}
    for row in rows:
        refusal = _first_look(row, wanted, known)
        if refusal is None:
            wanted[row.code] = row
        else:
            verdicts[row.line] = Verdict(row.line, row.code, "refused", refusal)
    ids = {code: known[code].partner_id if code in known else next(fresh_ids) for code in wanted}
    # To refuse a row may pull the ground from under another: look again until nothing more falls.
    while refused := _misplaced(wanted, known, ids, ancestors):
        for code, refusal in refused.items():
            row = wanted.pop(code)
            verdicts[row.line] = Verdict(row.line, code, "refused", refusal)
    for code, row in wanted.items():
        verdicts[row.line] = _settle(
            row, known.get(code), ids[code], _parent(row, known, ids, wanted), present
        )
    return [verdicts[row.line] for row in rows]


def _first_look(
    row: ImportRow, wanted: Mapping[str, ImportRow], known: Mapping[str, Partner]
) -> Refusal | None:
    if row.code in wanted:
        return Refusal("duplicate-row", f"The code already stands in line {wanted[row.code].line}.")
    if row.code not in known and row.kind is None:
        return Refusal("missing-kind", "A new partner needs a kind, such as distributor or store.")
    return None


def _parent(
    row: ImportRow, known: Mapping[str, Partner], ids: Mapping[str, UUID], wanted: Mapping[str, ImportRow]
) -> UUID | None:
    if row.parent_code is None:
        return known[row.code].parent_id if row.code in known else None
    if row.parent_code in known:
        return known[row.parent_code].partner_id
    return ids[row.parent_code] if row.parent_code in wanted else None


def _misplaced(
    wanted: Mapping[str, ImportRow],
    known: Mapping[str, Partner],
    ids: Mapping[str, UUID],
    ancestors: Mapping[UUID, UUID | None],
) -> dict[str, Refusal]:
    orphans = _orphans(wanted, known)
    if orphans:
        refusal = Refusal("unknown-parent", "No partner has the code given as parent_code.")
        return dict.fromkeys(orphans, refusal)
    edges = dict(ancestors) | {ids[code]: _parent(row, known, ids, wanted) for code, row in wanted.items()}
    looping = on_a_cycle(edges)
    return {
        code: Refusal("parent-cycle", "This parent would make the partner its own ancestor.")
        for code in wanted
        if ids[code] in looping
    }


def _orphans(wanted: Mapping[str, ImportRow], known: Mapping[str, Partner]) -> set[str]:
    """The codes whose parent is neither known nor wanted, and the new ones that would hang below them."""
    children: dict[str, list[str]] = {}
    for code, row in wanted.items():
        if row.parent_code and row.parent_code not in known:
            children.setdefault(row.parent_code, []).append(code)
    missing = [parent for parent in children if parent not in wanted]
    orphans: set[str] = set()
    while missing:
        fallen = [code for code in children.get(missing.pop(), ()) if code not in orphans]
        orphans.update(fallen)
        # A known partner whose row is refused is still there for its children.
        missing.extend(code for code in fallen if code not in known)
    return orphans


def _settle(
    row: ImportRow, before: Partner | None, partner_id: UUID, parent_id: UUID | None, present: datetime
) -> Verdict:
    if before is None:
        partner = Partner(
            partner_id, row.code, row.name, row.kind or "", "active", parent_id, row.effective_from or present
        )
        return Verdict(row.line, row.code, "created", None, partner)
    after = replace(
        before,
        name=row.name,
        kind=row.kind or before.kind,
        parent_id=parent_id,
        effective_from=row.effective_from or before.effective_from,
    )
    if after == before:
        return Verdict(row.line, row.code, "unchanged")
    return Verdict(row.line, row.code, "changed", None, replace(after, revision=before.revision + 1))
