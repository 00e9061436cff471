"""Contracts over HTTP. A partner's own client sees what is approved for it; drafts and changes are for staff."""

import json
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Path, Query, Request, Response
from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator

from channel_kit import auth, idempotency
from channel_kit.auth import Caller
from channel_kit.database import Write
from channel_kit.http import Body, Router, View, database, etag, json_body
from channel_kit.idempotency import IdempotencyKey
from channel_kit.pagination import Cursor, Page
from channel_kit.problems import NotFound
from partner_svc.contract import actions, rules, store
from partner_svc.contract.actions import Draft
from partner_svc.contract.rules import Contract
from partner_svc.partner import actions as partner
from partner_svc.partner import rules as texts

router = Router(tags=["contracts"])

Code = Annotated[str, AfterValidator(texts.clean_code)]
Moment = Annotated[datetime, BeforeValidator(texts.moment)]
Zone = Annotated[str, AfterValidator(rules.known_zone)]
Reader = Annotated[Caller, auth.scope("partners:read")]
Writer = Annotated[Caller, auth.scope("partners:write", staff=True)]


class DraftVersion(Body):
    """What a contract version says. `terms` is any JSON object; its hash is announced, never its content."""

    valid_from: Moment
    valid_to: Moment | None = None
    time_zone: Zone
    plan_codes: Annotated[list[Code], Field(max_length=rules.PLAN_CODES_MAX, default_factory=list)]
    terms: Annotated[dict[str, JsonValue], Field(default_factory=dict)]

    @model_validator(mode="after")
    def _sound(self) -> "DraftVersion":
        if self.valid_to is not None and self.valid_to <= self.valid_from:
            raise ValueError("valid_to must be later than valid_from")
        if len(set(self.plan_codes)) != len(self.plan_codes):
            raise ValueError("plan_codes must not repeat")
        rules.canonical_terms(self.terms)
        return self

    def draft(self) -> Draft:
        """The version without its number."""
        terms, terms_hash = rules.canonical_terms(self.terms)
        codes = tuple(sorted(self.plan_codes))
        return Draft(self.valid_from, self.valid_to, self.time_zone, codes, terms, terms_hash)


class OpenContract(DraftVersion):
    """A new contract and its first version."""

    code: Code
    partner_id: UUID


class VersionView(View):
    version: int
    state: str
    valid_from: datetime
    valid_to: datetime | None
    time_zone: str
    plan_codes: list[str]
    terms: dict[str, Any]
    terms_hash: str
    author: str
    approver: str | None
    approved_at: datetime | None


class ContractView(View):
    """A contract with its versions, ascending. `revision` is its ETag."""

    contract_id: UUID
    code: str
    partner_id: UUID
    revision: int
    versions: list[VersionView]


def view(contract: Contract) -> ContractView:
    return ContractView(
        contract_id=contract.contract_id,
        code=contract.code,
        partner_id=contract.partner_id,
        revision=contract.revision,
        versions=[
            VersionView(
                version=each.version,
                state=each.state,
                valid_from=each.valid_from,
                valid_to=each.valid_to,
                time_zone=each.time_zone,
                plan_codes=list(each.plan_codes),
                terms=json.loads(each.terms),
                terms_hash=each.terms_hash,
                author=each.author,
                approver=each.approver,
                approved_at=each.approved_at,
            )
            for each in contract.versions
        ],
    )


@router.post("/v1/contracts", status_code=201, response_model=ContractView)
async def open_contract(
    command: Annotated[OpenContract, json_body(OpenContract)],
    caller: Writer,
    key: IdempotencyKey,
    request: Request,
) -> Response:
    """Open a contract with a first draft. 409 `code-taken`, `partner-terminated`; 422 `unknown-partner`."""

    async def run(tx: Write) -> Response:
        async def create() -> tuple[int, ContractView]:
            draft = command.draft()
            return 201, view(
                await actions.open_contract(tx, command.code, command.partner_id, draft, caller.subject)
            )

        mark = idempotency.fingerprint(command)
        return await idempotency.once(tx, caller, "POST /v1/contracts", key, mark, create)

    response = await database(request).transact(partner.staff(caller), run)
    response.headers["ETag"] = etag(1)
    return response


@router.post("/v1/contracts/{contract_id}/versions", status_code=201, response_model=ContractView)
async def amend_contract(
    contract_id: UUID,
    command: Annotated[DraftVersion, json_body(DraftVersion)],
    caller: Writer,
    key: IdempotencyKey,
    request: Request,
) -> Response:
    """Add a draft; its number is the next one."""

    async def run(tx: Write) -> Response:
        async def create() -> tuple[int, ContractView]:
            return 201, view(await actions.amend(tx, contract_id, command.draft(), caller.subject))

        mark = idempotency.fingerprint(command)
        route = f"POST /v1/contracts/{contract_id}/versions"
        return await idempotency.once(tx, caller, route, key, mark, create)

    return await database(request).transact(partner.staff(caller), run)


@router.post("/v1/contracts/{contract_id}/versions/{version}/approve")
async def approve_version(
    contract_id: UUID,
    version: Annotated[int, Path(ge=1, le=1_000_000)],
    caller: Writer,
    request: Request,
    response: Response,
) -> ContractView:
    """Put a draft in force for ever. It ends the version before it, and both are announced. 404, 409."""

    async def run(tx: Write) -> Contract:
        return await actions.approve(tx, contract_id, version, caller.subject)

    contract = await database(request).transact(partner.staff(caller), run)
    response.headers["ETag"] = etag(contract.revision)
    return view(contract)


@router.get("/v1/contracts")
async def list_contracts(
    caller: Reader,
    cursor: Cursor,
    request: Request,
    partner_id: UUID | None = None,
    code: Annotated[str | None, Query(max_length=100)] = None,
) -> Page[ContractView]:
    """Contracts by code."""
    (after,) = cursor.values(str) or (None,)
    async with database(request).read(caller.actor) as tx:
        found = await store.page(
            tx,
            partner_id=partner_id,
            code=code,
            drafts=caller.partner_id is None,
            after=after,
            limit=cursor.limit + 1,
        )
    shown = found[: cursor.limit]
    return cursor.page([view(each) for each in shown], len(found), [each.code for each in shown[-1:]])


@router.get("/v1/contracts/{contract_id}")
async def read_contract(
    contract_id: UUID, caller: Reader, request: Request, response: Response
) -> ContractView:
    """One contract with its versions, and its ETag."""
    drafts = caller.partner_id is None
    async with database(request).read(caller.actor) as tx:
        contract = (await store.by_ids(tx, [contract_id], drafts=drafts)).get(contract_id)
    if contract is None or not (drafts or contract.versions):
        raise NotFound
    response.headers["ETag"] = etag(contract.revision)
    return view(contract)
