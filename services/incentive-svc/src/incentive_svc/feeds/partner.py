"""The partner family: approved contracts and signing keys are copied. Consumer `incentive.partner`."""

from collections.abc import Sequence
from typing import Any

from channel_events.envelope import Event
from channel_events.partner import ContractBody, SigningKeyBody
from channel_kit import auth
from channel_kit.database import Write
from incentive_svc.reference import actions

CONSUMER = "incentive.partner"


async def handle(tx: Write, events: Sequence[Event[Any]]) -> None:
    """Takes a poll's partner events; partners and shop bindings are of no interest here."""
    await actions.remember_contracts(
        tx, [(event.aggregate_id, event.data) for event in events if isinstance(event.data, ContractBody)]
    )
    await auth.remember_keys(
        tx, [(event.aggregate_id, event.data) for event in events if isinstance(event.data, SigningKeyBody)]
    )
