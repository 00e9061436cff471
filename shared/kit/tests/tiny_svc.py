"""A service with nothing but mechanics, run as a real process by the tests: it announces, consumes and waits.

`TINY_MIGRATIONS`, `TINY_TOPIC` and `TINY_CONSUMER` say where; everything else is `QUDAO_*` as for any service.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request

from channel_events.topics import Topic
from channel_kit import outbox
from channel_kit.admin import standard_routers
from channel_kit.auth import public
from channel_kit.database import STAFF
from channel_kit.feed import Feed
from channel_kit.http import Router, create_app, database
from channel_kit.ids import uuid7
from channel_kit.process import run
from channel_kit.service import ASGI, Loop, Runtime, Service
from channel_kit.testing.bench import insert_effects
from channel_kit.testing.events import announcement
from channel_kit.upkeep import standard_loops

router = Router()


@router.post("/announce", dependencies=[public])
async def announce(request: Request) -> dict[str, int]:
    async with database(request).write(STAFF) as tx:
        await outbox.announce(tx, [announcement(uuid7(), version) for version in (1,)])
    return {"announced": 1}


@router.get("/slow", dependencies=[public])
async def slow(request: Request, seconds: float) -> dict[str, int]:
    await asyncio.sleep(seconds)
    async with database(request).read(STAFF) as tx:
        return {"effects": await tx.value("select count(*) from effect")}


def app(runtime: Runtime) -> ASGI:
    @asynccontextmanager
    async def lifespan(app: FastAPI):  # type: ignore[no-untyped-def]
        app.state.database = runtime.database
        yield

    return create_app(title="tiny", routers=[router, *standard_routers()], lifespan=lifespan)


def worker(runtime: Runtime) -> Sequence[Loop]:
    feed = Feed(
        runtime.database,
        runtime.settings,
        consumer=os.environ["TINY_CONSUMER"],
        topic=Topic(os.environ["TINY_TOPIC"]),
        handle=insert_effects,
    )
    return standard_loops(runtime, feeds=[feed])


if __name__ == "__main__":
    run(Service("kit", Path(os.environ["TINY_MIGRATIONS"]), app=app, worker=worker))
