"""What an operator does to a running stack: look at the flow, and put things before their consumers again.

Everything goes through the services' HTTP APIs, with the administrator's token, so each action is recorded there.
"""

from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from channel_kit.outbound import client as http_client
from qudao.stack import SERVICES, Stack


class Refused(RuntimeError):
    """A service answered with a problem; the message is what it said."""


async def token(stack: Stack, scopes: str | None = None) -> str:
    """An access token of the first administrator, for `Authorization: Bearer`."""
    form = {"grant_type": "client_credentials", **({"scope": scopes} if scopes else {})}
    async with http_client() as http:
        answer = await http.post(
            stack.url("partner") + "/v1/tokens",
            data=form,
            auth=(stack.admin.client_id, stack.admin.client_secret),
        )
    return str(_checked(answer)["access_token"])


async def _call(stack: Stack, service: str, method: str, path: str, **options: Any) -> Any:
    headers = {"authorization": f"Bearer {await token(stack)}"}
    async with http_client() as http:
        return _checked(await http.request(method, stack.url(service) + path, headers=headers, **options))


def _checked(answer: httpx.Response) -> Any:
    if answer.is_success:
        return answer.json()
    try:
        problem = answer.json()
        said = f"{problem['code']}: {problem.get('detail') or problem['title']}"
    except (ValueError, KeyError, TypeError):
        said = answer.text[:200]
    raise Refused(f"{answer.request.method} {answer.request.url.path} answered {answer.status_code}: {said}")


async def status(stack: Stack, console: Console) -> dict[str, Any]:
    """Per service: outbox pending and its oldest, parked events, where its feeds stand; new and quarantined deliveries."""
    found: dict[str, Any] = {}
    for service in SERVICES:
        found[service] = await _call(stack, service, "GET", "/v1/admin/status")
    found["order"]["deliveries"] = await _call(stack, "order", "GET", "/v1/deliveries/counts")
    table = Table("service", "outbox pending", "oldest", "parked", "feeds", title="Flow")
    for service in SERVICES:
        answer = found[service]
        parked = sum(row["count"] for row in answer["parked"])
        feeds = ", ".join(sorted({row["consumer"] for row in answer["positions"]})) or "–"
        table.add_row(
            service,
            str(answer["outbox"]["pending"]),
            f"{answer['outbox']['oldest_seconds']} s",
            f"[red]{parked}[/]" if parked else "0",
            feeds,
        )
    console.print(table)
    counts = found["order"]["deliveries"]
    console.print(f"deliveries: {counts['new']} new, {counts['quarantined']} quarantined")
    return found


async def redrive(stack: Stack, service: str, consumer: str | None) -> int:
    """Tries failed events again, in version order; returns how many."""
    answer = await _call(
        stack, service, "POST", "/v1/admin/parked/redrive", json={"consumer": consumer} if consumer else {}
    )
    return int(answer["events"])


async def replay(stack: Stack, consumer: str) -> int:
    """Reads a consumer's topic again from the beginning; returns how many partitions."""
    service = consumer.partition(".")[0]
    answer = await _call(stack, service, "POST", f"/v1/admin/feeds/{consumer}/replay")
    return int(answer["partitions"])


async def reprocess(stack: Stack, reason: str | None) -> int:
    """Reads quarantined deliveries again; returns how many."""
    answer = await _call(
        stack, "order", "POST", "/v1/deliveries/reprocess", json={"reason": reason} if reason else {}
    )
    return int(answer["requeued"])


async def republish(stack: Stack, service: str, topic: str | None, after_id: int) -> int:
    """Sends old events to a broker that lost its log; consumers drop what they have seen. Returns how many."""
    sent = 0
    while True:
        body = {"after_id": after_id, **({"topic": topic} if topic else {})}
        answer = await _call(stack, service, "POST", "/v1/admin/outbox/republish", json=body)
        sent += int(answer["events"])
        if answer["last_id"] is None:
            return sent
        after_id = int(answer["last_id"])
