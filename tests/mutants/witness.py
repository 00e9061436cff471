"""A pytest plugin that tells the run's master what became of each test, and where the code came from.

Loaded by name (`-p`) in the pytest of a trial, which runs in the copy. It writes one JSON document to the file
that `MUTANTS_WITNESS` names: how each test ended and by which kind of error, what could not be collected, and
every module of ours that was imported from somewhere else.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

FILE, PACKAGES = "MUTANTS_WITNESS", "MUTANTS_PACKAGES"
PASSED, ASSERTION, ERROR, SETUP = "passed", "assertion", "error", "setup"

_ended: dict[str, tuple[str, str]] = {}
_uncollected: list[str] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    what = ""
    if call.excinfo is not None:
        what = f"{call.excinfo.typename}: {call.excinfo.value}"[:400]
    if report.when == "call" and report.passed:
        _ended.setdefault(item.nodeid, (PASSED, ""))
    elif report.when == "call" and call.excinfo is not None:
        asserted = isinstance(call.excinfo.value, AssertionError | pytest.fail.Exception)
        _ended[item.nodeid] = (ASSERTION if asserted else ERROR, what)
    elif not report.passed:
        _ended.setdefault(item.nodeid, (SETUP, what))
    return report


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _uncollected.append(f"{report.nodeid}: {report.longreprtext[-400:]}")


def pytest_sessionfinish() -> None:
    here, ours = Path.cwd(), set(os.environ[PACKAGES].split())
    strangers = {
        name: str(file)
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in ours
        and (file := getattr(module, "__file__", None)) is not None
        and not Path(file).is_relative_to(here)
    }
    imported = sorted(ours & sys.modules.keys())
    told = {"ended": _ended, "uncollected": _uncollected, "strangers": strangers, "imported": imported}
    Path(os.environ[FILE]).write_text(json.dumps(told))
