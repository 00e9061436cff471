"""The tables of partners: `partner` and, append-only, `partner_transition`.

Row level security decides what a caller sees; nothing here filters by caller. Whoever changes the tree of
partners takes `lock_tree` first, so that two moves cannot close a cycle together.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from channel_kit.database import Read, Row, Write
from partner_svc.partner.rules import Partner

_LOCKS = 815  # first key of this service's advisory locks
_TREE_LOCK = 1

_SELECT = """
select partner_id, code, name, kind, state, parent_id, effective_from, revision, stream_version from partner
"""


class Transition(NamedTuple):
    """A change of state, as it was ordered."""

    partner_id: UUID
    from_state: str
    to_state: str
    reason: str | None
    actor: str


async def lock_tree(tx: Write) -> None:
    """Alone with the tree until the transaction ends."""
    await tx.rows("select pg_advisory_xact_lock($1::int, $2::int)", _LOCKS, _TREE_LOCK)


async def by_ids(tx: Read, ids: Sequence[UUID], *, lock: bool = False) -> dict[UUID, Partner]:
    """The visible ones of these partners; `lock` takes them for an update, in the order of their ids."""
    suffix = "order by partner_id for no key update" if lock else ""
    rows = await tx.rows(f"{_SELECT} where partner_id = any($1::uuid[]) {suffix}", sorted(set(ids)))
    return {row.partner_id: _partner(row) for row in rows}


async def by_codes(tx: Read, codes: Sequence[str], *, lock: bool = False) -> dict[str, Partner]:
    """As `by_ids`, by code."""
    suffix = "order by partner_id for no key update" if lock else ""
    rows = await tx.rows(f"{_SELECT} where code = any($1::text[]) {suffix}", sorted(set(codes)))
    return {row.code: _partner(row) for row in rows}


async def ancestors(tx: Read, ids: Sequence[UUID]) -> dict[UUID, UUID | None]:
    """Child → parent for these partners and everyone above them."""
    rows = await tx.rows(
        """
        with recursive upwards as (
          select partner_id, parent_id from partner where partner_id = any($1::uuid[])
          union
          select p.partner_id, p.parent_id from partner p join upwards u on p.partner_id = u.parent_id)
        select partner_id, parent_id from upwards
        """,
        sorted(set(ids)),
    )
    return {row.partner_id: row.parent_id for row in rows}


async def insert(tx: Write, partners: Sequence[Partner]) -> None:
    """New partners; a parent may stand behind its child. Raises the unique violation for a code that exists."""
    await tx.execute(
        """
        insert into partner
          (partner_id, code, name, kind, state, parent_id, effective_from, revision, stream_version)
        select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[],
                             $7::timestamptz[], $8::bigint[], $9::bigint[])
        """,
        *_columns(partners),
    )


async def update(tx: Write, partners: Sequence[Partner]) -> None:
    """All that may change of locked partners."""
    await tx.execute(
        """
        update partner p
        set name = n.name, kind = n.kind, state = n.state, parent_id = n.parent_id,
            effective_from = n.effective_from, revision = n.revision, stream_version = n.stream_version
        from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[],
                    $7::timestamptz[], $8::bigint[], $9::bigint[])
          as n(partner_id, code, name, kind, state, parent_id, effective_from, revision, stream_version)
        where p.partner_id = n.partner_id
        """,
        *_columns(partners),
    )


async def add_transitions(tx: Write, transitions: Sequence[Transition], recorded_at: datetime) -> None:
    """Remember who changed a state, and why."""
    await tx.execute(
        """
        insert into partner_transition (partner_id, from_state, to_state, reason, actor, recorded_at)
        select partner_id, from_state, to_state, reason, actor, $6
        from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[])
          as t(partner_id, from_state, to_state, reason, actor)
        """,
        *(list(column) for column in zip(*transitions, strict=True)),
        recorded_at,
    )


async def page(
    tx: Read, *, code: str | None, state: str | None, search: str | None, after: str | None, limit: int
) -> list[Partner]:
    """Visible partners by code, from after `after`. `search`: a part of the code or the name, in any case."""
    rows = await tx.rows(
        _SELECT
        + """
        where ($1::text is null or code = $1) and ($2::text is null or state = $2)
          and ($3::text is null or code ilike $3 or name ilike $3)
          and ($4::text is null or code > $4)
        order by code limit $5
        """,
        code,
        state,
        None if search is None else f"%{_literally(search)}%",
        after,
        limit,
    )
    return [_partner(row) for row in rows]


def _literally(text: str) -> str:
    """The text for LIKE, without wildcards."""
    return text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")


def _columns(partners: Sequence[Partner]) -> tuple[list[Any], ...]:
    return (
        [each.partner_id for each in partners],
        [each.code for each in partners],
        [each.name for each in partners],
        [each.kind for each in partners],
        [each.state for each in partners],
        [each.parent_id for each in partners],
        [each.effective_from for each in partners],
        [each.revision for each in partners],
        [each.stream_version for each in partners],
    )


def _partner(row: Row) -> Partner:
    return Partner(*row)  # _SELECT names the columns in the order of the fields
