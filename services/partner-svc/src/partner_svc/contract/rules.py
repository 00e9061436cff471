"""PURE: contract versions: drafts, approval, and how an amendment ends the version before it.

An approved version never changes, except that an amendment ends it at its own beginning. So the approved versions
of a contract follow each other without gap or overlap.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple
from uuid import UUID
from zoneinfo import available_timezones

from partner_svc.partner.rules import Refusal

PLAN_CODES_MAX: Final = 200
TERMS_BYTES_MAX: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class ContractVersion:
    """A version as stored; `state` is draft or approved. Valid in [valid_from, valid_to); None = open."""

    version: int
    state: str
    valid_from: datetime
    valid_to: datetime | None
    time_zone: str
    plan_codes: tuple[str, ...]
    terms: str
    terms_hash: str
    author: str
    approver: str | None = None
    approved_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract line with its versions, ascending."""

    contract_id: UUID
    code: str
    partner_id: UUID
    versions: tuple[ContractVersion, ...]
    revision: int = 1
    stream_version: int = 0


class Approval(NamedTuple):
    """The version that is approved now, and the one it ends, if any."""

    approved: ContractVersion
    truncated: ContractVersion | None


def known_zone(name: str) -> str:
    """An IANA time zone. ValueError for any other name (offsets, paths, abbreviations unknown to the database)."""
    if name not in _zones():
        raise ValueError("use an IANA time zone, such as Asia/Shanghai")
    return name


@cache
def _zones() -> frozenset[str]:
    # Some systems list files that mean something else on every machine.
    return frozenset(available_timezones() - {"localtime", "posixrules", "Factory"})


def canonical_terms(terms: Mapping[str, Any]) -> tuple[str, str]:
    """The terms as canonical JSON (sorted keys, no spaces) and the SHA-256 of that text, in hex.

    ValueError beyond 64 KiB.
    """
    text = json.dumps(terms, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    raw = text.encode()
    if len(raw) > TERMS_BYTES_MAX:
        raise ValueError(f"keep the terms within {TERMS_BYTES_MAX} bytes")
    return text, hashlib.sha256(raw).hexdigest()


def approve(
    versions: Sequence[ContractVersion], number: int, approver: str, at: datetime
) -> Approval | Refusal:
    """Approve draft `number`. An older draft than the last approved version is dead; so is one that would leave a
    gap after that version or nothing of it."""
    draft = next((each for each in versions if each.version == number), None)
    if draft is None:
        return Refusal("unknown-version", "The contract has no such version.")
    if draft.state == "approved":
        return Refusal("already-approved", "This version is approved already; amend it with a new version.")
    approved = replace(draft, state="approved", approver=approver, approved_at=at)
    last = max((each for each in versions if each.state == "approved"), key=_number, default=None)
    if last is None:
        return Approval(approved, None)
    if last.version > number:
        return Refusal("version-superseded", f"Version {last.version} is approved already; draft a new one.")
    if draft.valid_from <= last.valid_from:
        return Refusal(
            "contract-overlap",
            f"An amendment begins after version {last.version}, which begins {last.valid_from}.",
        )
    if last.valid_to is None or draft.valid_from < last.valid_to:
        return Approval(approved, replace(last, valid_to=draft.valid_from))
    if draft.valid_from > last.valid_to:
        return Refusal(
            "contract-gap", f"Version {last.version} ends {last.valid_to}; begin the amendment there."
        )
    return Approval(approved, None)


def _number(version: ContractVersion) -> int:
    return version.version
