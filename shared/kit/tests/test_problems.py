"""Problems: the object of RFC 9457, encodable whatever is in it, and never an echo of what was sent."""

import importlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import asyncpg
import pytest
from pydantic import ValidationError, field_validator
from sqlalchemy.exc import DBAPIError, IntegrityError
from starlette.exceptions import HTTPException
from structlog.testing import capture_logs

from channel_kit.http import Body
from channel_kit.problems import (
    FAULTS_MAX,
    Conflict,
    InvalidRequest,
    Problem,
    Unavailable,
    faults,
    respond,
    translate,
)


class UnknownShop(Problem):
    status = 404
    code = "unknown-shop"
    title = "Connect the shop first"


def test_members_and_media_type() -> None:
    answer = respond(UnknownShop("There is no shop 7.", shop="7"))
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(bytes(answer.body)) == {
        "type": "urn:qudao:problem:unknown-shop",
        "title": "Connect the shop first",
        "status": 404,
        "code": "unknown-shop",
        "detail": "There is no shop 7.",
        "shop": "7",
    }


def test_anything_can_be_said_in_a_problem() -> None:
    extra: dict[str, Any] = {
        "lone": "a\ud800b",
        "nan": float("nan"),
        "inf": float("inf"),
        "half": 0.5,
        "when": datetime(2026, 3, 1, tzinfo=UTC),
        "id": UUID(int=7),
        "amount": Decimal("1.50"),
        "bytes": b"\xff",
        "deep": {"\ud800": ("x", {1: None})},
        "huge": 10**40,
    }
    body = json.loads(bytes(respond(Conflict("茶\udfff", **extra)).body).decode("utf-8"))
    assert body["detail"] == "茶?"
    assert body["lone"] == "a?b"
    assert (body["nan"], body["half"], body["amount"]) == ("nan", 0.5, "1.50")
    assert body["deep"] == {"?": ["x", {"1": None}]}


def test_own_members_cannot_be_overwritten() -> None:
    with pytest.raises(TypeError, match="status"):
        Conflict(status=200)


def test_retry_after_is_told() -> None:
    assert respond(Unavailable()).headers["retry-after"] == "1"


class Sent(Body):
    kind: Literal["a", "b"]
    count: int
    receipt_id: UUID
    secret: str

    @field_validator("secret")
    @classmethod
    def _quoting(cls, value: str) -> str:
        raise ValueError(f"{value} is not a secret")


def test_faults_point_and_explain_without_echo() -> None:
    canary = "canary-4711"
    document = {"kind": canary, "count": canary, "receipt_id": canary, "secret": canary, "a/b~c": canary}
    with pytest.raises(ValidationError) as refused:
        Sent.model_validate_json(json.dumps(document))
    found = {fault["pointer"]: fault for fault in faults(refused.value.errors())}
    assert set(found) == {"/kind", "/count", "/receipt_id", "/secret", "/a~1b~0c"}
    assert all(fault["in"] == "body" and fault["reason"] for fault in found.values())
    assert "canary" not in json.dumps(list(found.values()))


def test_faults_are_bounded() -> None:
    with pytest.raises(ValidationError) as refused:
        Sent.model_validate_json(json.dumps({"k" * 5000 + str(i): 1 for i in range(1000)}))
    problem = InvalidRequest(errors=faults(refused.value.errors()))
    assert len(problem.extra["errors"]) == FAULTS_MAX
    assert len(bytes(respond(problem).body)) < 20_000


@pytest.mark.parametrize(
    ("state", "status"),
    [("08006", 503), ("53300", 503), ("57014", 503), ("57P01", 503), ("55P03", 503), ("40001", 503), ("40P01", 503),
     ("23505", 500), ("42501", 500), ("22003", 500)],
)  # fmt: skip
def test_database_errors_by_state(state: str, status: int) -> None:
    origin = asyncpg.PostgresError("canary")
    origin.sqlstate = state  # type: ignore[misc]
    for error in (
        origin,
        DBAPIError("select canary", (), origin),
        IntegrityError("select canary", (), origin),
    ):
        with capture_logs():
            problem = translate(error)
        assert problem.status == status
        assert b"canary" not in bytes(respond(problem).body)


@pytest.mark.parametrize(
    ("status", "code"), [(404, "no-such-route"), (405, "method-not-allowed"), (418, "http-418")]
)
def test_frameworks_errors_keep_their_status(status: int, code: str) -> None:
    problem = translate(HTTPException(status, "canary", headers={"Allow": "GET"}))
    assert (problem.status, problem.code, problem.headers) == (status, code, {"Allow": "GET"})
    assert b"canary" not in bytes(respond(problem).body)


def test_every_problem_of_the_kit_tells_what_to_do() -> None:
    for module in ("auth", "files", "idempotency", "pagination"):
        importlib.import_module(f"channel_kit.{module}")
    kinds, open_kinds = set(), [Problem]
    while open_kinds:
        kind = open_kinds.pop()
        open_kinds += kind.__subclasses__()
        kinds.add(kind)
    ours = [
        kind for kind in kinds if kind.__module__.startswith("channel_kit.") and kind.__name__ != "Refused"
    ]
    assert len(ours) > 20
    for kind in ours:
        assert kind.title, kind
        assert kind.code == kind.code.lower().replace("_", "-"), kind
        assert 400 <= kind.status < 600, kind
