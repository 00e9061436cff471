"""PURE: a shop's bindings: half-open spans of time that never overlap, and how a new one finds its place.

A shop without a binding is normal. History is never lost by accident: to overwrite what is bound already, the
caller says `replace`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from partner_svc.partner.rules import Refusal

BINDINGS_MAX: Final = 1_000
_PLATFORM: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")


@dataclass(frozen=True, slots=True)
class Binding:
    """For whom and on which channel a shop sells, in [valid_from, valid_to); None = open."""

    partner_id: UUID
    channel: str
    valid_from: datetime
    valid_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class Shop:
    """A shop and all its bindings, sorted by time."""

    platform: str
    shop_id: str
    bindings: tuple[Binding, ...]
    stream_version: int = 0


def platform_name(text: str) -> str:
    """A platform as the connections name it. ValueError unless lower-case letters, digits and dashes."""
    if not _PLATFORM.fullmatch(text):
        raise ValueError("use the platform's lower-case name, such as shopify or pos")
    return text


def is_span(valid_from: datetime, valid_to: datetime | None) -> bool:
    """Whether [valid_from, valid_to) holds any moment."""
    return valid_to is None or valid_from < valid_to


def bind(bindings: Sequence[Binding], new: Binding, *, overwrite: bool) -> tuple[Binding, ...] | Refusal:
    """The bindings with `new` among them; the same ones when `new` is there already.

    Where others stand in its span, it is refused, or with `overwrite` they are cut back to what lies outside.
    """
    if not is_span(new.valid_from, new.valid_to):
        return Refusal("empty-validity", "valid_to must be later than valid_from.")
    if new in bindings:
        return tuple(bindings)
    if not overwrite and any(overlap(each, new) for each in bindings):
        return Refusal(
            "binding-overlap",
            "The shop is already bound in that time; choose another time, or send replace to overwrite it.",
        )
    result = _sorted((*_carve(bindings, new.valid_from, new.valid_to), new))
    if len(result) > BINDINGS_MAX:
        return Refusal("too-many-bindings", f"A shop has at most {BINDINGS_MAX} bindings.")
    return result


def close(bindings: Sequence[Binding], valid_to: datetime) -> tuple[Binding, ...]:
    """The bindings as they were before `valid_to`, and none from then on."""
    return _sorted(_carve(bindings, valid_to, None))


def overlap(one: Binding, other: Binding) -> bool:
    """Whether both hold at some moment."""
    return _before(one.valid_from, other.valid_to) and _before(other.valid_from, one.valid_to)


def _before(moment: datetime, end: datetime | None) -> bool:
    return end is None or moment < end


def _carve(bindings: Iterable[Binding], start: datetime, end: datetime | None) -> list[Binding]:
    """What is left of the bindings outside [start, end)."""
    left: list[Binding] = []
    for each in bindings:
        ends_by = start if each.valid_to is None else min(start, each.valid_to)
        if each.valid_from < ends_by:
            left.append(replace(each, valid_to=ends_by))
        if end is not None and _before(end, each.valid_to):
            left.append(replace(each, valid_from=max(end, each.valid_from)))
    return left


def _sorted(bindings: Iterable[Binding]) -> tuple[Binding, ...]:
    return tuple(sorted(bindings, key=lambda each: each.valid_from))
