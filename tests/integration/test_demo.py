"""The demo as a newcomer runs it: one command, a throw-away stack, exit 0 only when everything adds up."""

import subprocess
import sys
from pathlib import Path

from .deployment import environment_of_up


def test_the_demo_day_ends_with_everything_in_its_place(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "qudao.main", "demo", "--orders", "120", "--seed", "20"],
        env=environment_of_up(TMPDIR=str(tmp_path)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert told.returncode == 0, told.stdout[-8000:] + told.stderr[-2000:]
    assert "Everything adds up." in told.stdout
    assert "BREACH" not in told.stdout
    assert list(tmp_path.iterdir()) == [], "a throw-away stack leaves nothing"
