"""Writes the locks, or says that they no longer match the pyprojects (`--check`, offline).

`requirements.lock` holds what the product runs on, `requirements-dev.lock` what the tests add, both with hashes
and without any address. `uv.lock` names the package index in every entry and therefore stays out of the repository.
Each lock begins with a fingerprint of the declared dependencies; that is what `--check` compares.
"""

import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = ROOT / ".venv" / "bin" / "uv"
MARK = "# declared: "
LOCKS = {
    "requirements.lock": ["--no-dev"],
    "requirements-dev.lock": ["--only-group", "dev"],
}


def declared() -> str:
    """Fingerprint of every dependency that some pyproject declares."""
    texts = []
    for path in sorted(
        [ROOT / "pyproject.toml", *ROOT.glob("*/*/pyproject.toml"), *ROOT.glob("cli/pyproject.toml")]
    ):
        project = tomllib.loads(path.read_text())
        texts.append(f"{path.relative_to(ROOT)}{project['project'].get('dependencies')}")
        texts.append(
            str(project["project"].get("optional-dependencies")) + str(project.get("dependency-groups"))
        )
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def write() -> None:
    subprocess.run([UV, "lock", "--quiet"], cwd=ROOT, check=True)  # noqa: S603
    for name, choice in LOCKS.items():
        command = [
            UV,
            "export",
            "--quiet",
            "--frozen",
            "--no-emit-workspace",
            "--no-annotate",
            "--no-header",
            *choice,
        ]
        exported = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S603
        (ROOT / name).write_text(f"{MARK}{declared()}\n{exported}")
        print(f"{name}: {exported.count('==')} packages")


def check() -> int:
    """0 when every lock was written for today's pyprojects."""
    stale = [name for name in LOCKS if not (ROOT / name).read_text().startswith(f"{MARK}{declared()}\n")]
    for name in stale:
        print(f"{name} does not match the pyprojects any more: run `make lock`")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(check() if "--check" in sys.argv else write())
