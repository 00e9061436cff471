"""What the outside world did and was told: one line before and one after each call, on the disk before the next step.

Append-only JSON lines `{t, actor, op, key, kind, …}`. `kind` is invoke, then ok, fail (refused: it has no effect) or info
(nobody knows: a time-out, a broken line, a 5xx). The checker believes this file and nothing that the client remembers.
"""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

Kind = Literal["invoke", "ok", "fail", "info"]


class Line(NamedTuple):
    """One line. `more` is what else is known: a status, an order, an answer."""

    t: float
    actor: str
    op: str
    key: str
    kind: Kind
    more: dict[str, Any]


class History:
    """Writes lines; several that wait at one moment share one fsync."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab")
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, actor: str, op: str, key: str, kind: Kind, **more: Any) -> None:
        """Returns when the line is on the disk."""
        line = {"t": round(time.time(), 6), "actor": actor, "op": op, "key": key, "kind": kind, **more}
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((json.dumps(line, ensure_ascii=False).encode() + b"\n", written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await written

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await asyncio.to_thread(self._sync, b"".join(line for line, _ in batch))
            for _, written in batch:
                if not written.done():
                    written.set_result(None)
        self._writing = None

    def _sync(self, lines: bytes) -> None:
        self._file.write(lines)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> Iterator[Line]:
    """Every whole line of a history; one that was cut off at the end never happened."""
    with path.open("rb") as file:
        for raw in file:
            if not raw.endswith(b"\n"):
                return
            said = json.loads(raw)
            t, actor, op, key, kind = (said.pop(name) for name in ("t", "actor", "op", "key", "kind"))
            yield Line(t, actor, op, key, kind, said)


@dataclass
class Outcome:
    """All that happened under one (op, key)."""

    kinds: Counter[str] = field(default_factory=Counter)
    answers: set[str] = field(
        default_factory=set
    )  # what acknowledged attempts were answered, where it matters
    replayed: int = 0
    about: dict[str, Any] = field(default_factory=dict)  # of the first invocation

    @property
    def acknowledged(self) -> bool:
        return self.kinds["ok"] > 0

    @property
    def possible(self) -> bool:
        """Whether it may have happened: some attempt was acknowledged, or nobody knows of one."""
        open_ends = self.kinds["invoke"] - self.kinds["ok"] - self.kinds["fail"]
        return self.acknowledged or open_ends > 0


def outcomes(lines: Iterable[Line]) -> dict[tuple[str, str], Outcome]:
    """By (op, key). An invocation without any answer counts as unknown, as a crash of the client would leave it."""
    found: dict[tuple[str, str], Outcome] = {}
    for line in lines:
        each = found.setdefault((line.op, line.key), Outcome())
        each.kinds[line.kind] += 1
        if line.kind == "invoke" and not each.about:
            each.about = line.more
        if line.kind == "ok":
            each.replayed += bool(line.more.get("replayed"))
            if (answer := line.more.get("answer")) is not None:
                each.answers.add(str(answer))
    return found
