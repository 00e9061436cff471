"""The outside world at work: sends what `world` holds, many at a time, and writes down each call before and after.

A delivery is sent again, under its old id, until it is answered with success; a command is sent again under its old key
after a time-out. Whatever is not answered by a yes or a no is unknown, and written down so. Never looks into a service.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import httpx

from channel_kit.clock import now
from qudao.client import Client, Refused, Unreachable
from qudao.day import stage as stages
from qudao.day.moments import Bind, Delivery, MapSkus, Receive, Reserve, Rotate, Upload
from qudao.day.plan import PLATFORMS
from qudao.day.stage import Stage

from .history import History, Kind
from .world import CANARIES, Command, Event, OrderKey, World, canary, identity

AT_ONCE: Final = 24
ANSWER_SECONDS: Final = (
    5.0  # shorter than the longest stop: some callers give up while their call is being worked on
)
PATIENCE_SECONDS: Final = 120.0
_PAUSES: Final = (0.05, 0.1, 0.3, 0.6, 1.0)
_REPLAYED: Final = "idempotent-replayed"

Send = Callable[[], Awaitable[httpx.Response]]
Judge = Callable[[httpx.Response], Kind]


@dataclass
class Load:
    """Everybody who calls from outside. `progress` says from 0 to 1 how far the world may have come by now."""

    client: Client
    http: httpx.AsyncClient
    history: History
    world: World
    stage: Stage
    progress: Callable[[], float] = lambda: 1.0
    done: int = 0
    retries: int = 0
    _actors: list[str] = field(default_factory=lambda: [f"client-{n:02}" for n in range(AT_ONCE, 0, -1)])

    async def run(self) -> None:
        """Plays all of it."""
        slots, events = asyncio.Semaphore(AT_ONCE), self.world.events
        async with asyncio.TaskGroup() as group:
            for place, event in enumerate(events):
                while self.progress() * len(events) < place:  # noqa: ASYNC110  time itself moves it
                    await asyncio.sleep(0.02)
                await slots.acquire()
                task = group.create_task(self._perform(event, slots))
                if not isinstance(event, Delivery | Reserve | Command):
                    await task  # what changes the rules for those that follow

    async def _perform(self, event: Event, slots: asyncio.Semaphore) -> None:
        actor = self._actors.pop()
        try:
            match event:
                case Delivery():
                    await self._deliver(actor, event)
                case Command():
                    await self._command(actor, event)
                case Reserve():
                    await self._reserve(actor, event)
                case Receive():
                    lines = [{"sku": s, "location": at, "quantity": f"{q:f}"} for s, at, q in event.lines]
                    key = f"chaos-receipt-{event.name}"
                    body = {"lines": lines, "reason": key}
                    await self._command(
                        actor, Command("receive", "inventory", "POST", "/v1/receipts", key, body)
                    )
                case Upload():
                    await self._upload(actor, event)
                case Bind():
                    await stages.bind(self.client, event.shop, self.stage.partners[event.shop.partner])
                case Rotate():
                    await self.stage.rotate(self.client, event.shop)
                case MapSkus():
                    for row in event.rows:
                        names = ("platform", "shop_id", "platform_sku", "sku")
                        await self.client.put("inventory", "/v1/listings", dict(zip(names, row, strict=True)))
        finally:
            self._actors.append(actor)
            slots.release()
            self.done += 1

    # -- webhooks ------------------------------------------------------------------------------------------

    async def _deliver(self, actor: str, delivery: Delivery) -> None:
        forged = delivery.nature == "tampered"

        def judge(answer: httpx.Response) -> Kind:
            if answer.is_success:
                return "ok"
            return "fail" if forged and answer.status_code == 401 else _unless_clear(answer)

        order = f"{delivery.shop.platform}/{delivery.shop.shop_id}/{delivery.order_id or ''}"
        about = {"nature": delivery.nature, "order": order, "topic": delivery.topic}
        about |= {"message_id": delivery.message_id, "sha256": hashlib.sha256(delivery.body).hexdigest()}
        await self._attempts(
            actor,
            "forge" if forged else "deliver",
            identity(delivery),
            lambda: self._post(delivery),
            judge,
            about,
        )

    async def _post(self, delivery: Delivery) -> httpx.Response:
        headers = {"content-type": "application/x-www-form-urlencoded"}
        if delivery.nature != "ping":
            known = self.stage.secrets[delivery.shop]
            secret = known[min(len(known) - 1, 1 if delivery.old_secret else 0)]
            at = now() - timedelta(seconds=delivery.age_seconds)
            signed = delivery.body if delivery.signed is None else delivery.signed
            sender = PLATFORMS[delivery.shop.platform]
            headers = sender.headers(delivery.topic, delivery.message_id, signed, secret, at)
        path = f"/webhooks/{delivery.shop.platform}/{delivery.shop.slug}"
        return await self.http.post(
            self.client.stack.url("order") + path, content=delivery.body, headers=headers
        )

    async def canary(self, number: int) -> OrderKey:
        """Sends the order of that number until it is taken."""
        key, body = canary(number)
        delivery = Delivery(CANARIES, "qudao.order.v1", body, f"msg_{key.order_id}", "canary", key.order_id)
        await self._deliver("canary", delivery)
        return key

    # -- commands ------------------------------------------------------------------------------------------

    async def _command(self, actor: str, command: Command) -> None:
        about: dict[str, Any] = {"path": command.path}
        if command.op in ("receive", "adjust"):
            about["rows"] = len(command.body["lines"]) if command.body else 0
        for _ in range(2 if command.twice else 1):
            await self._ask(actor, command.op, command, about)

    async def _ask(self, actor: str, op: str, command: Command, about: dict[str, Any]) -> Any:
        """The JSON of what was answered; None when it was refused, or never answered."""

        async def send() -> httpx.Response:
            headers = {"authorization": f"Bearer {await self.client.token()}"}
            if command.method == "POST":
                headers["idempotency-key"] = command.key
            url = self.client.stack.url(command.service) + command.path
            body = None if command.body is None else dict(command.body)
            return await self.http.request(command.method, url, headers=headers, json=body)

        answer = await self._attempts(actor, op, command.key, send, _judged, about)
        return answer.json() if answer is not None and answer.is_success else None

    async def _reserve(self, actor: str, wish: Reserve) -> None:
        lines = [
            {"sku": sku, "location": at, "quantity": f"{quantity:f}"} for sku, at, quantity in wish.lines
        ]
        fulfil = "whole" if wish.whole else "partial"
        body = {"lines": lines, "hold_seconds": wish.hold_seconds, "fulfil": fulfil}
        key = f"chaos-{wish.name}"
        made = await self._ask(
            actor, "reserve", Command("reserve", "inventory", "POST", "/v1/reservations", key, body), {}
        )
        if made is not None and wish.then != "expire":
            path = f"/v1/reservations/{made['reservation_id']}/{wish.then}"
            command = Command(wish.then, "inventory", "POST", path, f"{key}-{wish.then}", {})
            await self._ask(actor, wish.then, command, {"path": path})

    async def _upload(self, actor: str, upload: Upload) -> None:
        async def send() -> httpx.Response:
            headers = {"authorization": f"Bearer {await self.client.token()}", "content-type": "text/csv"}
            url = self.client.stack.url("order") + "/v1/uploads"
            given = {"shop_id": upload.shop.shop_id, "file_name": upload.file_name}
            return await self.http.post(url, content=upload.raw, params=given, headers=headers)

        def judge(answer: httpx.Response) -> Kind:
            return "ok" if answer.is_success else _unless_clear(answer)

        await self._attempts(actor, "upload", upload.file_name, send, judge, {"nature": upload.nature})

    # -- calls ---------------------------------------------------------------------------------------------

    async def _attempts(
        self, actor: str, op: str, key: str, send: Send, judge: Judge, about: dict[str, Any]
    ) -> httpx.Response | None:
        """The same call again and again until its outcome is known; None when that took too long."""
        deadline, tries = time.monotonic() + PATIENCE_SECONDS, 0
        while time.monotonic() < deadline:
            await self.history.add(actor, op, key, "invoke", **about)
            try:
                answer = await send()
            except (httpx.TransportError, Unreachable, Refused) as failure:
                await self.history.add(actor, op, key, "info", met=type(failure).__name__)
            else:
                kind = judge(answer)
                await self.history.add(actor, op, key, kind, **_told(op, answer))
                if kind != "info":
                    return answer
            self.retries += 1
            await asyncio.sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])
            tries += 1
        return None


def _judged(answer: httpx.Response) -> Kind:
    return "ok" if answer.is_success else _unless_clear(answer)


def _unless_clear(answer: httpx.Response) -> Kind:
    """What an answer that is no success means: a refusal, or nothing that can be relied on."""
    busy = answer.status_code in (409, 429) and "request-in-flight" in answer.text
    return "info" if answer.status_code >= 500 or answer.status_code == 429 or busy else "fail"


def _told(op: str, answer: httpx.Response) -> dict[str, Any]:
    """What of an answer is kept."""
    told: dict[str, Any] = {"status": answer.status_code}
    if not answer.is_success:
        told["code"] = _code(answer)
        return told
    if answer.headers.get(_REPLAYED):
        told["replayed"] = True
    if op == "reserve":
        told["answer"] = answer.json()["reservation_id"]
    elif op not in ("deliver", "forge", "read", "upload"):
        told["answer"] = hashlib.sha256(answer.content).hexdigest()[:16]
    return told


def _code(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("code", ""))
    except (ValueError, AttributeError):
        return answer.text[:80]
