"""Records on the topics that no service of ours could have sent: every consumer has to park each of them, and only them.

Planted past the proxies, in the middle of everything. How many there really are is read from the topics afterwards, so
that an acknowledgement that was lost on the way makes no difference.
"""

import json
from collections.abc import Iterator
from random import Random
from typing import Final
from uuid import UUID

from aiokafka import AIOKafkaProducer

from channel_events.catalog import CATALOG, encode
from channel_events.topics import TOPICS
from channel_kit.testing.events import partner_event

MARK: Final = "chaos-poison"


def poisons(seed: int, round_number: int) -> Iterator[tuple[str, bytes, bytes]]:
    """(topic, key, value) of one round: on each topic one that is no JSON, one of an unknown type, one of a known type
    without its members, and one that comes before its predecessors."""
    chance = Random(f"{seed} poison {round_number}")
    for topic in TOPICS:
        known = next(type_ for type_ in CATALOG.values() if type_.topic == topic)
        for number, fault in enumerate(("rubbish", "type", "body", "gap")):
            aggregate_id = UUID(int=chance.getrandbits(128), version=4)
            sound = json.loads(encode(partner_event(aggregate_id, 1, name=MARK)))
            sound |= {"source": f"/{MARK}/{seed}/{round_number}/{number}", "id": str(aggregate_id)}
            if fault == "type":
                sound["type"] = "channel.weather.changed.v1"
            elif fault == "body":
                sound |= {"type": known.type, "aggregatetype": known.aggregate_type, "data": {}}
            elif fault == "gap":
                sound["aggregateversion"] = 7
            value = json.dumps(sound)
            yield (
                topic.name,
                str(aggregate_id).encode(),
                (value[:-9] if fault == "rubbish" else value).encode(),
            )


def is_poison(value: bytes | str | None) -> bool:
    """Whether a record or a parked event is one of ours."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else value or ""
    return f"/{MARK}/" in text


async def plant(bootstrap: str, seed: int, round_number: int) -> int:
    """Puts a round on the topics; how many records. Raises KafkaError and TimeoutError, after which nobody knows."""
    records = list(poisons(seed, round_number))
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True) as producer:
        for topic, key, value in records:
            await producer.send_and_wait(topic, value=value, key=key)
    return len(records)
