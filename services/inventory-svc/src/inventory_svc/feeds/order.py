"""Reaction to the order family: every type carries the whole snapshot, so one handler serves all of them."""

from collections.abc import Sequence
from typing import Any

from channel_events.envelope import Event
from channel_kit.database import Write
from channel_kit.poll import Handler
from inventory_svc.hold import actions
from inventory_svc.hold.values import Windows

CONSUMER = "inventory.order"


def handler(windows: Windows) -> Handler:
    """What brings holds to the snapshots of a poll."""

    async def handle(tx: Write, events: Sequence[Event[Any]]) -> None:
        await actions.apply(tx, events, windows)

    return handle
