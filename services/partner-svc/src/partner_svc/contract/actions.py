"""What can be done to contracts: draft, amend, approve. Only an approval is announced.

Author and approver are both recorded; that they differ is not demanded yet. Called by this noun's routes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from channel_events.catalog import PARTNER_CONTRACT_APPROVED
from channel_events.partner import ContractBody
from channel_kit.clock import now
from channel_kit.database import Write
from channel_kit.ids import uuid7
from channel_kit.outbox import Announcement, announce
from channel_kit.problems import Conflict, NotFound
from partner_svc.contract import rules, store
from partner_svc.contract.rules import Contract, ContractVersion
from partner_svc.partner import actions as partner
from partner_svc.partner.rules import Refusal


class UnknownVersion(NotFound):
    code = "unknown-version"
    title = "The contract has no such version"


class AlreadyApproved(Conflict):
    code = "already-approved"
    title = "The version is approved and will not change; amend it with a new version"


class VersionSuperseded(Conflict):
    code = "version-superseded"
    title = "A later version is approved already; draft a new one"


class ContractOverlap(Conflict):
    code = "contract-overlap"
    title = "An amendment begins after the beginning of the version that it amends"


class ContractGap(Conflict):
    code = "contract-gap"
    title = "An amendment begins no later than the end of the version that it amends"


_REFUSALS = (
    UnknownVersion,
    AlreadyApproved,
    VersionSuperseded,
    ContractOverlap,
    ContractGap,
    partner.UnknownPartner,
    partner.PartnerTerminated,
)


@dataclass(frozen=True, slots=True)
class Draft:
    """What a version says; `terms` is canonical JSON."""

    valid_from: datetime
    valid_to: datetime | None
    time_zone: str
    plan_codes: tuple[str, ...]
    terms: str
    terms_hash: str

    def version(self, number: int, author: str) -> ContractVersion:
        return ContractVersion(
            number,
            "draft",
            self.valid_from,
            self.valid_to,
            self.time_zone,
            self.plan_codes,
            self.terms,
            self.terms_hash,
            author,
        )


async def open_contract(tx: Write, code: str, partner_id: UUID, draft: Draft, author: str) -> Contract:
    """A new contract with its first draft. Raises `CodeTaken`, `UnknownPartner`, `PartnerTerminated`."""
    await _check_partner(tx, partner_id)
    if await store.code_exists(tx, code):
        raise partner.CodeTaken
    contract = Contract(uuid7(), code, partner_id, (draft.version(1, author),))
    await store.insert(tx, [contract])
    return contract


async def amend(tx: Write, contract_id: UUID, draft: Draft, author: str) -> Contract:
    """The contract with one more draft. Raises `NotFound`."""
    contract = await _locked(tx, contract_id)
    version = draft.version(len(contract.versions) + 1, author)
    after = replace(contract, versions=(*contract.versions, version), revision=contract.revision + 1)
    await store.insert_versions(tx, [(after, version)])
    await store.update_heads(tx, [after])
    return after


async def approve(tx: Write, contract_id: UUID, number: int, approver: str) -> Contract:
    """The contract with version `number` in force; the version before it may end earlier by that.

    Both are announced, the ended one first, so that a reader never sees two at once. Raises `NotFound` and the
    refusals above.
    """
    contract = await _locked(tx, contract_id)
    answer = rules.approve(contract.versions, number, approver, now())
    if isinstance(answer, Refusal):
        partner.refuse(answer, *_REFUSALS)
    await _check_partner(tx, contract.partner_id)
    settled = [each for each in (answer.truncated, answer.approved) if each is not None]
    by_number = {each.version: each for each in settled}
    after = replace(
        contract,
        versions=tuple(by_number.get(each.version, each) for each in contract.versions),
        revision=contract.revision + 1,
        stream_version=contract.stream_version + len(settled),
    )
    await store.settle_versions(tx, [(contract_id, each) for each in settled])
    await store.update_heads(tx, [after])
    await announce(tx, _announcements(contract, settled))
    return after


async def _locked(tx: Write, contract_id: UUID) -> Contract:
    found = await store.by_ids(tx, [contract_id], lock=True)
    if contract_id not in found:
        raise NotFound
    return found[contract_id]


async def _check_partner(tx: Write, partner_id: UUID) -> None:
    answer = (await partner.known(tx, [partner_id]))[partner_id]
    if isinstance(answer, Refusal):
        partner.refuse(answer, *_REFUSALS)


def _announcements(before: Contract, versions: Sequence[ContractVersion]) -> list[Announcement]:
    command = uuid7()
    return [
        Announcement(
            PARTNER_CONTRACT_APPROVED,
            before.contract_id,
            before.stream_version + step,
            ContractBody(
                version=each.version,
                partner_id=before.partner_id,
                valid_from=each.valid_from,
                valid_to=each.valid_to,
                time_zone=each.time_zone,
                plan_codes=each.plan_codes,
                terms_hash=each.terms_hash,
            ),
            command,
        )
        for step, each in enumerate(versions, start=1)
    ]
