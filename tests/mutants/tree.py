"""A copy of the repository in which one line can be changed and put back.

Owns what belongs to the copy, what is imported from it, and the rule that a change must fit exactly once. The
repository itself is never written to. Used by `__main__`; `planted` also by `test_lineup`.
"""

import importlib.util
import os
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from .saboteur import Edit

ROOT = Path(__file__).parents[2]
PARTS = ("shared", "services", "cli", "tests", "pyproject.toml")
_SKIPPED = shutil.ignore_patterns(
    "__pycache__", "*.egg-info", ".*_cache", ".hypothesis", "node_modules", "results"
)


class DoesNotApply(Exception):
    """The code has moved on: the original of a saboteur is gone, or stands in its file more than once."""


def planted(text: str, edit: Edit) -> str:
    """The text of the file with the bug in it. Raises DoesNotApply."""
    if (found := text.count(edit.original)) != 1:
        raise DoesNotApply(f"{edit.file} has {found} × {edit.original!r}; it must stand there exactly once")
    return text.replace(edit.original, edit.replacement)


class Tree:
    """A copy, as it stands in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def copied(cls, folder: Path) -> Self:
        """Copies what tests need of the repository into a folder that is not there yet."""
        for name in PARTS:
            source, target = ROOT / name, folder / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=_SKIPPED)
            else:
                shutil.copy2(source, target)
        return cls(folder)

    @property
    def sources(self) -> list[Path]:
        """Where the copy's packages are imported from: every `src` of the workspace."""
        members = tomllib.loads((self.folder / "pyproject.toml").read_text())["tool"]["uv"]["workspace"][
            "members"
        ]
        return sorted(path for pattern in members for path in self.folder.glob(f"{pattern}/src"))

    @property
    def packages(self) -> list[str]:
        """Names of the copy's packages."""
        return sorted(path.parent.name for source in self.sources for path in source.glob("*/__init__.py"))

    @contextmanager
    def with_edits(self, *edits: Edit) -> Iterator[None]:
        """The copy with these bugs in it. Raises DoesNotApply and changes nothing when one does not fit."""
        files = [self.folder / edit.file for edit in edits]
        before = [(path, path.read_text(), path.stat()) for path in files]
        changed = [planted(text, edit) for (_, text, _), edit in zip(before, edits, strict=True)]
        try:
            for path, text in zip(files, changed, strict=True):
                path.write_text(text)
                # Python trusts a compiled file by the time and size of its source, and both can be alike.
                Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
            yield
        finally:
            for path, text, stat in before:
                path.write_text(text)
                os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
