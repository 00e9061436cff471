"""Shop bindings over HTTP. A partner's own client sees its own bindings only; changes are for staff."""

import asyncio
from datetime import datetime, tzinfo
from typing import Annotated
from uuid import UUID

from fastapi import Path, Query, Request
from pydantic import AfterValidator, BeforeValidator

from channel_kit import auth
from channel_kit.auth import Caller
from channel_kit.database import Write
from channel_kit.files import BadFile, ImportReport, RowVerdict, Table, read_table, upload_body
from channel_kit.http import Body, Router, View, database, json_body
from channel_kit.pagination import Cursor, Page
from channel_kit.problems import NotFound
from partner_svc.partner import actions as partner
from partner_svc.partner import rules as texts
from partner_svc.partner.rules import Refusal
from partner_svc.shop import actions, rules, store
from partner_svc.shop.actions import BindRequest, Bound
from partner_svc.shop.rules import Binding, Shop

ROWS_MAX = 20_000

router = Router(tags=["shops"])

Code = Annotated[str, AfterValidator(texts.clean_code)]
Moment = Annotated[datetime, BeforeValidator(texts.moment)]
Platform = Annotated[str, Path(description="such as shopify or pos"), AfterValidator(rules.platform_name)]
ShopId = Annotated[str, Path(description="the platform's own id"), AfterValidator(texts.foreign_id)]
Reader = Annotated[Caller, auth.scope("partners:read")]
Writer = Annotated[Caller, auth.scope("partners:write", staff=True)]


class BindShop(Body):
    """From `valid_from` until just before `valid_to` (null: open) the shop sells for this partner.

    `replace` overwrites what is bound in that time; without it an overlap is refused.
    """

    partner_id: UUID
    channel: Code
    valid_from: Moment
    valid_to: Moment | None = None
    replace: bool = False


class CloseShop(Body):
    """Nothing is bound from this instant on."""

    valid_to: Moment


class BindingView(View):
    partner_id: UUID
    channel: str
    valid_from: datetime
    valid_to: datetime | None


class ShopView(View):
    """A shop with its bindings by time."""

    platform: str
    shop_id: str
    bindings: list[BindingView]


def view(shop: Shop) -> ShopView:
    bindings = [BindingView.model_validate(each, from_attributes=True) for each in shop.bindings]
    return ShopView(platform=shop.platform, shop_id=shop.shop_id, bindings=bindings)


@router.post("/v1/shops/{platform}/{shop_id:path}/bindings")
async def bind_shop(
    platform: Platform,
    shop_id: ShopId,
    command: Annotated[BindShop, json_body(BindShop)],
    caller: Writer,
    request: Request,
) -> ShopView:
    """Bind a shop; the same again changes nothing. 409 `binding-overlap`, `partner-terminated`; 422."""
    binding = Binding(command.partner_id, command.channel, command.valid_from, command.valid_to)
    wanted = BindRequest(platform, shop_id, binding, command.replace)

    async def run(tx: Write) -> Shop:
        (answer,) = await actions.bind(tx, [wanted])
        if isinstance(answer, Refusal):
            partner.refuse(answer, *actions.REFUSALS)
        return answer.shop

    return view(await database(request).transact(partner.staff(caller), run))


@router.post("/v1/shops/{platform}/{shop_id:path}/bindings/close")
async def close_shop(
    platform: Platform,
    shop_id: ShopId,
    command: Annotated[CloseShop, json_body(CloseShop)],
    caller: Writer,
    request: Request,
) -> ShopView:
    """End the shop's bindings at an instant; what would begin later is taken away."""

    async def run(tx: Write) -> Shop:
        return await actions.close(tx, platform, shop_id, command.valid_to)

    return view(await database(request).transact(partner.staff(caller), run))


@router.get("/v1/shops")
async def list_shops(
    caller: Reader,
    cursor: Cursor,
    request: Request,
    partner_id: UUID | None = None,
    platform: Annotated[str | None, Query(max_length=40)] = None,
) -> Page[ShopView]:
    """Bound shops by platform and id; `partner_id` keeps those that are, were or will be bound to it."""
    async with database(request).read(caller.actor) as tx:
        found = await store.page(
            tx,
            partner_id=partner_id,
            platform=platform,
            after=cursor.values(str, str),
            limit=cursor.limit + 1,
        )
        shown = await actions.read(tx, found[: cursor.limit])
    last = (shown[-1].platform, shown[-1].shop_id) if shown else ()
    return cursor.page([view(each) for each in shown], len(found), last)


@router.get("/v1/shops/{platform}/{shop_id:path}")
async def read_shop(platform: Platform, shop_id: ShopId, caller: Reader, request: Request) -> ShopView:
    """A shop's bindings; 404 when none of them is yours to see."""
    async with database(request).read(caller.actor) as tx:
        found = await actions.read(tx, [(platform, shop_id)])
    if not found:
        raise NotFound
    return view(found[0])


@router.post("/v1/shops/import")
async def import_bindings(
    raw: Annotated[bytes, upload_body()], caller: Writer, request: Request, replace: bool = False
) -> ImportReport:
    """Bind shops from a CSV file: platform, shop_id, partner_code, channel, valid_from, valid_to.

    The same file again changes nothing. `replace` is as in a single binding, for every row.
    """
    actor = partner.staff(caller)
    required = ("platform", "shop_id", "partner_code", "channel", "valid_from")
    table = await asyncio.to_thread(read_table, raw, required=required)
    if len(table.rows) > ROWS_MAX:
        raise BadFile(f"Send at most {ROWS_MAX} rows at a time.")
    zone = request.app.state.zone

    async def run(tx: Write) -> list[RowVerdict]:
        partners = await partner.ids_by_code(tx, [cells["partner_code"] for cells in table.rows])
        wanted, verdicts = _read_rows(table, partners, zone, overwrite=replace)
        answers = await actions.bind(tx, [request for _, request in wanted])
        verdicts += [_verdict(line, answer) for (line, _), answer in zip(wanted, answers, strict=True)]
        return verdicts

    return ImportReport.of(await database(request).transact(actor, run))


def _read_rows(
    table: Table, partners: dict[str, UUID], zone: tzinfo, *, overwrite: bool
) -> tuple[list[tuple[int, BindRequest]], list[RowVerdict]]:
    """The rows that can be read, and a verdict on the others."""
    wanted: list[tuple[int, BindRequest]] = []
    refused: list[RowVerdict] = []
    for line, cells in table.numbered():
        column = "platform"
        try:
            platform = rules.platform_name(cells[column])
            shop_id = texts.foreign_id(cells[column := "shop_id"])
            partner_id = partners.get(cells[column := "partner_code"])
            if partner_id is None:
                raise ValueError("no partner has this code")
            channel = texts.clean_code(cells[column := "channel"])
            start = texts.moment_or_day(cells[column := "valid_from"], zone)
            text = cells.get(column := "valid_to", "")
            end = texts.moment_or_day(text, zone) if text else None
        except ValueError as error:
            refused.append(RowVerdict(line=line, outcome="refused", reason=f"{column}: {error}"))
            continue
        wanted.append(
            (line, BindRequest(platform, shop_id, Binding(partner_id, channel, start, end), overwrite))
        )
    return wanted, refused


def _verdict(line: int, answer: Bound | Refusal) -> RowVerdict:
    if isinstance(answer, Refusal):
        return RowVerdict(line=line, outcome="refused", reason=answer.detail)
    return RowVerdict(line=line, outcome="changed" if answer.changed else "unchanged")
