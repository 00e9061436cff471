"""The Kafka topics, one per family of events.

The only source for manifests, documentation and tests. The number of partitions is fixed at birth: keys map
to partitions by it, and changing it would break the order within an aggregate.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic's name and its number of partitions; records are kept for ever (`retention.ms=-1`)."""

    name: str
    partitions: int = 12


PARTNER: Final = Topic("channel.partner")
ORDER: Final = Topic("channel.order")
INVENTORY: Final = Topic("channel.inventory")
INCENTIVE: Final = Topic("channel.incentive")

TOPICS: Final = (PARTNER, ORDER, INVENTORY, INCENTIVE)
