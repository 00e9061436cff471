"""What can be done to partners: register, change, import. Every change is announced in its transaction.

Called by this noun's routes. Higher nouns ask `known` for partners and turn refusals into problems with `refuse`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Never
from uuid import UUID

from channel_events.catalog import PARTNER_CHANGED, PARTNER_REGISTERED
from channel_events.partner import PartnerBody
from channel_kit.auth import Caller, StaffOnly
from channel_kit.clock import now
from channel_kit.database import Actor, Read, Write
from channel_kit.ids import uuid7
from channel_kit.outbox import Announcement, announce
from channel_kit.problems import Conflict, NotFound, PreconditionFailed, Problem, Unprocessable
from partner_svc.partner import rules, store
from partner_svc.partner.rules import ImportRow, Partner, Refusal, Verdict


class UnknownPartner(Unprocessable):
    code = "unknown-partner"
    title = "No partner has this identifier; register the partner first"


class UnknownParent(Unprocessable):
    code = "unknown-parent"
    title = "No partner has the identifier given as parent; register the parent first"


class CodeTaken(Conflict):
    code = "code-taken"
    title = "The code is in use already; choose another, or change what has it"


class ParentCycle(Conflict):
    code = "parent-cycle"
    title = "This parent would make the partner its own ancestor; choose another"


class StateNotAllowed(Conflict):
    code = "state-not-allowed"
    title = "The partner cannot go from its present state to that one"


class PartnerTerminated(Conflict):
    code = "partner-terminated"
    title = "The partner is terminated; nothing new begins with it"


def refuse(refusal: Refusal, *kinds: type[Problem]) -> Never:
    """Raise the one of `kinds` that has the refusal's code; a code without one is a bug."""
    raise next(kind for kind in kinds if kind.code == refusal.code)(refusal.detail)


def staff(caller: Caller) -> Actor:
    """The actor of a command that only the enterprise's own people give. Raises `StaffOnly` for a partner."""
    if caller.partner_id is not None:
        raise StaffOnly
    return caller.actor


async def ids_by_code(tx: Read, codes: Sequence[str]) -> dict[str, UUID]:
    """The partners that have these codes."""
    return {code: each.partner_id for code, each in (await store.by_codes(tx, codes)).items()}


async def known(tx: Read, ids: Sequence[UUID]) -> dict[UUID, Partner | Refusal]:
    """Each partner with whom something may begin, or why not."""
    found = await store.by_ids(tx, ids)
    answers: dict[UUID, Partner | Refusal] = {}
    for partner_id in ids:
        partner = found.get(partner_id)
        if partner is None:
            answers[partner_id] = Refusal(UnknownPartner.code, "There is no such partner.")
        elif partner.state == "terminated":
            answers[partner_id] = Refusal(PartnerTerminated.code, f"{partner.code} is terminated.")
        else:
            answers[partner_id] = partner
    return answers


async def register(tx: Write, partner: Partner) -> Partner:
    """A new partner. Raises `CodeTaken` and `UnknownParent`."""
    await store.lock_tree(tx)
    if await store.by_codes(tx, [partner.code]):
        raise CodeTaken
    if partner.parent_id and not await store.by_ids(tx, [partner.parent_id]):
        raise UnknownParent
    (saved,) = await _save(tx, [partner], [])
    return saved


async def change(
    tx: Write, partner_id: UUID, revision: int, changes: dict[str, Any], *, actor: str, reason: str | None
) -> Partner:
    """The partner with `changes` (name, kind, state, parent_id, effective_from) on top of `revision`.

    Nothing is written or announced when nothing differs. Raises `NotFound`, `PreconditionFailed`,
    `StateNotAllowed`, `UnknownParent`, `ParentCycle`.
    """
    if "parent_id" in changes:
        await store.lock_tree(tx)
    before = (await store.by_ids(tx, [partner_id], lock=True)).get(partner_id)
    if before is None:
        raise NotFound
    if before.revision != revision:
        raise PreconditionFailed
    after = replace(before, **changes)
    if after == before:
        return before
    if refusal := rules.transition(before.state, after.state):
        refuse(refusal, StateNotAllowed)
    if after.parent_id is not None and after.parent_id != before.parent_id:
        edges = await store.ancestors(tx, [after.parent_id])
        if after.parent_id not in edges:
            raise UnknownParent
        if partner_id in rules.on_a_cycle(edges | {partner_id: after.parent_id}):
            raise ParentCycle
    (saved,) = await _save(tx, [], [replace(after, revision=before.revision + 1)])
    if after.state != before.state:
        moved = store.Transition(partner_id, before.state, after.state, reason, actor)
        await store.add_transitions(tx, [moved], now())
    return saved


async def import_rows(tx: Write, rows: Sequence[ImportRow]) -> list[Verdict]:
    """Register and change partners by code, all rows in one go; a refused row leaves its neighbours alone."""
    await store.lock_tree(tx)
    codes = {code for row in rows for code in (row.code, row.parent_code) if code}
    existing = await store.by_codes(tx, sorted(codes), lock=True)
    above = await store.ancestors(tx, [each.partner_id for each in existing.values()])
    verdicts = rules.plan_import(rows, existing, above, _fresh_ids(), now())
    created = [each.partner for each in verdicts if each.outcome == "created" and each.partner]
    changed = [each.partner for each in verdicts if each.outcome == "changed" and each.partner]
    await _save(tx, created, changed)
    return verdicts


async def _save(tx: Write, created: Sequence[Partner], changed: Sequence[Partner]) -> list[Partner]:
    created = [replace(each, stream_version=1) for each in created]
    changed = [replace(each, stream_version=each.stream_version + 1) for each in changed]
    if created:
        await store.insert(tx, created)
    if changed:
        await store.update(tx, changed)
    command = uuid7()
    await announce(
        tx,
        [
            *(_announcement(PARTNER_REGISTERED, each, command) for each in created),
            *(_announcement(PARTNER_CHANGED, each, command) for each in changed),
        ],
    )
    return [*created, *changed]


def _announcement(kind: str, partner: Partner, command: UUID) -> Announcement:
    body = PartnerBody(
        code=partner.code,
        name=partner.name,
        kind=partner.kind,
        state=partner.state,
        parent_id=partner.parent_id,
        effective_from=partner.effective_from,
    )
    return Announcement(kind, partner.partner_id, partner.stream_version, body, command)


def _fresh_ids() -> Iterator[UUID]:
    while True:
        yield uuid7()


def new_partner(
    code: str, name: str, kind: str, parent_id: UUID | None, effective_from: datetime | None
) -> Partner:
    """A partner to register: active, from now on unless it says otherwise."""
    return Partner(uuid7(), code, name, kind, "active", parent_id, effective_from or now())
