"""Plants every bug of `lineup`, one at a time, and demands that the tests named for it notice.

`python -m tests.mutants [names …]` from the root of the repository. First all those tests run on the untouched
copy and must be green; then each bug must turn its own red. Prints a table and "N of N caught"; ends with 1 when
one survives, with 2 when the run proves nothing (a bug that does not apply any more, a control that is red).
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .lineup import SABOTEURS
from .saboteur import Saboteur
from .servers import servers
from .tree import DoesNotApply, Tree
from .trial import NotTheCopy, Trial, Void, not_green, not_red

CONTROL_SECONDS_MAX = 300


class Verdict(NamedTuple):
    """What came of one saboteur; `fault` is empty when it was caught."""

    saboteur: Saboteur
    fault: str
    seconds: float

    @property
    def caught_by(self) -> list[str]:
        """The tests that noticed, by file name, one a line of the table."""
        if self.fault:
            return ["SURVIVED"]
        wall = ["the second wall; with that down too:"] if self.saboteur.second_wall else []
        return wall + [test.rpartition("/")[2] for test in self.saboteur.tests]


def main(names: Sequence[str]) -> int:
    """Runs the saboteurs of these names, or all; returns the exit code."""
    if unknown := set(names) - {each.name for each in SABOTEURS}:
        print(f"no such saboteur: {', '.join(sorted(unknown))}; there are:")
        print("\n".join(f"  {each.name}: {each.breaks}" for each in SABOTEURS))
        return 2
    wanted = [each for each in SABOTEURS if not names or each.name in names]
    # Not where only this user may pass: PostgreSQL may run as another one.
    with tempfile.TemporaryDirectory(prefix="qudao-mutants-") as place, servers(Path(place)) as addresses:
        tree = Tree.copied(Path(place) / "tree")
        trial = Trial(tree, addresses)
        try:
            control(trial, wanted)
            verdicts = [judged(tree, trial, each) for each in wanted]
        except (DoesNotApply, NotTheCopy, Void) as problem:
            print(f"\nthis run proves nothing: {problem}")
            return 2
    show(verdicts)
    return int(any(verdict.fault for verdict in verdicts))


def control(trial: Trial, wanted: Sequence[Saboteur]) -> None:
    """All tests at once, on code that nobody touched. Raises Void unless every one is green."""
    tests = sorted({test for each in wanted for test in each.tests})
    started = time.monotonic()
    red = not_green(tests, trial.run(tests, keep_compiled=True, seconds=CONTROL_SECONDS_MAX))
    if red:
        raise Void("the tests are not green on the untouched copy:\n  " + "\n  ".join(red))
    print(f"control: {len(tests)} tests, all green, {time.monotonic() - started:.1f} s", flush=True)


def judged(tree: Tree, trial: Trial, saboteur: Saboteur) -> Verdict:
    """Plants one bug, runs its tests, takes it out again. Raises DoesNotApply and NotTheCopy."""
    started = time.monotonic()
    try:
        fault = _fault(tree, trial, saboteur)
    except Void as reason:  # it broke the run itself: no test noticed anything
        fault = str(reason)
    verdict = Verdict(saboteur, fault, time.monotonic() - started)
    print(f"{'survived' if fault else 'caught':>8}  {saboteur.name}  {verdict.seconds:.1f} s", flush=True)
    return verdict


def _fault(tree: Tree, trial: Trial, saboteur: Saboteur) -> str:
    tests, edits = saboteur.tests, [saboteur.edit]
    if saboteur.second_wall is not None:
        with tree.with_edits(*edits):
            if red := not_green(tests, trial.run(tests)):
                return f"the second wall did not stop it: {'; '.join(red)}"
        edits.append(saboteur.second_wall)
    with tree.with_edits(*edits):
        return "; ".join(not_red(tests, trial.run(tests)))


def show(verdicts: Sequence[Verdict]) -> None:
    """The table, what survived and why, and the sum."""
    rows = [("saboteur", "file", "caught by", "seconds")]
    for verdict in verdicts:
        first, *others = verdict.caught_by
        rows.append((verdict.saboteur.name, verdict.saboteur.edit.file, first, f"{verdict.seconds:.1f}"))
        rows += [("", "", other, "") for other in others]
    wide = [max(len(row[column]) for row in rows) for column in range(4)]
    print()
    for name, file, caught_by, seconds in rows:
        print(f"{name:<{wide[0]}}  {file:<{wide[1]}}  {caught_by:<{wide[2]}}  {seconds:>{wide[3]}}")
    for verdict in verdicts:
        if verdict.fault:
            print(f"\n{verdict.saboteur.name} survived ({verdict.saboteur.breaks}):\n  {verdict.fault}")
    print(f"\n{sum(not verdict.fault for verdict in verdicts)} of {len(verdicts)} caught")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
