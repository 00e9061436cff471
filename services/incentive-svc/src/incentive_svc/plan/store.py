"""The tables `plan` and `plan_version`.

A version's words never change once written; only its state does, and its end, when a later version cuts it short.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from channel_kit.database import Read, Write
from incentive_svc.plan.values import Plan, Terms, Tier

_TERMS = """
  v.plan_id, p.code, v.version, v.state, v.valid_from, v.valid_to, v.calendar, v.currency, v.shape,
  v.tiers::text as tiers, v.basis, v.recognition, v.rounding, v.channels, v.skus, v.content_hash, v.activated_at
"""


@dataclass(frozen=True, slots=True)
class Head:
    """A plan without its versions."""

    plan_id: UUID
    code: str
    name: str
    revision: int
    stream_version: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A version with what is known of it besides its terms."""

    terms: Terms
    state: str
    content_hash: str
    activated_at: datetime | None


async def insert(tx: Write, plan_id: UUID, code: str, name: str) -> bool:
    """Makes a plan; False when the code is taken."""
    return bool(
        await tx.execute(
            "insert into plan (plan_id, code, name) values ($1, $2, $3) on conflict (code) do nothing",
            plan_id,
            code,
            name,
        )
    )


async def head(tx: Read, code: str) -> Head | None:
    """The plan of this code, as far as the caller may see it."""
    row = await tx.row("select plan_id, code, name, revision, stream_version from plan where code = $1", code)
    return None if row is None else _head(row)


async def lock(tx: Write, code: str) -> Head | None:
    """The plan of this code, locked until the transaction ends."""
    row = await tx.row(
        "select plan_id, code, name, revision, stream_version from plan where code = $1 for update", code
    )
    return None if row is None else _head(row)


async def page(tx: Read, after: str, limit: int) -> list[Head]:
    """Plans by code, after one."""
    rows = await tx.rows(
        "select plan_id, code, name, revision, stream_version from plan where code > $1 order by code limit $2",
        after,
        limit,
    )
    return [_head(row) for row in rows]


async def versions(tx: Read, plan_id: UUID) -> list[Stored]:
    """Every version of a plan the caller may see, in order."""
    rows = await tx.rows(
        f"select {_TERMS} from plan_version v join plan p using (plan_id) "  # noqa: S608  our own columns
        "where v.plan_id = $1 order by v.version",
        plan_id,
    )
    return [Stored(_terms(row), row.state, row.content_hash, row.activated_at) for row in rows]


async def active(tx: Read, codes: Sequence[str], plan_ids: Sequence[UUID] = ()) -> list[Plan]:
    """The plans of these codes or ids, with their active versions in order of their days."""
    rows = await tx.rows(
        f"""
        select {_TERMS}, p.name from plan p join plan_version v using (plan_id)
        where (p.code = any($1::text[]) or p.plan_id = any($2::uuid[])) and v.state = 'active'
        order by p.code, v.valid_from
        """,  # noqa: S608  our own columns
        sorted(set(codes)),
        sorted(set(plan_ids)),
    )
    found: dict[UUID, tuple[str, str, list[Terms]]] = {}
    for row in rows:
        found.setdefault(row.plan_id, (row.code, row.name, []))[2].append(_terms(row))
    return [Plan(plan_id, code, name, tuple(terms)) for plan_id, (code, name, terms) in found.items()]


async def insert_draft(tx: Write, terms: Terms, content_hash: str) -> None:
    """Keeps a new version as a draft."""
    await tx.execute(
        """
        insert into plan_version (plan_id, version, state, valid_from, valid_to, calendar, currency, shape, tiers,
                                  basis, recognition, rounding, channels, skus, content_hash)
        values ($1, $2, 'draft', $3, $4, $5, $6, $7, $8::text::jsonb, $9, $10, $11, $12, $13, $14)
        """,
        terms.plan_id,
        terms.version,
        terms.valid_from,
        terms.valid_to,
        terms.calendar,
        terms.currency,
        terms.shape,
        json.dumps([{"lower_minor": tier.lower_minor, "rate_ppm": tier.rate_ppm} for tier in terms.tiers]),
        terms.basis,
        terms.recognition,
        terms.rounding,
        sorted(terms.channels) if terms.channels is not None else None,
        sorted(terms.skus) if terms.skus is not None else None,
        content_hash,
    )


async def activate(
    tx: Write, plan_id: UUID, version: int, cut: Sequence[tuple[int, date]], replaced: Sequence[int]
) -> None:
    """Puts a version in force, after those it cuts short or replaces have made room."""
    await tx.execute(
        "update plan_version set state = 'replaced' where plan_id = $1 and version = any($2::integer[])",
        plan_id,
        list(replaced),
    )
    await tx.execute(
        """
        update plan_version v set valid_to = t.valid_to
        from unnest($2::integer[], $3::date[]) as t(version, valid_to)
        where v.plan_id = $1 and v.version = t.version
        """,
        plan_id,
        [number for number, _ in cut],
        [day for _, day in cut],
    )
    await tx.execute(
        """
        update plan_version set state = 'active', activated_at = clock_timestamp()
        where plan_id = $1 and version = $2
        """,
        plan_id,
        version,
    )


async def save_head(tx: Write, plan_id: UUID, revision: int, stream_version: int) -> None:
    """Moves the plan's revision and, together with an announcement only, its stream version."""
    await tx.execute(
        "update plan set revision = $2, stream_version = $3 where plan_id = $1",
        plan_id,
        revision,
        stream_version,
    )


def _head(row: Any) -> Head:
    return Head(row.plan_id, row.code, row.name, row.revision, row.stream_version)


def _terms(row: Any) -> Terms:
    return Terms(
        plan_id=row.plan_id,
        code=row.code,
        version=row.version,
        valid_from=row.valid_from,
        valid_to=row.valid_to,
        calendar=row.calendar,
        currency=row.currency,
        shape=row.shape,
        tiers=tuple(Tier(tier["lower_minor"], tier["rate_ppm"]) for tier in json.loads(row.tiers)),
        basis=row.basis,
        recognition=row.recognition,
        rounding=row.rounding,
        channels=frozenset(row.channels) if row.channels is not None else None,
        skus=frozenset(row.skus) if row.skus is not None else None,
    )
