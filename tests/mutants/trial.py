"""One pytest run in the copy, and the judgement on what it says.

A bug counts as caught only when every test named for it ran and failed by an assertion in its own body. A module
that cannot be imported, a fixture that breaks, another kind of exception, a run that hangs: none of that is a
test that noticed. Code that came from elsewhere than the copy makes the whole run void.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from . import witness
from .tree import Tree

SECONDS_MAX = 120
_PLUGIN = "tests.mutants.witness"


class Void(Exception):
    """The run proves nothing about its tests; the message says why."""


class NotTheCopy(Exception):
    """Code of ours came from elsewhere, so that no run proves anything."""


class Ended(NamedTuple):
    """How one test ended: a word of `witness`, and the error."""

    how: str
    error: str


class Trial:
    """Runs tests in a copy of the repository; `variables` name the servers that are up already."""

    def __init__(self, tree: Tree, variables: Mapping[str, str]) -> None:
        self._tree = tree
        self._report = tree.folder / "witness.json"
        self._environment = {
            **{
                name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))
            },
            **variables,
            "PYTHONPATH": os.pathsep.join(map(str, tree.sources)),
            witness.FILE: str(self._report),
            witness.PACKAGES: " ".join(tree.packages),
        }

    def run(
        self, tests: Sequence[str], *, keep_compiled: bool = False, seconds: float = SECONDS_MAX
    ) -> dict[str, Ended]:
        """How each of these tests ended. Raises Void and NotTheCopy.

        `keep_compiled` is for the untouched copy: later runs then compile nothing but what was changed.
        """
        self._report.unlink(missing_ok=True)
        command = [sys.executable, *(() if keep_compiled else ("-B",)), "-m", "pytest", "-p", _PLUGIN]
        # A plugin that no test here needs would cost each run a second.
        options = ["-q", "--no-header", "--tb=short", "-p", "no:cacheprovider", "-p", "no:schemathesis"]
        try:
            done = subprocess.run(
                [*command, *options, *tests],
                cwd=self._tree.folder,
                env=self._environment,
                capture_output=True,
                text=True,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            raise Void(f"no end after {seconds:g} s") from None
        said = (done.stdout + done.stderr)[-3_000:]
        if not self._report.exists():
            raise Void(f"pytest ended with {done.returncode} before its witness could speak:\n{said}")
        told = json.loads(self._report.read_text())
        if told["strangers"]:
            raise NotTheCopy(f"imported from elsewhere: {told['strangers']}")
        if told["uncollected"] or done.returncode not in (0, 1):
            raise Void(f"pytest ended with {done.returncode}; not collected: {told['uncollected']}\n{said}")
        if not told["imported"]:
            raise NotTheCopy("nothing of ours was imported at all")
        return {name: Ended(*ended) for name, ended in told["ended"].items()}


def not_green(tests: Sequence[str], ended: Mapping[str, Ended]) -> list[str]:
    """Which of the tests did not pass, and how they ended."""
    return [_told(test, ended) for test in tests if test not in ended or ended[test].how != witness.PASSED]


def not_red(tests: Sequence[str], ended: Mapping[str, Ended]) -> list[str]:
    """Which of the tests did not fail by an assertion, and how they ended instead."""
    return [_told(test, ended) for test in tests if test not in ended or ended[test].how != witness.ASSERTION]


def _told(test: str, ended: Mapping[str, Ended]) -> str:
    how, error = ended.get(test, Ended("not run", ""))
    return f"{test}: {how}{' by ' if error else ''}{error}"
