"""Bugs in passing events on: doubled, lost, out of order, or missed by reference data."""

from .saboteur import INVENTORY, INVENTORY_TESTS, KIT, KIT_TESTS, ORDER, ORDER_TESTS, Edit, Saboteur

DELIVERY = (
    Saboteur(
        "no-watermark",
        "an event that comes twice is handled twice",
        Edit(
            f"{KIT}/poll.py",
            "watermark.advance(tx, self.consumer, plan.moves)",
            "watermark.advance(tx, self.consumer, {})",
        ),
        (f"{KIT_TESTS}/test_poll.py::test_a_duplicate_has_no_second_effect",),
    ),
    Saboteur(
        "watermark-without-compare",
        "two members in the middle of the same records both have their effect",
        Edit(f"{KIT}/watermark.py", "if moved != len(keys):", "if moved is None:"),
        (f"{KIT_TESTS}/test_poll_rivals.py::test_rivals_have_each_effect_once",),
    ),
    Saboteur(
        "gap-applied",
        "a later version is applied before the one that is missing",
        Edit(
            f"{KIT}/poll.py", "due = version == mark.version + len(run) + 1", "due = version > mark.version"
        ),
        (f"{KIT_TESTS}/test_poll.py::test_versions_after_a_hole_wait_and_drain_by_themselves",),
    ),
    Saboteur(
        "gap-not-parked",
        "what comes after a hole is forgotten",
        Edit(f"{KIT}/poll.py", "[park(item) for item in plan.rest if item.is_news]", "[]"),
        (f"{KIT_TESTS}/test_poll.py::test_versions_after_a_hole_wait_and_drain_by_themselves",),
    ),
    Saboteur(
        "position-before-effect",
        "a crash between position and effect loses a whole poll",
        Edit(
            f"{KIT}/poll.py",
            "await self._apply(database, groups, position)",
            "await database.transact(WORKER, position)\n            await self._apply(database, groups, None)",
        ),
        (f"{KIT_TESTS}/test_poll.py::test_a_good_poll_is_one_transaction_with_its_position",),
    ),
    Saboteur(
        "no-aggregate-lock",
        "two writers announce one order's next version; one of them fails",
        Edit(
            f"{ORDER}/order/store.py",
            "channel, marks\n        from order_head where order_id = any($1::uuid[]) order by order_id for update",
            "channel, marks\n        from order_head where order_id = any($1::uuid[]) order by order_id",
        ),
        (
            f"{ORDER_TESTS}/test_head_lock.py::test_a_head_that_is_read_to_be_changed_is_read_by_one_at_a_time",
        ),
    ),
    Saboteur(
        "relay-in-random-order",
        "events of one aggregate overtake each other",
        Edit(
            f"{KIT}/relay.py",
            "join outbox o using (id) order by p.id",
            "join outbox o using (id) order by md5(o.event_id::text)",
        ),
        (f"{KIT_TESTS}/test_relay_identity.py::test_events_leave_as_stored_in_order_and_once_more_the_same",),
    ),
    Saboteur(
        "relay-makes-new-ids",
        "a second copy of an event looks like news",
        Edit(
            f"{KIT}/relay.py",
            "value=row.payload.encode(),",
            'value=json.dumps(json.loads(row.payload) | {"id": str(__import__("uuid").uuid4())}).encode(),',
        ),
        (f"{KIT_TESTS}/test_relay_identity.py::test_events_leave_as_stored_in_order_and_once_more_the_same",),
    ),
    Saboteur(
        "relay-clears-before-acknowledgement",
        "what the broker never took counts as sent",
        Edit(
            f"{KIT}/relay.py",
            "answers = await asyncio.gather(*acks, return_exceptions=True)",
            "answers = list[BaseException]()",
        ),
        (f"{KIT_TESTS}/test_broker_away.py::test_nothing_counts_as_sent_before_it_is_acknowledged",),
    ),
    Saboteur(
        "no-reference-lock",
        "a mapping that commits while an order is in flight never reaches it",
        Edit(
            f"{INVENTORY}/hold/actions.py",
            "await reference.shared(tx)\n    last =",
            "last =",
        ),
        (
            f"{INVENTORY_TESTS}/test_races.py::test_mapping_that_arrives_while_its_order_is_in_flight_is_not_missed",
        ),
    ),
)
