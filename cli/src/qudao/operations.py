"""What an operator does to a running stack: look at the flow, and put things before their consumers again.

Everything goes through the services' HTTP APIs, with the administrator's token, so each action is recorded there.
"""

from typing import Any

from rich.console import Console
from rich.table import Table

from qudao.client import Client
from qudao.stack import SERVICES

PATIENCE_SECONDS = 10.0


async def token(client: Client) -> str:
    """An access token of the first administrator, for `Authorization: Bearer`."""
    return await client.token()


async def status(client: Client, console: Console) -> dict[str, Any]:
    """Per service: outbox pending and its oldest, parked events, its feeds; new and quarantined deliveries."""
    found: dict[str, Any] = {service: await client.get(service, "/v1/admin/status") for service in SERVICES}
    found["order"]["deliveries"] = counts = await client.get("order", "/v1/deliveries/counts")
    table = Table("service", "outbox pending", "oldest", "parked", "feeds", title="Flow")
    for service in SERVICES:
        answer = found[service]
        parked = sum(row["count"] for row in answer["parked"])
        feeds = sorted({row["consumer"] for row in answer["positions"]})
        table.add_row(
            service,
            str(answer["outbox"]["pending"]),
            f"{answer['outbox']['oldest_seconds']} s",
            f"[red]{parked}[/]" if parked else "0",
            ", ".join(feeds) or "–",
        )
    console.print(table)
    console.print(f"deliveries: {counts['new']} new, {counts['quarantined']} quarantined")
    return found


async def redrive(client: Client, service: str, consumer: str | None) -> int:
    """Tries failed events again, in version order; returns how many."""
    answer = await client.post(
        service, "/v1/admin/parked/redrive", {"consumer": consumer} if consumer else {}
    )
    return int(answer["events"])


async def replay(client: Client, consumer: str) -> int:
    """Reads a consumer's topic again from the beginning; returns how many partitions."""
    service = consumer.partition(".")[0]
    return int((await client.post(service, f"/v1/admin/feeds/{consumer}/replay"))["partitions"])


async def reprocess(client: Client, reason: str | None) -> int:
    """Reads quarantined deliveries again; returns how many."""
    answer = await client.post("order", "/v1/deliveries/reprocess", {"reason": reason} if reason else {})
    return int(answer["requeued"])


async def republish(client: Client, service: str, topic: str | None, after_id: int) -> int:
    """Sends old events to a broker that lost its log; consumers drop what they have seen. Returns how many."""
    sent = 0
    while True:
        body = {"after_id": after_id, **({"topic": topic} if topic else {})}
        answer = await client.post(service, "/v1/admin/outbox/republish", body)
        sent += int(answer["events"])
        if answer["last_id"] is None:
            return sent
        after_id = int(answer["last_id"])
