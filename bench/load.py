"""The load generator: signed deliveries over kept-alive connections, in a process of its own.

Closed loop (each client waits for its answer) or open loop (a fixed rate, latencies from the moment a request was
due, so that a stall is not hidden). Requests are made before the clock starts. `Load` is the side of the caller;
`python -m bench.load` is the process, which is told its job as one line of JSON and answers with one.
"""

import array
import asyncio
import base64
import gc
import json
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, cast

import uvloop

from bench.bodies import Target, requests
from bench.measure import Cpu, Sample, quantile

_TICK_SECONDS = 0.001
_LATE_SECONDS = 3.0
_AGAIN_SECONDS = 0.05


@dataclass(frozen=True)
class Job:
    """What to send. `per_second` None = closed loop. `numbers` = a file for the numbers that were acknowledged."""

    port: int
    targets: Sequence[Target]
    templates: Sequence[bytes]
    first: int
    count: int
    clients: int
    seconds: float
    per_second: float | None = None
    warm: int = 64
    numbers: Path | None = None

    def to_json(self) -> str:
        templates = [base64.b64encode(each).decode() for each in self.templates]
        return json.dumps({**asdict(self), "templates": templates, "numbers": str(self.numbers or "")})

    @classmethod
    def from_json(cls, line: str) -> Self:
        said = json.loads(line)
        said["templates"] = [base64.b64decode(each) for each in said["templates"]]
        said["targets"] = [Target(*each) for each in said["targets"]]
        said["numbers"] = Path(said["numbers"]) if said["numbers"] else None
        return cls(**said)


@dataclass(frozen=True)
class Outcome:
    """`ok` answers of 200 in `seconds`; `refused` counts the others by status, `broken` the lost connections.

    `acknowledged` = every 200, those while warming up and after the time too.
    """

    ok: int
    acknowledged: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float
    refused: dict[str, int]
    broken: int


class Load:
    """`async with Load(job) as load: outcome = await load.run()`; inside, everything is ready to be sent."""

    def __init__(self, job: Job) -> None:
        self._job = job

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "bench.load"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=1 << 24,
            cwd=Path(__file__).parents[1],
        )
        await self._say(self._job.to_json())
        await self._hear()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def run(self) -> Outcome:
        """Sends for the job's time. Raises RuntimeError when the generator ends without an answer."""
        await self._say("go")
        return Outcome(**json.loads(await self._hear()))

    async def _say(self, line: str) -> None:
        cast("asyncio.StreamWriter", self._process.stdin).write(line.encode() + b"\n")
        await cast("asyncio.StreamWriter", self._process.stdin).drain()

    async def _hear(self) -> bytes:
        line = await cast("asyncio.StreamReader", self._process.stdout).readline()
        if not line:
            raise RuntimeError("the load generator ended; its words are above")
        return line


async def fire(job: Job, pids: Mapping[str, Sequence[int]]) -> tuple[Outcome, Sample]:
    """Runs a job; the sample says what it cost the processes of `pids`, and the generator itself."""
    async with Load(job) as load:
        with Cpu(pids) as cpu:
            outcome = await load.run()
    spent = {**cpu.each(outcome.ok), "load": outcome.cpu_seconds / max(outcome.ok, 1)}
    return outcome, Sample(outcome.ok / outcome.seconds, outcome.p50_ms, outcome.p99_ms, spent)


class _Client(asyncio.Protocol):
    """One connection with at most one request on its way."""

    def __init__(self, run: "_Run") -> None:
        self._run = run
        self._transport: asyncio.WriteTransport | None = None
        self._heard = b""
        self.number = -1
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._run.idle(self)

    def send(self, number: int, request: bytes, due: float) -> None:
        self.number, self.due = number, due
        cast("asyncio.WriteTransport", self._transport).write(request)

    def data_received(self, data: bytes) -> None:
        heard = self._heard + data if self._heard else data
        end = heard.find(b"\r\n\r\n")
        if end >= 0:
            at = heard.lower().find(b"content-length:", 0, end)
            length = int(heard[at + 15 : heard.find(b"\r", at)]) if at >= 0 else 0
            if len(heard) >= end + 4 + length:
                self._heard = b""
                self._run.answered(self, heard[9:12])
                return
        self._heard = heard

    def connection_lost(self, exc: Exception | None) -> None:
        self._heard = b""
        self._run.lost(self)


class _Run:
    """The requests of one job, and what came back."""

    def __init__(self, job: Job) -> None:
        self._job = job
        made = requests(job.targets, job.templates, job.first, job.count)
        self._requests: Iterator[tuple[int, bytes]] = iter([*enumerate(made, job.first)])
        self._loop = asyncio.get_running_loop()
        self._idle: deque[_Client] = deque()
        self._due: deque[float] = deque()
        self._on_way, self._last = 0, 0.0
        self._sending = self._measuring = self._ended = self._all_sent = False
        self._took = array.array("d")
        self._refused: Counter[str] = Counter()
        self._broken = 0
        self._acknowledged: list[int] = []
        self._done = asyncio.Event()

    async def connect(self) -> None:
        await asyncio.gather(*(self._dial() for _ in range(self._job.clients)))

    async def _dial(self) -> None:
        while not self._ended:
            try:
                await self._loop.create_connection(lambda: _Client(self), "127.0.0.1", self._job.port)
            except OSError:
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                return

    async def warm(self) -> None:
        """A few requests a client, in closed loop, that are not counted."""
        self._warm_left = self._job.warm
        if not self._warm_left:
            return
        self._sending = True
        self._start_idle()
        if self._on_way:
            await self._done.wait()
        self._sending = False

    async def run(self) -> Outcome:
        job, spent = self._job, time.process_time()
        self._measuring = self._sending = True
        self._began = time.perf_counter()
        self._until = self._began + job.seconds
        self._done.clear()
        if job.per_second is None:
            self._start_idle()
        else:
            self._sent = 0
            self._tick()
        try:
            await asyncio.wait_for(self._done.wait(), job.seconds + _LATE_SECONDS)
        except TimeoutError:
            self._refused["late"] += self._on_way
        self._ended, ended = True, self._last or time.perf_counter()
        spent = time.process_time() - spent
        ordered = sorted(self._took) or [0.0]
        if job.numbers is not None:
            job.numbers.write_text("\n".join(map(str, self._acknowledged)))
        seconds = (ended if self._all_sent else min(ended, self._until)) - self._began
        return Outcome(
            len(self._took),
            len(self._acknowledged),
            seconds,
            quantile(ordered, 0.50) * 1000,
            quantile(ordered, 0.99) * 1000,
            spent,
            dict(self._refused),
            self._broken,
        )

    def _start_idle(self) -> None:
        for client in [*self._idle]:
            self._idle.popleft()
            self.idle(client)

    def _tick(self) -> None:
        """Open loop: what became due since the last tick."""
        at = time.perf_counter()
        rate = cast("float", self._job.per_second)
        due = int((min(at, self._until) - self._began) * rate)
        for each in range(self._sent, due):
            self._due.append(self._began + each / rate)
        self._sent = max(self._sent, due)
        while self._due and self._idle:
            self._next(self._idle.popleft(), self._due.popleft())
        if at < self._until:
            coming = self._began + (self._sent + 1) / rate - time.perf_counter()
            self._loop.call_later(max(_TICK_SECONDS, coming), self._tick)
        else:
            self._sending = bool(self._due)
            self._check_done()

    def idle(self, client: _Client) -> None:
        """This connection may take a request."""
        if not self._sending:
            self._idle.append(client)
        elif self._measuring and self._job.per_second is not None:
            if self._due:
                self._next(client, self._due.popleft())
            else:
                self._idle.append(client)
        else:
            self._next(client, time.perf_counter())

    def _next(self, client: _Client, due: float) -> None:
        number, request = next(self._requests, (-1, b""))
        if number < 0:
            self._sending = False
            self._all_sent = True
            self._idle.append(client)
            self._check_done()
            return
        self._on_way += 1
        client.send(number, request, due)

    def answered(self, client: _Client, status: bytes) -> None:
        at = self._last = time.perf_counter()
        self._on_way -= 1
        number, client.number = client.number, -1
        if status == b"200":
            self._acknowledged.append(number)
        if not self._measuring:
            self._warm_left -= 1
            self._sending = self._warm_left > 0
        elif status != b"200":
            self._refused[status.decode()] += 1
        elif at <= self._until or self._all_sent or self._job.per_second is not None:
            self._took.append(at - client.due)
        if self._measuring and self._job.per_second is None and at >= self._until:
            self._sending = False
        self.idle(client)
        self._check_done()

    def lost(self, client: _Client) -> None:
        """A connection ended: its request, if any, was not acknowledged; another connection takes its place."""
        if client in self._idle:
            self._idle.remove(client)
        if client.number >= 0:
            self._on_way -= 1
        if not self._ended:
            self._broken += 1
            self._again = self._loop.create_task(self._dial())
        self._check_done()

    def _check_done(self) -> None:
        if not self._on_way and not self._due and (not self._sending or time.perf_counter() >= self._until):
            self._done.set()


def _read() -> str:
    return sys.stdin.readline()


async def _main() -> None:
    run = _Run(Job.from_json(await asyncio.to_thread(_read)))
    gc.collect()
    gc.disable()
    await run.connect()
    await run.warm()
    _write("ready")
    await asyncio.to_thread(_read)
    _write(json.dumps(asdict(await run.run())))


def _write(line: Any) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main())
