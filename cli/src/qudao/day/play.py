"""Plays a day: sends its moments to a running stack, as the platforms, the till and the brand would.

Many at a time, in the planned order of their beginning. A delivery that was not answered with success is sent again,
as a platform would, and counts as acknowledged only then. Never looks into a service; `verdict` judges afterwards.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import httpx

from channel_kit.clock import now
from qudao.client import PATIENCE_SECONDS, Client, Refused
from qudao.day import stage as stages
from qudao.day.moments import Bind, Day, Delivery, MapSkus, Moment, Receive, Reserve, Rotate, Upload
from qudao.day.plan import PLATFORMS
from qudao.day.stage import Stage

AT_ONCE: Final = 16
_REFUSED_TRIES: Final = 3
_PAUSE_SECONDS: Final = (0.05, 0.2, 0.5, 1.0)


@dataclass
class Tally:
    """What became of one platform's deliveries. `repeated` and `poison` are among the acknowledged."""

    posted: int = 0
    acknowledged: int = 0
    repeated: int = 0
    refused: int = 0
    poison: int = 0


@dataclass
class Played:
    """A day as it went. `history` holds the acknowledged deliveries in the order of their answers."""

    began_at: datetime
    seconds: float = 0
    tallies: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    history: list[Delivery] = field(default_factory=list)
    reserved: Counter[str] = field(default_factory=Counter)
    expiring: list[str] = field(default_factory=list)
    waited: Counter[str] = field(default_factory=Counter)  # orders by why, just before the reason was removed
    retried: int = 0
    deviations: list[str] = field(default_factory=list)


async def play(client: Client, day: Day, stage: Stage, tick: Callable[[int, int], None]) -> Played:
    """Plays every moment; `tick(done, of)` is called after each. Raises when a service stays away."""
    return await _Player(client, day, stage).run(tick)


class _Player:
    def __init__(self, client: Client, day: Day, stage: Stage) -> None:
        self.client, self.day, self.stage = client, day, stage
        self.played = Played(now())

    async def run(self, tick: Callable[[int, int], None]) -> Played:
        began, slots, done = time.monotonic(), asyncio.Semaphore(AT_ONCE), 0

        async def perform(moment: Moment) -> None:
            nonlocal done
            try:
                await self._perform(moment)
            finally:
                slots.release()
            done += 1
            tick(done, len(self.day.moments))

        try:
            async with asyncio.TaskGroup() as group:
                for moment in self.day.moments:
                    await slots.acquire()
                    if isinstance(moment, Delivery | Reserve):
                        group.create_task(perform(moment))
                    else:
                        # What changes the rules for those that follow is done before they are sent.
                        await perform(moment)
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        self.played.seconds = time.monotonic() - began
        return self.played

    async def _perform(self, moment: Moment) -> None:
        match moment:
            case Delivery():
                await self._deliver(moment)
            case Reserve():
                await self._reserve(moment)
            case Upload():
                await self._upload(moment)
            case Receive():
                lines = [{"sku": s, "location": at, "quantity": f"{q:f}"} for s, at, q in moment.lines]
                await self.client.post(
                    "inventory", "/v1/receipts", {"lines": lines}, key=self._key(f"receipt-{moment.name}")
                )
            case Bind():
                await self._count_waiting("unbound-shop")
                await stages.bind(self.client, moment.shop, self.stage.partners[moment.shop.partner])
            case Rotate():
                await self.stage.rotate(self.client, moment.shop)
            case MapSkus():
                await self._count_waiting("unknown-sku")
                for row in moment.rows:
                    listing = dict(zip(("platform", "shop_id", "platform_sku", "sku"), row, strict=True))
                    await self.client.put("inventory", "/v1/listings", listing)

    async def _deliver(self, delivery: Delivery) -> None:
        """Sends until it is acknowledged, or refused for good."""
        tally = self.played.tallies[delivery.shop.platform]
        tally.posted += 1
        deadline, tries, refusals = time.monotonic() + PATIENCE_SECONDS, 0, 0
        while True:
            status, said = await self._post(delivery)
            if 200 <= status < 300:
                break
            if status == 401 and delivery.nature == "tampered":
                tally.refused += 1
                return
            if status >= 500 and status != 503:
                self._deviation(delivery, f"was answered {status}: {said}")
            refusals += 400 <= status < 500
            if refusals >= _REFUSED_TRIES or time.monotonic() > deadline:
                self._deviation(
                    delivery, f"was never acknowledged; the last answer was {status or 'none'}: {said}"
                )
                return
            self.played.retried += 1
            await asyncio.sleep(_PAUSE_SECONDS[min(tries, len(_PAUSE_SECONDS) - 1)])
            tries += 1
        if delivery.nature == "tampered":
            self._deviation(delivery, "is forged and was acknowledged")
        tally.acknowledged += 1
        tally.repeated += delivery.repeated
        tally.poison += delivery.nature == "poison"
        self.played.history.append(delivery)

    async def _post(self, delivery: Delivery) -> tuple[int, str]:
        """One attempt, signed for this very moment; the status (0 = no answer) and the beginning of what was said."""
        shop = delivery.shop
        url = f"{self.client.stack.url('order')}/webhooks/{shop.platform}/{shop.slug}"
        headers = {"content-type": "application/x-www-form-urlencoded"}
        if delivery.nature != "ping":
            known = self.stage.secrets[shop]
            secret = known[min(len(known) - 1, 1 if delivery.old_secret else 0)]
            at = now() - timedelta(seconds=delivery.age_seconds)
            signed = delivery.body if delivery.signed is None else delivery.signed
            sender = PLATFORMS[shop.platform]
            headers = sender.headers(delivery.topic, delivery.message_id, signed, secret, at)
        try:
            answer = await self.client.http.post(url, content=delivery.body, headers=headers)
        except httpx.TransportError as failure:
            return 0, type(failure).__name__
        return answer.status_code, answer.text[:200]

    async def _upload(self, upload: Upload) -> None:
        tally = self.played.tallies[upload.shop.platform]
        tally.posted += 1
        report = await self.client.upload(
            "order", "/v1/uploads", upload.raw, shop_id=upload.shop.shop_id, file_name=upload.file_name
        )
        tally.acknowledged += 1
        tally.repeated += report["known"]
        if upload.nature == "first":
            met = report["refused"] > 0
        elif upload.nature == "again":
            met = report["known"] and not report["receipts_new"]
        else:
            met = not report["refused"]
        if not met:
            self.played.deviations.append(f"the till's file ({upload.nature}) came to {report}")

    async def _reserve(self, reserve: Reserve) -> None:
        lines = [
            {"sku": sku, "location": at, "quantity": f"{quantity:f}"} for sku, at, quantity in reserve.lines
        ]
        wish = {
            "lines": lines,
            "hold_seconds": reserve.hold_seconds,
            "fulfil": "whole" if reserve.whole else "partial",
        }
        try:
            made = await self.client.post("inventory", "/v1/reservations", wish, key=self._key(reserve.name))
            if reserve.then == "expire":
                self.played.expiring.append(made["reservation_id"])
            else:
                path = f"/v1/reservations/{made['reservation_id']}/{reserve.then}"
                await self.client.post("inventory", path, key=self._key(f"{reserve.name}-{reserve.then}"))
        except Refused as refusal:
            if refusal.code not in ("insufficient-stock", "nothing-to-issue"):
                raise
            self.played.reserved[refusal.code] += 1
        else:
            self.played.reserved[reserve.then] += 1

    async def _count_waiting(self, code: str) -> None:
        causes = (await self.client.get("order", "/v1/exceptions"))["orders"]
        self.played.waited[code] = sum(cause["orders"] for cause in causes if cause["code"] == code)

    def _key(self, name: str) -> str:
        return f"day-{self.day.run.stamp}-{name}"

    def _deviation(self, delivery: Delivery, what: str) -> None:
        which = f"{delivery.shop.platform} {delivery.topic} {delivery.order_id or delivery.message_id}"
        self.played.deviations.append(f"{which} ({delivery.nature}) {what}")
