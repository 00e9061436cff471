"""Taking announcements into the facts: dedupe, store, fold what was new, add to the days.

Called by the feeds with a whole poll, inside the feed's transaction. Taking the same events again, in any
grouping, changes nothing: entries and shares are folded only when their insert was the first. The one
exception to "lock, decide, save" in this service: adding a delta to a sum decides nothing, so it needs no read.
"""

from collections.abc import Sequence
from datetime import tzinfo
from typing import Any

from channel_events.envelope import Event
from channel_events.incentive import AccrualBody
from channel_events.inventory import StockBody
from channel_events.order import OrderBody
from channel_kit.database import Write
from insight_svc.fact import rules, store
from insight_svc.fact.values import StockFact


async def take_orders(tx: Write, events: Sequence[Event[OrderBody]], zone: tzinfo) -> None:
    """Entries into entries and days, snapshots into orders."""
    facts = {
        entry.entry_id: rules.entry_fact(entry, zone) for event in events for entry in event.data.entries
    }
    orders = {
        event.aggregate_id: rules.order_fact(event.data.order, event.aggregateversion, zone)
        for event in sorted(events, key=lambda event: event.aggregateversion)
    }
    new = await store.add_entries(tx, list(facts.values()))
    await store.save_orders(tx, list(orders.values()))
    await store.add_to_days(tx, rules.fold_entries(facts[entry_id] for entry_id in new))


async def take_accruals(tx: Write, events: Sequence[Event[AccrualBody]], zone: tzinfo) -> None:
    """Shares of each delta into shares and days (the day of the event), the state into cells."""
    shares = {
        part[:3]: part
        for event in events
        for part in rules.rebate_shares(
            event.aggregate_id, event.aggregateversion, event.data, rules.day_in(zone, event.time)
        )
    }
    cells = {
        event.aggregate_id: rules.cell_fact(event.aggregate_id, event.aggregateversion, event.data)
        for event in sorted(events, key=lambda event: event.aggregateversion)
    }
    new = await store.add_shares(tx, list(shares.values()))
    await store.save_cells(tx, list(cells.values()))
    await store.add_to_days(tx, rules.fold_rebates(shares[key] for key in new))


async def take_stock(tx: Write, events: Sequence[Event[StockBody]]) -> None:
    """The newest state of each stock row."""
    rows = {
        event.aggregate_id: StockFact(
            stock_id=event.aggregate_id,
            version=event.aggregateversion,
            **event.data.model_dump(exclude={"moved"}),
        )
        for event in sorted(events, key=lambda event: event.aggregateversion)
    }
    await store.save_stock(tx, list(rows.values()))


async def note_handled(tx: Write, consumer: str, events: Sequence[Event[Any]]) -> None:
    """How fresh the feed is now; to be called last, since every pod of the feed locks the same row."""
    if events:
        await store.note_freshness(tx, consumer, max(event.time for event in events))
