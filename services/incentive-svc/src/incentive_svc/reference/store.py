"""The table `contract`: copies of approved versions, one row each.

Rows are replaced only by the same version announced again. Callers hold the reference lock: shared to read for a
decision, exclusive to change.
"""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from channel_events.partner import ContractBody
from channel_kit.database import Read, Write
from incentive_svc.reference.values import Contract

_COLUMNS = "contract_id, version, partner_id, valid_from, valid_to, time_zone, plan_codes"


async def save(tx: Write, contracts: Sequence[tuple[UUID, ContractBody]]) -> None:
    """Keeps approved versions with the id of their contract."""
    latest = {(contract_id, body.version): body for contract_id, body in contracts}
    keys = sorted(latest)
    bodies = [latest[key] for key in keys]
    await tx.execute(
        """
        insert into contract
          (contract_id, version, partner_id, valid_from, valid_to, time_zone, plan_codes, terms_hash)
        select contract_id, version, partner_id, valid_from, valid_to, time_zone,
               array(select jsonb_array_elements_text(plan_codes::jsonb)), terms_hash
        from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::timestamptz[], $5::timestamptz[], $6::text[],
                    $7::text[], $8::text[])
          as t(contract_id, version, partner_id, valid_from, valid_to, time_zone, plan_codes, terms_hash)
        on conflict (contract_id, version) do update
        set partner_id = excluded.partner_id, valid_from = excluded.valid_from, valid_to = excluded.valid_to,
            time_zone = excluded.time_zone, plan_codes = excluded.plan_codes, terms_hash = excluded.terms_hash
        """,
        [contract_id for contract_id, _ in keys],
        [version for _, version in keys],
        [body.partner_id for body in bodies],
        [body.valid_from for body in bodies],
        [body.valid_to for body in bodies],
        [body.time_zone for body in bodies],
        [json.dumps(sorted(set(body.plan_codes))) for body in bodies],
        [body.terms_hash for body in bodies],
    )


async def partners_of(tx: Read, contract_ids: Sequence[UUID]) -> list[UUID]:
    """The partners that any version of these contracts was made with."""
    rows = await tx.rows(
        "select distinct partner_id from contract where contract_id = any($1::uuid[])",
        sorted(set(contract_ids)),
    )
    return [row.partner_id for row in rows]


async def partners_naming(tx: Read, plan_code: str) -> list[UUID]:
    """The partners with a contract version that names the plan."""
    rows = await tx.rows(
        "select distinct partner_id from contract where plan_codes @> array[$1::text]", plan_code
    )
    return [row.partner_id for row in rows]


async def contracts_of(tx: Read, partner_ids: Sequence[UUID]) -> list[Contract]:
    """Every version of these partners' contracts."""
    rows = await tx.rows(
        f"select {_COLUMNS} from contract where partner_id = any($1::uuid[])",  # noqa: S608  our own columns
        sorted(set(partner_ids)),
    )
    return [_contract(row) for row in rows]


def _contract(row: Any) -> Contract:
    return Contract(
        row.contract_id,
        row.version,
        row.partner_id,
        row.valid_from,
        row.valid_to,
        row.time_zone,
        frozenset(row.plan_codes),
    )
