"""The loop, thin, on a database and a broker that somebody else runs: `QUDAO_POSTGRES` and `QUDAO_KAFKA`.

Containers where a Docker engine answers that has the images (see CONTRIBUTING.md), else the wheel and Maven. They are
this test's own, since a stack sets the passwords of the roles in the server that it is given.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from channel_kit.local.kafka import LocalKafka
from channel_kit.local.postgres import LocalPostgres
from channel_kit.local.server import running
from channel_kit.testing.providers import KAFKA, POSTGRES, chosen, told

from . import shops
from .deployment import deployed, new_id
from .letters import shopify_order


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[dict[str, str]]:
    with ExitStack() as exits:
        if chosen(POSTGRES).provider == "container":
            from channel_kit.testing import containers

            postgres_url = exits.enter_context(containers.postgres(chosen(POSTGRES).value))
        else:
            postgres = LocalPostgres(tmp_path / "postgres")
            exits.enter_context(running(postgres, tmp_path / "postgres.log"))
            postgres_url = postgres.admin_url
        if chosen(KAFKA).provider == "container":
            from channel_kit.testing import containers

            bootstrap = exits.enter_context(containers.kafka(chosen(KAFKA).value))
        else:
            kafka = LocalKafka(tmp_path / "kafka")
            exits.enter_context(running(kafka, tmp_path / "kafka.log"))
            bootstrap = kafka.bootstrap
        yield {"QUDAO_POSTGRES": postgres_url, "QUDAO_KAFKA": bootstrap}


async def test_the_loop_runs_on_servers_of_others(
    servers: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Callable[[str], None]
) -> None:
    for name, value in servers.items():
        monkeypatch.setenv(name, value)
    async with deployed(tmp_path / "data", tmp_path / "up.log", **servers) as stack:
        assert set(stack.pids()) == {"partner", "order", "inventory", "incentive", "insight"}
        sold, order_id = await shops.trade(stack), new_id()
        await sold.shop.sent(shopify_order(order_id, sold.sku), "orders/create")
        await sold.agreed(order_id, 30_973, 949)
        await stack.audit_clean()
    tell(f"servers of others: {told(POSTGRES)}; {told(KAFKA)}")
