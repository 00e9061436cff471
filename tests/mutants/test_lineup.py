"""The planted bugs still fit the code, their tests still exist, and the judge knows a test that noticed.

Quick, and part of every test run; that each bug is really noticed is what `python -m tests.mutants` shows.
"""

import ast
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from . import witness
from .lineup import SABOTEURS
from .saboteur import Edit
from .tree import ROOT, DoesNotApply, Tree, planted
from .trial import NotTheCopy, Trial, Void, not_green, not_red

FEWEST = 14
ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
EDITS = {
    (edit.file, edit.original): edit for each in SABOTEURS for edit in (each.edit, each.second_wall) if edit
}
TESTS = sorted({test for each in SABOTEURS for test in each.tests})


def test_there_are_enough_and_each_has_its_own_name() -> None:
    assert len({each.name for each in SABOTEURS}) == len(SABOTEURS) >= FEWEST
    assert all(each.tests for each in SABOTEURS)


@pytest.mark.parametrize(
    "edit", EDITS.values(), ids=lambda edit: f"{Path(edit.file).stem}:{edit.original[:30]}"
)
def test_each_still_applies_exactly_once_and_is_python(edit: Edit) -> None:
    ast.parse(planted((ROOT / edit.file).read_text(), edit))


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.partition("::")[2])
def test_the_tests_that_are_named_exist(test: str) -> None:
    """Which case of a parametrised one is left to the control of a real run."""
    file, *path = test.partition("[")[0].split("::")
    within: Sequence[ast.AST] = [ast.parse((ROOT / file).read_text())]
    for name in path:
        within = [
            each
            for outer in within
            for each in ast.iter_child_nodes(outer)
            if isinstance(each, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and each.name == name
        ]
    assert len(within) == 1


def test_no_test_that_is_named_runs_code_in_processes_of_its_own() -> None:
    """They would be started without the paths of the copy and run what is not sabotaged."""
    files = {name.partition("::")[0] for name in TESTS}
    assert [name for name in sorted(files) if "testing.processes" in (ROOT / name).read_text()] == []


@pytest.mark.parametrize("text", ["nothing of it", "a line; and again: a line"])
def test_a_bug_that_does_not_fit_exactly_once_is_refused(text: str) -> None:
    with pytest.raises(DoesNotApply, match="exactly once"):
        planted(text, Edit("x.py", "a line", "another"))


TRIED = """
import pytest
from part import ANSWER

@pytest.fixture
def broken():
    assert ANSWER == 43

def test_notices():
    assert ANSWER == 42

def test_notices_that_nothing_was_refused():
    with pytest.raises(ValueError):
        int(ANSWER)

def test_breaks():
    raise LookupError(ANSWER)

def test_is_not_even_set_up(broken):
    assert ANSWER == 42

def test_sleeps():
    assert ANSWER
"""


@pytest.fixture
def small(tmp_path: Path) -> Tree:
    """A tree of one package and its tests."""
    for name, text in {
        "pyproject.toml": '[tool.uv.workspace]\nmembers = ["parts/*"]\n',
        "parts/one/src/part/__init__.py": "ANSWER = 42\n",
        "test_tried.py": TRIED,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "tests" / "mutants").mkdir(parents=True)
    shutil.copy(witness.__file__, tmp_path / "tests" / "mutants")
    return Tree(tmp_path)


def test_only_an_assertion_of_the_test_itself_counts_as_noticed(small: Tree) -> None:
    trial, file = Trial(small, ALONE), small.folder / "parts/one/src/part/__init__.py"
    names = [
        "notices",
        "notices_that_nothing_was_refused",
        "breaks",
        "is_not_even_set_up",
        "sleeps",
        "is_absent",
    ]
    tests = [f"test_tried.py::test_{name}" for name in names]
    with small.with_edits(Edit("parts/one/src/part/__init__.py", "42", "41")):
        assert file.read_text() == "ANSWER = 41\n"
        ended = trial.run(tests[:-1])
    assert file.read_text() == "ANSWER = 42\n"
    assert [told.partition(": ")[0] for told in not_red(tests, ended)] == tests[2:]
    assert [told.partition(": ")[0] for told in not_green(tests, ended)] == [*tests[:4], tests[5]]


def test_a_module_that_is_no_python_is_not_a_test_that_noticed(small: Tree) -> None:
    broken = Edit("parts/one/src/part/__init__.py", "42", "= 42")
    with small.with_edits(broken), pytest.raises(Void, match="not collected"):
        Trial(small, ALONE).run(["test_tried.py::test_sleeps"])


def test_code_from_elsewhere_makes_every_run_void(
    small: Tree, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "part.py").write_text("ANSWER = 42\n")
    strayed = f"import sys\nsys.path.insert(0, {str(elsewhere)!r})\n{TRIED}"
    (small.folder / "test_strayed.py").write_text(strayed)
    with pytest.raises(NotTheCopy, match="elsewhere"):
        Trial(small, ALONE).run(["test_strayed.py::test_sleeps"])
