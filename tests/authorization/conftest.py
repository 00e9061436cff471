"""Five houses, one for each service, and the summary of the matrix at the end of the run."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import httpx
import pytest

from channel_events.partner import SigningKeyBody
from channel_kit import auth
from channel_kit.clock import now
from channel_kit.database import OWNER, Database
from channel_kit.ids import uuid7
from channel_kit.service import Runtime, Service
from channel_kit.settings import ServiceSettings
from channel_kit.testing.plugin import SECRET_KEY

from .house import House
from .operations import SERVICES
from .rows import plant

Judge = Callable[[str, str, bool], None]
OPERATIONS = "operations in the document"
ANSWERS = pytest.StashKey[dict[tuple[str, str], Counter[bool]]]()


@pytest.fixture(scope="module", params=SERVICES)
async def house(
    request: pytest.FixtureRequest, service_database: Callable[[Service], Awaitable[Database]]
) -> AsyncIterator[House]:
    """A service of its own for each module of tests, with everything planted."""
    name = request.param
    service = SERVICES[name]
    database = await service_database(service)
    kid, pem, jwk = auth.new_key()
    key = SigningKeyBody(
        kid=kid, public_jwk=jwk, not_before=now() - timedelta(hours=2), not_after=now() + timedelta(hours=2)
    )
    async with database.write(OWNER) as tx:
        await auth.remember_keys(tx, [(uuid7(), key)])
        await plant(tx, name)
    settings = ServiceSettings.model_validate({"secret_key": SECRET_KEY, "docs": True})
    app = service.app(Runtime(settings, database))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{name}") as client:
        document = (await client.get("/openapi.json")).json()
        yield House(name, database, app, client, (kid, pem, jwk), document)


@pytest.fixture(scope="session")
def judged(request: pytest.FixtureRequest) -> Judge:
    """Counts answers by service and kind of caller: as expected or not. The counts end the run's output."""
    seen = request.config.stash.setdefault(ANSWERS, {})

    def count(service: str, caller: str, expected: bool) -> None:
        seen.setdefault((service, caller), Counter())[expected] += 1

    return count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    seen = config.stash.get(ANSWERS, {})
    if not seen:
        return
    services = [name for name in SERVICES if any(service == name for service, _ in seen)]
    callers = sorted(
        {caller for _, caller in seen} - {OPERATIONS}, key=lambda name: (name[:9] != "strangers", name)
    )
    width = max(map(len, [*callers, OPERATIONS])) + 2
    say = terminalreporter.write_line
    say("authorization: answers as expected + leaks, by caller and service")
    say(" " * width + "".join(f"{name:>13}" for name in services))
    say(
        f"{OPERATIONS:<{width}}"
        + "".join(f"{seen.get((name, OPERATIONS), Counter()).total():>13}" for name in services)
    )
    for caller in callers:
        cells = [seen.get((name, caller), Counter()) for name in services]
        say(f"{caller:<{width}}" + "".join(f"{f'{cell[True]} + {cell[False]}':>13}" for cell in cells))
    answers: Counter[bool] = sum(
        (ends for (_, caller), ends in seen.items() if caller != OPERATIONS), Counter()
    )
    say(f"authorization: {answers.total()} answers, {answers[False]} leaks")
