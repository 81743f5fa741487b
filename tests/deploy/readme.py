"""The commands that deploy/README.md tells people to run."""

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Final

README: Final = Path(__file__).parents[2] / "deploy" / "README.md"


def blocks(language: str, text: str | None = None) -> list[str]:
    """Return the README's blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", README.read_text() if text is None else text, re.DOTALL)


def commands(program: str, text: str | None = None) -> list[list[str]]:
    """Return the words of each command of a program in the README's blocks."""
    lines = [line for block in blocks("sh", text) for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(f"{program} ")]


def after(flag: str, words: list[str]) -> list[str]:
    """Return what follows each use of a flag."""
    return [value for name, value in pairwise(words) if name == flag]
