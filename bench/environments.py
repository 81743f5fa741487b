"""Peers that pip brings: each in a virtual environment of its own, pinned by hashes. Nothing of theirs reaches ours."""

import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.peer import ROOT, Missing

FOLDER: Final = ROOT / ".venv-bench"


def environment(name: str) -> Path:
    """Make the environment of requirements/bench-NAME.txt, unless it is there. Raise Missing where that fails."""
    lock, folder = ROOT / "requirements" / f"bench-{name}.txt", FOLDER / name
    made = folder / ".ready"
    if not made.exists() or made.stat().st_mtime < lock.stat().st_mtime:
        _run(sys.executable, "-m", "venv", "--clear", folder)
        _run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--require-hashes", "-r", lock)
        made.touch()
    return folder


def _run(*argv: str | Path) -> None:
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603 - Python's own modules
    if ended.returncode:
        raise Missing((ended.stdout + ended.stderr).strip().splitlines()[-1])
