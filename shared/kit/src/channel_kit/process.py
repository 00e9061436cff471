"""Running a service: `python -m order_svc api|worker|serve|migrate`.

`api` answers HTTP, `worker` runs relay, feeds and jobs, `serve` does both in one process (local use), `migrate`
brings the schema up to date, prunes the outbox and ends. One uvicorn, one event loop. SIGTERM: readiness turns
503, loops finish what they are in, requests are taken for `drain_seconds` more, those in flight are answered,
pools close. A loop that dies takes the process with it: whoever supervises starts it again, and every mechanism
here survives that.
"""

import asyncio
import gc
import signal
import sys
from collections.abc import Sequence
from typing import Any

import structlog
import uvicorn
import uvloop
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from channel_kit import migrations, telemetry, upkeep
from channel_kit.database import STAFF, WORKER, Database
from channel_kit.service import ASGI, Loop, Runtime, Service
from channel_kit.settings import ServiceSettings

log = structlog.get_logger(__name__)

ROLES = ("api", "worker", "serve", "migrate")
GC_THRESHOLDS = (50_000, 20, 50)
"""A batch makes some 100,000 objects that all die with it; at Python's own 700 the collector walks them hundreds of
times for nothing, which took a third of a feed's CPU."""


def run(service: Service) -> None:
    """Runs the role named on the command line; ends the process with its exit code."""
    role = sys.argv[1] if len(sys.argv) == 2 else ""
    if role not in ROLES:
        sys.exit(f"usage: python -m {service.name}_svc {'|'.join(ROLES)}")
    settings = ServiceSettings()
    telemetry.configure(json=settings.log_json, level=settings.log_level, service=f"{service.name}-svc")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(
            runner.run(_migrate(service, settings) if role == "migrate" else _run(service, settings, role))
        )


async def _run(service: Service, settings: ServiceSettings, role: str) -> int:
    return await Process(service, settings, role).run()


async def _migrate(service: Service, settings: ServiceSettings) -> int:
    if settings.owner_database_url is None:
        log.error("QUDAO_OWNER_DATABASE_URL is not set; migrations run with the owner's role")
        return 2
    await migrations.upgrade(service, settings.owner_database_url.get_secret_value())
    runtime = Runtime(settings, Database(service.name, settings))
    try:
        await service.after_migrate(runtime)
        pruned = await upkeep.prune_outbox(runtime.database, settings.outbox_keep_days)
    finally:
        await runtime.database.close()
    log.info("the schema is up to date", revision=migrations.head(service), pruned=pruned)
    return 0


class Process:
    """One running process of a service: its HTTP server, its loops and their shutdown."""

    def __init__(self, service: Service, settings: ServiceSettings, role: str) -> None:
        self.service, self.settings, self.role = service, settings, role
        self.runtime = Runtime(settings, Database(service.name, settings))
        self.loops: Sequence[Loop] = () if role == "api" else service.worker(self.runtime)
        self.draining = False
        self._stopping = asyncio.Event()
        self._known = migrations.Known(service)

    async def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._begin_stop)
        app: ASGI = _not_here if self.role == "worker" else self.service.app(self.runtime)
        server = uvicorn.Server(
            uvicorn.Config(
                Front(self, app),
                host=self.settings.http_host,
                port=self.settings.http_port,
                log_config=None,
                access_log=False,
                lifespan="on" if self.role != "worker" else "off",
                timeout_graceful_shutdown=self.settings.graceful_seconds,
                backlog=1024,
                server_header=False,
                proxy_headers=False,  # nobody here reads the caller's address; passing it on costs every request
            )
        )
        gc.collect()
        gc.freeze()  # what exists now lives for ever; cuts the tail of response times to a third
        gc.set_threshold(*GC_THRESHOLDS)
        serving = asyncio.create_task(_serve(server), name="http")
        loops = [asyncio.create_task(loop.run(self._stopping), name=loop.name) for loop in self.loops]
        stop = asyncio.create_task(self._stopping.wait(), name="stop")
        await asyncio.wait([serving, stop, *loops], return_when=asyncio.FIRST_COMPLETED)
        asked = self._stopping.is_set()
        self._begin_stop()
        parts = [serving, *loops]
        # Whatever ended before it was asked to is the reason that the process ends.
        early = [] if asked else [part for part in parts if part.done()]
        if not early:
            await asyncio.wait([serving], timeout=self.settings.drain_seconds)
        server.should_exit = True
        _, late = await asyncio.wait(parts, timeout=self.settings.graceful_seconds + 5)
        for part in late:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        stop.cancel()
        await self.runtime.database.close()
        broken = [part for part in parts if part.cancelled() or part.exception() is not None]
        for part in {*early, *broken, *late}:
            log.error(
                "a part of this process did not end in order",
                part=part.get_name(),
                why="unasked" if part in early else "too slow" if part in late else "an error while stopping",
                exc_info=None if part.cancelled() else part.exception(),
            )
        return 1 if early or broken else 0

    def _begin_stop(self) -> None:
        self.draining = True
        self._stopping.set()

    # -- what Kubernetes and Prometheus ask ------------------------------------------------------------------

    def alive(self) -> list[str]:
        """Why this process should be restarted; empty while every loop turns. Never asks the database."""
        return [reason for loop in self.loops if (reason := loop.health.stuck())]

    async def ready(self) -> str | None:
        """Why this process should get no traffic; None when it may."""
        if self.draining:
            return "draining"
        try:
            async with (
                asyncio.timeout(3),
                self.runtime.database.read(WORKER if self.role == "worker" else STAFF) as tx,
            ):
                revision = await migrations.current(tx)
        except Exception as error:
            return f"the database does not answer ({type(error).__name__})"
        if self._known.is_behind(revision):
            return f"the schema is at {revision}, this code needs {self._known.head}"
        return None


async def _serve(server: uvicorn.Server) -> None:
    # uvicorn takes the signals for itself in serve(); _serve() leaves them to this process.
    try:
        await server._serve()
    except SystemExit as ended:  # its way of saying that it could not start; the reason is in its log
        raise RuntimeError("the HTTP server could not start") from ended


async def _not_here(scope: Any, receive: Any, send: Any) -> None:
    await _answer(
        send, 404, b"this process is a worker; its HTTP side has only /healthz, /readyz and /metrics\n"
    )


class Front:
    """`/healthz`, `/readyz` and `/metrics` before the application, so that they answer whatever it does."""

    def __init__(self, process: Process, app: ASGI) -> None:
        self._process, self._app = process, app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path") if scope["type"] == "http" else None
        if path == "/healthz":
            stuck = self._process.alive()
            await _answer(send, 503 if stuck else 200, ("; ".join(stuck) or "alive").encode() + b"\n")
        elif path == "/readyz":
            reason = await self._process.ready()
            await _answer(send, 503 if reason else 200, (reason or "ready").encode() + b"\n")
        elif path == "/metrics":
            await _answer(send, 200, generate_latest(), CONTENT_TYPE_LATEST)
        else:
            await self._app(scope, receive, send)


async def _answer(
    send: Any, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8"
) -> None:
    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
