"""The tables of shops: `shop` (the head that is locked and counts announcements) and `binding`.

A binding names its shop in full, so that a partner can read its own without seeing that other shops exist. The
database itself keeps bindings of one shop apart in time (constraint `binding_overlap`).
"""

from collections.abc import Sequence
from uuid import UUID

from channel_kit.database import Read, Write
from partner_svc.shop.rules import Binding, Shop

Key = tuple[str, str]
"""(platform, shop_id)."""


async def lock(tx: Write, keys: Sequence[Key]) -> dict[Key, Shop]:
    """The shops with all their bindings, locked in order; a shop nobody heard of yet gets its head here."""
    platforms, shop_ids = _split(sorted(set(keys)))
    await tx.execute(
        """
        insert into shop (platform, shop_id)
        select platform, shop_id from unnest($1::text[], $2::text[]) as k(platform, shop_id)
        on conflict do nothing
        """,
        platforms,
        shop_ids,
    )
    heads = await tx.rows(
        """
        select platform, shop_id, stream_version from shop
        where (shop_id, platform) in (select k.shop_id, k.platform
                                      from unnest($1::text[], $2::text[]) as k(platform, shop_id))
        order by platform collate "C", shop_id collate "C" for no key update
        """,
        platforms,
        shop_ids,
    )
    bindings = await of_shops(tx, keys)
    return {
        (head.platform, head.shop_id): Shop(
            head.platform, head.shop_id, bindings.get((head.platform, head.shop_id), ()), head.stream_version
        )
        for head in heads
    }


async def of_shops(tx: Read, keys: Sequence[Key]) -> dict[Key, tuple[Binding, ...]]:
    """The visible bindings of these shops, by time; shops without any are left out."""
    rows = await tx.rows(
        """
        select b.platform, b.shop_id, b.partner_id, b.channel, b.valid_from, b.valid_to
        from unnest($1::text[], $2::text[]) as k(platform, shop_id)
        join binding b using (shop_id, platform)
        order by b.valid_from
        """,
        *_split(sorted(set(keys))),
    )
    found: dict[Key, list[Binding]] = {}
    for row in rows:
        found.setdefault((row.platform, row.shop_id), []).append(
            Binding(row.partner_id, row.channel, row.valid_from, row.valid_to)
        )
    return {key: tuple(bindings) for key, bindings in found.items()}


async def save(tx: Write, changes: Sequence[tuple[Shop, Shop]]) -> None:
    """Make the bindings and the stream versions of locked shops those of the second of each pair."""
    gone = [(old, each) for old, new in changes for each in old.bindings if each not in new.bindings]
    added = [(new, each) for old, new in changes for each in new.bindings if each not in old.bindings]
    if gone:
        await tx.execute(
            """
            delete from binding b
            using unnest($1::text[], $2::text[], $3::timestamptz[]) as g(platform, shop_id, valid_from)
            where b.shop_id = g.shop_id and b.platform = g.platform and b.valid_from = g.valid_from
            """,
            [shop.platform for shop, _ in gone],
            [shop.shop_id for shop, _ in gone],
            [each.valid_from for _, each in gone],
        )
    if added:
        await tx.execute(
            """
            insert into binding (platform, shop_id, partner_id, channel, valid_from, valid_to)
            select * from unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::timestamptz[],
                                 $6::timestamptz[])
            """,
            [shop.platform for shop, _ in added],
            [shop.shop_id for shop, _ in added],
            [each.partner_id for _, each in added],
            [each.channel for _, each in added],
            [each.valid_from for _, each in added],
            [each.valid_to for _, each in added],
        )
    await tx.execute(
        """
        update shop s set stream_version = n.stream_version
        from unnest($1::text[], $2::text[], $3::bigint[]) as n(platform, shop_id, stream_version)
        where s.shop_id = n.shop_id and s.platform = n.platform
        """,
        [new.platform for _, new in changes],
        [new.shop_id for _, new in changes],
        [new.stream_version for _, new in changes],
    )


async def page(
    tx: Read, *, partner_id: UUID | None, platform: str | None, after: Key | None, limit: int
) -> list[Key]:
    """Shops with a visible binding, by (platform, shop_id), from after `after`; of one partner, if given."""
    after_platform, after_shop = after or (None, None)
    rows = await tx.rows(
        """
        select distinct platform, shop_id from binding
        where ($1::uuid is null or partner_id = $1) and ($2::text is null or platform = $2)
          and ($3::text is null or (platform, shop_id) > ($3, $4))
        order by platform, shop_id limit $5
        """,
        partner_id,
        platform,
        after_platform,
        after_shop,
        limit,
    )
    return [(row.platform, row.shop_id) for row in rows]


def _split(keys: Sequence[Key]) -> tuple[list[str], list[str]]:
    return [platform for platform, _ in keys], [shop_id for _, shop_id in keys]
