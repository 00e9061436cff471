"""The tables of contracts: `contract` (the head) and `contract_version`.

The database keeps approved versions apart in time (constraint `contract_overlap`) and refuses to change one
(trigger `keep_approved`), whatever the code above it does.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from channel_kit.database import Read, Row, Write
from partner_svc.contract.rules import Contract, ContractVersion

_HEAD = "select contract_id, code, partner_id, revision, stream_version from contract"


async def by_ids(
    tx: Read, ids: Sequence[UUID], *, drafts: bool = True, lock: bool = False
) -> dict[UUID, Contract]:
    """The visible ones of these contracts with their versions; `lock` takes the heads, in the order of ids."""
    suffix = "order by contract_id for no key update" if lock else ""
    heads = await tx.rows(f"{_HEAD} where contract_id = any($1::uuid[]) {suffix}", sorted(set(ids)))
    return {each.contract_id: each for each in await _with_versions(tx, heads, drafts)}


async def code_exists(tx: Read, code: str) -> bool:
    return bool(await tx.value("select true from contract where code = $1", code))


async def page(
    tx: Read, *, partner_id: UUID | None, code: str | None, drafts: bool, after: str | None, limit: int
) -> list[Contract]:
    """Visible contracts by code, from after `after`. Without `drafts`, only what is approved, with those parts."""
    heads = await tx.rows(
        _HEAD
        + """ c
        where ($1::uuid is null or partner_id = $1) and ($2::text is null or code = $2)
          and ($3::text is null or code > $3)
          and ($4 or exists (select from contract_version v where v.contract_id = c.contract_id and v.state = 'approved'))
        order by code limit $5
        """,
        partner_id,
        code,
        after,
        drafts,
        limit,
    )
    return await _with_versions(tx, heads, drafts)


async def insert(tx: Write, contracts: Sequence[Contract]) -> None:
    """New contracts with their versions. Raises the unique violation for a code that exists."""
    await tx.execute(
        """
        insert into contract (contract_id, code, partner_id, revision, stream_version)
        select * from unnest($1::uuid[], $2::text[], $3::uuid[], $4::bigint[], $5::bigint[])
        """,
        [each.contract_id for each in contracts],
        [each.code for each in contracts],
        [each.partner_id for each in contracts],
        [each.revision for each in contracts],
        [each.stream_version for each in contracts],
    )
    await insert_versions(tx, [(each, version) for each in contracts for version in each.versions])


async def insert_versions(tx: Write, rows: Sequence[tuple[Contract, ContractVersion]]) -> None:
    """New drafts of locked contracts."""
    await tx.execute(
        """
        insert into contract_version (contract_id, partner_id, version, state, valid_from, valid_to, time_zone,
                                      plan_codes, terms, terms_hash, author)
        select contract_id, partner_id, version, state, valid_from, valid_to, time_zone,
               array(select json_array_elements_text(plan_codes::json)), terms::json, terms_hash, author
        from unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::timestamptz[], $6::timestamptz[],
                    $7::text[], $8::text[], $9::text[], $10::text[], $11::text[])
          as n(contract_id, partner_id, version, state, valid_from, valid_to, time_zone, plan_codes, terms,
               terms_hash, author)
        """,
        [contract.contract_id for contract, _ in rows],
        [contract.partner_id for contract, _ in rows],
        [version.version for _, version in rows],
        [version.state for _, version in rows],
        [version.valid_from for _, version in rows],
        [version.valid_to for _, version in rows],
        [version.time_zone for _, version in rows],
        # A list of lists of unlike lengths is no SQL array, so each list travels as JSON.
        [json.dumps(version.plan_codes) for _, version in rows],
        [version.terms for _, version in rows],
        [version.terms_hash for _, version in rows],
        [version.author for _, version in rows],
    )


async def settle_versions(tx: Write, rows: Sequence[tuple[UUID, ContractVersion]]) -> None:
    """State, approval and end of versions; ends first, so that a version never meets the one it replaces."""
    for contract_id, version in rows:
        await tx.execute(
            """
            update contract_version set state = $3, valid_to = $4, approver = $5, approved_at = $6
            where contract_id = $1 and version = $2
            """,
            contract_id,
            version.version,
            version.state,
            version.valid_to,
            version.approver,
            version.approved_at,
        )


async def update_heads(tx: Write, contracts: Sequence[Contract]) -> None:
    """Revision and stream version of locked contracts."""
    await tx.execute(
        """
        update contract c set revision = n.revision, stream_version = n.stream_version
        from unnest($1::uuid[], $2::bigint[], $3::bigint[]) as n(contract_id, revision, stream_version)
        where c.contract_id = n.contract_id
        """,
        [each.contract_id for each in contracts],
        [each.revision for each in contracts],
        [each.stream_version for each in contracts],
    )


async def _with_versions(tx: Read, heads: Sequence[Row], drafts: bool) -> list[Contract]:
    rows = await tx.rows(
        """
        select contract_id, version, state, valid_from, valid_to, time_zone, plan_codes, terms::text as terms,
               terms_hash, author, approver, approved_at
        from contract_version where contract_id = any($1::uuid[]) and ($2 or state = 'approved')
        order by contract_id, version
        """,
        [head.contract_id for head in heads],
        drafts,
    )
    versions: dict[UUID, list[ContractVersion]] = {}
    for row in rows:
        contract_id, *values = tuple(row)  # the columns stand in the order of the fields
        version = ContractVersion(*values)
        versions.setdefault(contract_id, []).append(replace(version, plan_codes=tuple(version.plan_codes)))
    return [
        Contract(
            head.contract_id,
            head.code,
            head.partner_id,
            tuple(versions.get(head.contract_id, ())),
            head.revision,
            head.stream_version,
        )
        for head in heads
    ]
