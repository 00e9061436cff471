"""Services as real child processes of a test: started, asked, signalled, killed; never left behind."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from pydantic import SecretStr

from channel_kit.local.server import free_port
from channel_kit.settings import ServiceSettings

READY_SECONDS_MAX = 40.0


class Child:
    """One running service process, with what it said."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process, self.port = process, port
        self.url = f"http://127.0.0.1:{port}"
        self._said: list[bytes] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        if self.process.stderr is not None:
            async for line in self.process.stderr:
                self._said.append(line)

    @property
    def said(self) -> str:
        return b"".join(self._said).decode(errors="replace")

    async def get(self, path: str, timeout: float = 30) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.url, timeout=timeout) as client:
            return await client.get(path)

    async def post(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.url, timeout=30) as client:
            return await client.post(path)

    async def ready(self) -> None:
        """Until it may get traffic. Raises with what it said when it ends first or takes too long."""
        async with asyncio.timeout(READY_SECONDS_MAX):
            while self.process.returncode is None:
                try:
                    if (await self.get("/readyz", timeout=2)).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)
        raise RuntimeError(f"it ended with {self.process.returncode}:\n{self.said}")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, seconds: float = 40) -> int:
        """Its exit code, negative for a signal."""
        code = await asyncio.wait_for(self.process.wait(), seconds)
        await self._reading
        return code


@asynccontextmanager
async def running(
    command: Sequence[str | Path], settings: ServiceSettings, **environment: str
) -> AsyncIterator[Child]:
    """Starts `python *command` with these settings in its environment; kills it at the end."""
    port = free_port()
    variables = {**_variables(settings), "QUDAO_HTTP_PORT": str(port), **environment}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *map(str, command),
        env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONUNBUFFERED": "1", **variables},
        stderr=asyncio.subprocess.PIPE,
    )
    child = Child(process, port)
    try:
        yield child
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _variables(settings: ServiceSettings) -> Mapping[str, str]:
    values = {name: getattr(settings, name) for name in ServiceSettings.model_fields}
    return {
        f"QUDAO_{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in values.items()
        if value is not None
    }
