"""The database itself, when nothing else helps: no filter, no context, any statement of the product, any connection.

Row level security is read from the catalogue, so that a new table is in here by being there, and then tried: with
the statements that the product really sends, as B and as nobody, and with connections that change hands.
"""

import asyncio
import random
from contextlib import suppress
from typing import Any

import pytest
from asyncpg import PostgresError

from channel_kit.database import OWNER, STAFF, Actor, Database, Read, sqlstate

from .conftest import Judge
from .house import TABLES, House, names_a, said
from .operations import OPEN_TO_PARTNERS, PUBLIC, A, B
from .test_two_partners import finds, given_of, open_to

TURNS = 2_240
"""Of each service's pool, which change hands each time: 10,000 that come through, with all five."""
NOBODY = Actor("partner")
DENIED = "42501"

SHARED = {
    "signing_key": "the public keys of tokens",
    "ledger_block": "hashes of the sealed ledger, for everybody to hold on to",
    "ledger_block_entry": "in which block an entry is: ids and numbers",
    "item_name": "what the brand calls its items",
    "feed_freshness": "how new the figures are",
}
"""What partners may read although it names no partner, and why."""


async def names(house: House, condition: str, *args: Any) -> list[str]:
    """Tables of which something is true."""
    async with house.database.read(OWNER) as tx:
        sql = TABLES.replace("order by 1", f"and {condition} order by 1")
        return [row.name for row in await tx.rows(sql, *args)]


HAS_PARTNER = "exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'partner_id' and not a.attisdropped)"
READABLE = "has_table_privilege($1, c.oid, 'select')"


async def rows(tx: Read, table: str) -> list[str]:
    return [row.text for row in await tx.rows(f"select t::text as text from {table} t")]  # noqa: S608


async def test_every_table_that_names_a_partner_is_protected_by_force(house: House) -> None:
    named = await names(house, HAS_PARTNER)
    assert named
    unforced = await names(house, f"{HAS_PARTNER} and not (c.relrowsecurity and c.relforcerowsecurity)")
    assert unforced == []
    async with house.database.read(OWNER) as tx:
        for table in named:
            policies = await tx.rows(
                """
                select cmd, qual, with_check from pg_policies
                where schemaname = 'public' and tablename = $1 and $2 = any(roles)
                """,
                table,
                f"{house.name}_partner",
            )
            assert len(policies) == 1, f"{table}: a second policy would widen the first"
            words = policies[0].qual, policies[0].with_check or policies[0].qual
            assert all("partner_id = " in each and "'app.partner'" in each for each in words), table
            everybody = await tx.value(
                "select count(*) from pg_policies where tablename = $1 and 'public' = any(roles)", table
            )
            assert everybody == 0, table


async def test_what_partners_may_read_is_protected_or_meant_for_all(house: House) -> None:
    readable = await names(house, READABLE, f"{house.name}_partner")
    protected = await names(house, "c.relrowsecurity and c.relforcerowsecurity")
    assert sorted(set(readable) - set(protected) - set(SHARED)) == []


async def test_nobody_who_serves_owns_or_bypasses(house: House) -> None:
    roles = [f"{house.name}_{role}" for role in ("api", "staff", "partner", "worker")]
    async with house.database.read(OWNER) as tx:
        found = await tx.rows(
            "select rolname::text as name, rolsuper or rolbypassrls as free from pg_roles where rolname = any($1)",
            roles,
        )
        assert sorted(row.name for row in found) == sorted(roles)
        assert [row.name for row in found if row.free] == []
        owners = await tx.rows(
            "select distinct pg_get_userbyid(c.relowner)::text as name from pg_class c "
            "where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')"
        )
        assert not {row.name for row in owners} & set(roles)
        doors = await tx.value(
            """
            select count(*) from pg_proc p where p.pronamespace = 'public'::regnamespace and p.prosecdef
              and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
            """
        )
        views = await tx.value(
            "select count(*) from pg_class where relnamespace = 'public'::regnamespace and relkind in ('v', 'm')"
        )
        assert (doors, views) == (0, 0), "a view or a function of its owner would see every row"


async def test_without_any_filter_a_partner_gets_its_own_rows(house: House, judged: Judge) -> None:
    """`select *` of every table, as A, as B and as nobody."""
    named = await names(house, HAS_PARTNER)
    readable = await names(house, READABLE, f"{house.name}_partner")
    protected = await names(house, "c.relrowsecurity")
    leaks = []
    for table in sorted({*named, *readable}):
        async with house.database.read(OWNER) as tx:
            planted = [text for text in await rows(tx, table) if names_a(text)]
        assert planted or table not in named, f"{table}: nothing of A's is planted there, so nothing is tried"
        for actor in (A, B, None):
            try:
                async with house.database.read(NOBODY if actor is None else Actor.partner(actor)) as tx:
                    seen = await rows(tx, table)
            except PostgresError as error:
                assert (sqlstate(error), table in readable) == (DENIED, False), table  # noqa: PT017
                continue
            assert table in readable, table
            if actor == A:
                assert not planted or any(map(names_a, seen)) or table not in named, table
                continue
            clean = not any(map(names_a, seen)) and not (actor is None and table in protected and seen)
            judged(house.name, "tables without a filter: B and nobody", clean)
            if not clean:
                leaks.append((table, actor, seen[:1]))
    assert leaks == []


async def test_a_partner_writes_nothing_of_another(house: House) -> None:
    """What the role may change at all is protected or can only be added to; everything else is refused."""
    role = f"{house.name}_partner"
    changeable = await names(house, "has_table_privilege($1, c.oid, 'update, delete, truncate')", role)
    protected = await names(house, "c.relrowsecurity and c.relforcerowsecurity")
    assert sorted(set(changeable) - set(protected)) == []
    before = await house.content(only_of_a=True)
    for table in await names(house, HAS_PARTNER):
        for actor in (Actor.partner(B), NOBODY):
            for statement in (
                f"delete from {table}",  # noqa: S608
                f"update {table} set partner_id = '{B}'",  # noqa: S608  our own names
                f"insert into {table} (partner_id) values ('{A}')",  # noqa: S608
                f"truncate {table}",
                f"alter table {table} disable row level security",
            ):
                with pytest.raises(PostgresError) as refused:
                    async with house.database.write(actor) as tx:
                        await tx.execute(statement)
                assert sqlstate(refused.value) == DENIED, (table, statement)
    assert await house.content(only_of_a=True) == before


async def test_every_statement_of_the_product_finds_nothing_of_a_for_b(
    house: House, judged: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The saboteur that drops the partner filter, whichever it is: what staff and A sent to the database for all that
    is A's is sent again, letter for letter, as B and as nobody."""
    sent: dict[str, tuple[str, tuple[Any, ...]]] = {}
    ours = {name: getattr(Read, name) for name in ("rows", "row", "value")}

    def recording(name: str) -> Any:
        async def call(tx: Read, sql: str, *args: Any) -> Any:
            sent[repr((sql, args))] = (sql, args)
            return await ours[name](tx, sql, *args)

        return call

    with monkeypatch.context() as patch:
        for name in ours:
            patch.setattr(Read, name, recording(name))
        for operation in house.operations:
            if operation.writes or operation.name in PUBLIC or "/admin/" in operation.path:
                continue
            for partner in (None, A):
                await house.ask(
                    operation, OPEN_TO_PARTNERS.get(operation.name) or {}, *operation.scopes, partner=partner
                )
    telling = 0
    leaks = []
    for sql, args in sent.values():
        async with house.database.read(STAFF) as tx:
            telling += any(names_a(repr(tuple(row))) for row in await tx.rows(sql, *args))
        for actor in (Actor.partner(B), NOBODY):
            try:
                async with house.database.read(actor) as tx:
                    found = await tx.rows(sql, *args)
            except PostgresError as error:
                assert sqlstate(error) == DENIED, sql  # noqa: PT017  both ends are right
                found = []
            clean = not any(names_a(repr(tuple(row))) for row in found)
            judged(house.name, "statements of the product: B and nobody", clean)
            if not clean:
                leaks.append((actor, sql, args))
    assert telling >= len(open_to(house, writes=False)), "the statements are not those that find what is A's"
    assert leaks == []


async def test_a_forgotten_context_shows_nobody_anything(
    house: House, judged: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The saboteur that opens transactions in the partner's role, but does not say which partner it is."""
    opening = Database._opening
    monkeypatch.setattr(
        Database,
        "_opening",
        lambda self, actor: opening(self, NOBODY if actor.kind == "partner" else actor),
    )
    for operation in open_to(house, writes=False):
        mine = await house.ask(operation, given_of(operation), *operation.scopes, partner=A)
        theirs = await house.ask(operation, given_of(operation), *operation.scopes, partner=B)
        clean = not names_a(mine.text) and said(mine) == said(theirs)
        judged(house.name, "A without a context", clean)
        assert clean, (operation.name, mine.text)
    assert all(clean for _, _, clean in await finds(house))


async def test_connections_that_change_hands_forget_whose_they_were(house: House, judged: Judge) -> None:
    """A → B → nobody → staff over a pool of five, some of them failing or cancelled half-way."""
    tables = [
        table
        for table in await names(house, HAS_PARTNER)
        if table in await names(house, READABLE, f"{house.name}_partner")
    ]
    every = " union all ".join(f"select partner_id from {table}" for table in tables)  # noqa: S608
    actors: tuple[tuple[Actor, set[Any]], ...] = (
        (Actor.partner(A), {A}),
        (Actor.partner(B), {B}),
        (NOBODY, set()),
        (STAFF, {A, B}),
    )
    chance = random.Random(20260501)
    foreign: list[Any] = []

    async def one(actor: Actor, own: set[Any], trouble: float) -> None:
        async with house.database.read(actor) as tx:
            if trouble < 0.05:
                await tx.rows("select 1 / 0")
            if trouble < 0.1:
                await tx.rows("select pg_sleep(1)")
            seen = {row.partner_id for row in await tx.rows(every)}
        judged(house.name, "connections that change hands", seen == own)
        if seen != own:
            foreign.append((actor, seen))

    async def member(turns: int) -> None:
        for _ in range(turns):
            actor, own = chance.choice(actors)
            trouble = chance.random()
            with suppress(PostgresError, TimeoutError):
                await asyncio.wait_for(one(actor, own, trouble), 0.002 if 0.05 <= trouble < 0.1 else 20)

    await asyncio.gather(*(member(TURNS // 8) for _ in range(8)))
    assert foreign == []
