"""One service's OpenAPI document turned into requests, by schemathesis: examples, boundaries, random data, chains.

`fuzz` sends them as staff and as two partners and says what was found. Beside schemathesis's own checks stand two
of ours: a refusal is a problem that this service declares, and a partner's answer names nothing of the other's.
Chains follow links that schemathesis infers from names and types, since the documents state none.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema
from schemathesis.engine.recorder import Interaction, ScenarioRecorder

from channel_kit.problems import MEDIA_TYPE, Problem

from .budget import REPEATABLE, SEED
from .house import PARTNERS, STAFF, House
from .survey import Survey, exemplified, without

REQUEST_SECONDS_MAX = 30
KNOWN_MAX = 40
KNOWN_SHARE = 0.5
REFUSED = [400, 401, 403, 404, 405, 406, 409, 412, 413, 415, 422, 428]
KEY = re.compile(r"[A-Za-z0-9_-]{16,128}", re.ASCII)

Failure = tuple[str, str, str]
"""Check, operation, what is wrong."""


@dataclass(frozen=True)
class Budget:
    """How much is tried: random requests an operation, chains a service, requests a chain."""

    examples: int
    chains: int
    steps: int


@dataclass
class Report:
    """What came of one service."""

    service: str
    operations: int
    reached: set[str] = field(default_factory=set)
    succeeded: set[str] = field(default_factory=set)
    chained: set[str] = field(default_factory=set)
    links: int = 0
    cases: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    callers: Counter[str] = field(default_factory=Counter)
    failures: dict[Failure, str] = field(default_factory=dict)
    tolerated: dict[Failure, str] = field(default_factory=dict)
    seconds: float = 0.0

    def line(self) -> str:
        """The report in a sentence."""
        phases = ", ".join(f"{n} {phase}" for phase, n in self.cases.items())
        callers = ", ".join(f"{n} {who}" for who, n in sorted(self.callers.items()))
        faults = sum(n for status, n in self.statuses.items() if status >= 500)
        return (
            f"fuzz, {self.service}: {len(self.reached)} of {self.operations} operations reached, {len(self.succeeded)} "
            f"with success, {len(self.chained)} in chains over {self.links} inferred links; {sum(self.cases.values())} "
            f"requests ({phases}) by {callers}; {faults} × 5xx, {len(self.failures)} failures, "
            f"{len(self.tolerated)} tolerated; {self.seconds:.0f} s"
        )


def fuzz(house: House, found: Survey, budget: Budget) -> Report:
    """Everything that the document allows and much of what it forbids, sent to the running service.

    Single requests come from all callers in turns; a chain belongs to one of them, since others must not find
    what it makes.
    """
    report, started = Report(found.service, len(found.operations)), time.monotonic()
    turns: Counter[str] = Counter()

    def in_turns(operation: str) -> str:
        turns[operation] += 1
        turn, every = turns[operation], 8 if operation in found.closed else 3
        return STAFF if turn % every else PARTNERS[turn // every % 2]

    document = exemplified(found, house)
    _run(report, house, found, document, _configuration(found, house, budget, chains=0), in_turns)
    for who in (STAFF, *PARTNERS):
        part = budget.chains if who == STAFF else budget.chains // 4
        left_out = frozenset() if who == STAFF else found.closed
        config = _configuration(found, house, budget, chains=part)
        _run(report, house, found, without(document, left_out), config, partial(_always, who))
    report.seconds = time.monotonic() - started
    return report


def _always(who: str, operation: str) -> str:
    return who


def _run(
    report: Report,
    house: House,
    found: Survey,
    document: dict[str, Any],
    config: dict[str, Any],
    caller: Callable[[str], str],
) -> None:
    # A copy: the links that it infers are written into what it is given.
    schema = schemathesis.openapi.from_dict(deepcopy(document), config=SchemathesisConfig.from_dict(config))

    @schema.auth(refresh_interval=None)
    class Callers:
        """Signs a case as whoever sends it."""

        def get(self, case: Any, context: Any) -> str:
            return house.token(caller(f"{case.method.upper()} {case.path}"))

        def set(self, case: Any, data: str, context: Any) -> None:
            if f"{case.method.upper()} {case.path}" not in found.public:
                case.headers["Authorization"] = f"Bearer {data}"
            key = case.headers.get("Idempotency-Key")
            if isinstance(key, str) and KEY.fullmatch(key) and len(key) % 4:
                # The same key with another body is refused; mostly something else is to be found.
                case.headers["Idempotency-Key"] = uuid4().hex

    for event in from_schema(schema).execute():
        if isinstance(event, events.PhaseStarted) and event.payload is not None:
            report.links = max(report.links, event.payload.transitions_selected)
        elif isinstance(event, events.ScenarioFinished) and event.is_test_scenario:
            _record(report, house, found, event.phase.value, event.recorder)
        elif isinstance(event, events.NonFatalError):
            report.failures[type(event.value).__name__, event.label, str(event.value)[:500]] = ""
        elif isinstance(event, events.FatalError):
            raise event.exception


def _configuration(found: Survey, house: House, budget: Budget, *, chains: int) -> dict[str, Any]:
    """Single requests when `chains` is 0, else so many chains and nothing else."""
    words = {name: {"values": values[:KNOWN_MAX]} for name, values in found.known.items() if name and values}
    generation = {
        "deterministic": REPEATABLE,
        "max-examples": budget.examples,
        "database": "none",
        "no-shrink": True,
    }
    return {
        "seed": SEED,
        "base-url": house.members[found.service].url,
        "continue-on-failure": True,
        "request-timeout": REQUEST_SECONDS_MAX,
        "suppress-health-check": ["all"],
        "dictionaries": words,
        "parameters": {
            f"{place}.{name}": {"dictionary": name, "probability": KNOWN_SHARE}
            for name in words
            for place in ("path", "query")
        },
        "generation": generation,
        "checks": {
            # What a document cannot say (another list's cursor, an unknown SKU, days the wrong way round) is refused;
            # that sound requests succeed is counted instead, operation by operation.
            "positive_data_acceptance": {"enabled": False},
            "negative_data_rejection": {"expected-statuses": REFUSED},
        },
        "phases": {
            "examples": {"enabled": not chains},
            "coverage": {"enabled": not chains, "unexpected-methods": ["delete", "options"]},
            "fuzzing": {"enabled": not chains},
            "stateful": {
                "enabled": bool(chains),
                "max-steps": budget.steps,
                "generation": generation | {"max-examples": max(1, chains)},
            },
        },
    }


def _record(report: Report, house: House, found: Survey, phase: str, recorder: ScenarioRecorder) -> None:
    bearers = {house.token(who): who for who in house.credentials}
    for case_id, interaction in recorder.interactions.items():
        node = recorder.cases[case_id]
        name = f"{node.value.method.upper()} {node.value.path}"
        report.cases[phase] += 1
        if interaction.response is None:
            report.failures["no answer", name, phase] = repr(interaction.request.uri)
            continue
        if name in found.operations:
            report.reached.add(name)
            if interaction.response.status_code < 400:
                report.succeeded.add(name)
            if phase == "stateful" and node.parent_id:
                report.chained.add(name)
        report.statuses[interaction.response.status_code] += 1
        sent = interaction.request.headers.get("Authorization", [""])[0].removeprefix("Bearer ")
        who = bearers.get(sent, "nobody")
        report.callers[who] += 1
        for wrong in _faults(house, found, who, interaction):
            report.failures[wrong, name, str(interaction.response.status_code)] = _told(interaction)
    for checks in recorder.checks.values():
        for check in checks:
            if check.status == Status.FAILURE and check.failure_info is not None:
                failure = check.failure_info.failure
                key = check.name, failure.operation or recorder.label, failure.title
                report.failures.setdefault(key, f"{failure.message}\n{check.failure_info.code_sample}")


def _faults(house: House, found: Survey, who: str, interaction: Interaction) -> Iterator[str]:
    response, request = interaction.response, interaction.request
    assert response is not None
    text = response.content.decode("utf-8", "replace")
    if response.status_code >= 400:
        kind = response.headers.get("content-type", [""])[0]
        said = json.loads(text) if kind == MEDIA_TYPE and text else {}
        if (said.get("status"), said.get("code")) not in declared(found.service):
            yield f"an undeclared problem: {kind} {said.get('code')}"
        elif said["status"] != response.status_code:
            yield "a problem whose status is not the answer's"
    for other, ids in house.owned.items():
        if who in PARTNERS and who != other:
            asked = request.uri + (request.body or b"").decode("latin-1")
            if any(each in text and each not in asked for each in ids):
                yield "something of the other partner's"


def declared(service: str) -> frozenset[tuple[int, str]]:
    """Status and code of every problem that the service and the kit can answer."""
    kinds, found = [Problem], set()
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if kind.__module__.startswith(("channel_kit.", f"{service}_svc.")):
            found.add((kind.status, kind.code))
    return frozenset(found)


def _told(interaction: Interaction) -> str:
    request, response = interaction.request, interaction.response
    assert response is not None
    body = (request.body or b"")[:2_000]
    return f"{request.method} {request.uri}\n{body!r}\n{response.content[:1_000]!r}"
