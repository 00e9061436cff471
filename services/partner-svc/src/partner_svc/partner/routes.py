"""Partners over HTTP. A partner's own client sees its own row only; changes are for staff."""

import asyncio
from datetime import datetime, tzinfo
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query, Request, Response
from pydantic import AfterValidator, BeforeValidator

from channel_kit import auth, idempotency
from channel_kit.auth import Caller
from channel_kit.database import Write
from channel_kit.files import BadFile, ImportReport, RowVerdict, Table, read_table, upload_body
from channel_kit.http import Body, IfMatch, Router, View, database, etag, json_body
from channel_kit.idempotency import IdempotencyKey
from channel_kit.pagination import Cursor, Page
from channel_kit.problems import NotFound, Problem
from partner_svc.partner import actions, rules, store
from partner_svc.partner.rules import ImportRow, Partner

ROWS_MAX = 20_000

router = Router(tags=["partners"])

Code = Annotated[str, AfterValidator(rules.clean_code)]
Name = Annotated[str, AfterValidator(rules.clean_name)]
Moment = Annotated[datetime, BeforeValidator(rules.moment)]
State = Literal["active", "suspended", "terminated"]
Reader = Annotated[Caller, auth.scope("partners:read")]
Writer = Annotated[Caller, auth.scope("partners:write", staff=True)]


class PreconditionRequired(Problem):
    status = 428
    code = "precondition-required"
    title = "Send If-Match with the ETag of the state that you change"


class RegisterPartner(Body):
    """A new partner. `kind` is yours to choose: brand, distributor, reseller, store, platform-operator …"""

    code: Code
    name: Name
    kind: Code
    parent_id: UUID | None = None
    effective_from: Moment | None = None


class ChangePartner(Body):
    """Only what is sent changes; `parent_id: null` takes the parent away. `reason` is kept with a new state.

    The defaults are never used: they stand for "not sent", so that null can be refused.
    """

    name: Name = ""
    kind: Code = ""
    state: State = "active"
    parent_id: UUID | None = None
    effective_from: Moment = rules.EARLIEST
    reason: Name | None = None


class PartnerView(View):
    """A partner. `revision` is its ETag."""

    partner_id: UUID
    code: str
    name: str
    kind: str
    state: str
    parent_id: UUID | None
    effective_from: datetime
    revision: int


def view(partner: Partner) -> PartnerView:
    return PartnerView.model_validate(partner, from_attributes=True)


@router.post("/v1/partners", status_code=201, response_model=PartnerView)
async def register_partner(
    command: Annotated[RegisterPartner, json_body(RegisterPartner)],
    caller: Writer,
    key: IdempotencyKey,
    request: Request,
) -> Response:
    """Register a partner. 409 `code-taken`, 422 `unknown-parent`."""

    async def run(tx: Write) -> Response:
        async def create() -> tuple[int, PartnerView]:
            partner = actions.new_partner(**dict(command))
            return 201, view(await actions.register(tx, partner))

        mark = idempotency.fingerprint(command)
        return await idempotency.once(tx, caller, "POST /v1/partners", key, mark, create)

    response = await database(request).transact(actions.staff(caller), run)
    response.headers["ETag"] = etag(1)
    return response


@router.get("/v1/partners")
async def list_partners(
    caller: Reader,
    cursor: Cursor,
    request: Request,
    code: Annotated[str | None, Query(max_length=100)] = None,
    state: State | None = None,
    search: Annotated[str | None, Query(max_length=100)] = None,
) -> Page[PartnerView]:
    """Partners by code. `search` finds a part of the code or the name."""
    (after,) = cursor.values(str) or (None,)
    async with database(request).read(caller.actor) as tx:
        found = await store.page(
            tx, code=code, state=state, search=search, after=after, limit=cursor.limit + 1
        )
    shown = found[: cursor.limit]
    return cursor.page([view(each) for each in shown], len(found), [each.code for each in shown[-1:]])


@router.get("/v1/partners/{partner_id}")
async def read_partner(partner_id: UUID, caller: Reader, request: Request, response: Response) -> PartnerView:
    """One partner, with its ETag."""
    async with database(request).read(caller.actor) as tx:
        found = await store.by_ids(tx, [partner_id])
    if partner_id not in found:
        raise NotFound
    response.headers["ETag"] = etag(found[partner_id].revision)
    return view(found[partner_id])


@router.patch("/v1/partners/{partner_id}")
async def change_partner(
    partner_id: UUID,
    command: Annotated[ChangePartner, json_body(ChangePartner)],
    caller: Writer,
    revision: IfMatch,
    request: Request,
    response: Response,
) -> PartnerView:
    """Change a partner as it was read (If-Match). 409 `state-not-allowed`, `parent-cycle`; 412, 428."""
    if revision is None:
        raise PreconditionRequired
    changes = {name: getattr(command, name) for name in command.model_fields_set - {"reason"}}

    async def run(tx: Write) -> Partner:
        return await actions.change(
            tx, partner_id, revision, changes, actor=caller.subject, reason=command.reason
        )

    partner = await database(request).transact(actions.staff(caller), run)
    response.headers["ETag"] = etag(partner.revision)
    return view(partner)


@router.post("/v1/partners/import")
async def import_partners(
    raw: Annotated[bytes, upload_body()], caller: Writer, request: Request
) -> ImportReport:
    """Register and change partners from a CSV file: code, name, kind, parent_code, effective_from.

    A column that is missing changes nothing; an empty parent_code takes the parent away. The same file again
    changes nothing.
    """
    actor = actions.staff(caller)
    table = await asyncio.to_thread(read_table, raw, required=("code", "name"))
    if len(table.rows) > ROWS_MAX:
        raise BadFile(f"Send at most {ROWS_MAX} rows at a time.")
    rows, refused = _read_rows(table, request.app.state.zone)

    async def run(tx: Write) -> list[rules.Verdict]:
        return await actions.import_rows(tx, rows)

    judged = [
        RowVerdict(line=each.line, outcome=each.outcome, reason=each.refusal and each.refusal.detail)
        for each in await database(request).transact(actor, run)
    ]
    return ImportReport.of([*judged, *refused])


def _read_rows(table: Table, zone: tzinfo) -> tuple[list[ImportRow], list[RowVerdict]]:
    """The rows that can be read, and a verdict on the others."""
    rows: list[ImportRow] = []
    refused: list[RowVerdict] = []
    for line, cells in table.numbered():
        column = "code"
        try:
            code = rules.clean_code(cells[column])
            name = rules.clean_name(cells[column := "name"])
            kind = rules.clean_code(text) if (text := cells.get(column := "kind", "")) else None
            parent = cells.get(column := "parent_code")
            parent = rules.clean_code(parent) if parent else parent
            text = cells.get(column := "effective_from", "")
            start = rules.moment_or_day(text, zone) if text else None
        except ValueError as error:
            refused.append(RowVerdict(line=line, outcome="refused", reason=f"{column}: {error}"))
            continue
        rows.append(ImportRow(line, code, name, kind, parent, start))
    return rows, refused
