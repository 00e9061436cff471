"""What can be done to shops: bind them to partners, and end what is bound.

One event for a shop and transaction, with the whole list of its bindings, however many of them changed.
Called by this noun's routes.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from channel_events import partner as events
from channel_events.catalog import PARTNER_SHOP_BOUND
from channel_kit.database import Read, Write
from channel_kit.ids import uuid7
from channel_kit.outbox import Announcement, announce
from channel_kit.problems import Conflict, NotFound, Unprocessable
from partner_svc.partner import actions as partner
from partner_svc.partner.rules import Refusal
from partner_svc.shop import rules, store
from partner_svc.shop.rules import Binding, Shop


class BindingOverlap(Conflict):
    code = "binding-overlap"
    title = "The shop is bound already in that time; choose another time or send replace"


class TooManyBindings(Conflict):
    code = "too-many-bindings"
    title = "The shop has as many bindings as one event can carry"


class EmptyValidity(Unprocessable):
    code = "empty-validity"
    title = "The validity holds no moment; valid_to must be later than valid_from"


REFUSALS = (
    BindingOverlap,
    TooManyBindings,
    EmptyValidity,
    partner.UnknownPartner,
    partner.PartnerTerminated,
)


class BindRequest(NamedTuple):
    """Bind a shop; with `overwrite`, over whatever is bound in that time."""

    platform: str
    shop_id: str
    binding: Binding
    overwrite: bool


class Bound(NamedTuple):
    """The shop after a request, and whether the request changed it."""

    shop: Shop
    changed: bool


async def bind(tx: Write, requests: Sequence[BindRequest]) -> list[Bound | Refusal]:
    """Do each request on what those before it left; the answers stand in the same order."""
    partners = await partner.known(tx, sorted({each.binding.partner_id for each in requests}))
    fit = {
        (each.platform, each.shop_id)
        for each in requests
        if not isinstance(partners[each.binding.partner_id], Refusal)
    }
    before = await store.lock(tx, sorted(fit))
    after = dict(before)
    answers: list[Bound | Refusal] = []
    for request in requests:
        refusal = partners[request.binding.partner_id]
        if isinstance(refusal, Refusal):
            answers.append(refusal)
            continue
        key = (request.platform, request.shop_id)
        shop = after[key]
        bindings = rules.bind(shop.bindings, request.binding, overwrite=request.overwrite)
        if isinstance(bindings, Refusal):
            answers.append(bindings)
            continue
        after[key] = replace(shop, bindings=bindings)
        answers.append(Bound(after[key], after[key] != shop))
    await _save(tx, [(before[key], after[key]) for key in sorted(before)])
    return answers


async def close(tx: Write, platform: str, shop_id: str, valid_to: datetime) -> Shop:
    """End every binding of the shop at `valid_to`. Raises `NotFound` for a shop without bindings."""
    shop = (await store.lock(tx, [(platform, shop_id)]))[platform, shop_id]
    if not shop.bindings:
        raise NotFound
    after = replace(shop, bindings=rules.close(shop.bindings, valid_to))
    await _save(tx, [(shop, after)])
    return after


async def read(tx: Read, keys: Sequence[store.Key]) -> list[Shop]:
    """These shops as the caller may see them, in this order; those it may not see are left out."""
    bindings = await store.of_shops(tx, keys)
    return [Shop(*key, bindings[key]) for key in keys if key in bindings]


async def _save(tx: Write, pairs: Sequence[tuple[Shop, Shop]]) -> None:
    changed = [
        (old, replace(new, stream_version=old.stream_version + 1))
        for old, new in pairs
        if old.bindings != new.bindings
    ]
    if not changed:
        return
    await store.save(tx, changed)
    command = uuid7()
    await announce(
        tx,
        [
            Announcement(
                PARTNER_SHOP_BOUND,
                events.shop_aggregate_id(shop.platform, shop.shop_id),
                shop.stream_version,
                _body(shop),
                command,
            )
            for _, shop in changed
        ],
    )


def _body(shop: Shop) -> events.ShopBody:
    return events.ShopBody(
        platform=shop.platform,
        shop_id=shop.shop_id,
        bindings=tuple(
            events.Binding(
                partner_id=each.partner_id,
                channel=each.channel,
                valid_from=each.valid_from,
                valid_to=each.valid_to,
            )
            for each in shop.bindings
        ),
    )
