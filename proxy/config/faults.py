"""What is wrong with a configuration: one Fault per thing to mend, all of them in one BadConfig. Pure.

A fault shows places, keys and what to write instead. Never a value of the document: a secret may stand
anywhere.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.config.nodes import Place

# PandaDoc's keys and tokens have 40 characters: one written where a key belongs is not echoed.
_SHOWABLE = re.compile(r"[A-Za-z0-9_<][A-Za-z0-9_<.-]{0,31}")

# Characters below which a likeness says nothing: `on` is no mistyped `none`, but its opposite.
_TELLING = 3


class Fault(msgspec.Struct, frozen=True):
    place: str  # "config.yaml:12", a variable's name, or "environment"
    path: str  # "credentials.default.oauth2.client_id"; "" for the document as a whole
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.path, self.message) if part)


class BadConfig(Exception):
    """The configuration can't be used; `faults` holds everything that is wrong with it."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)


class Findings:
    """Faults or warnings, as they are found. The list grows by `add` alone, while one document is read."""

    def __init__(self) -> None:
        self._found: list[tuple[Place, str, str]] = []

    def __repr__(self) -> str:
        return f"Findings({len(self._found)})"

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, place: Place, path: str, message: str) -> None:
        self._found.append((place, path, message))

    def covers(self, path: str) -> bool:
        """Whether the value at a path, or one that it stands in, is known to be wrong."""
        return any(path == wrong or path.startswith(f"{wrong}.") for _, wrong, _ in self._found)

    def touches(self, path: str) -> bool:
        """Whether that, or anything that stands in it, is known to be wrong."""
        return self.covers(path) or any(wrong.startswith(f"{path}.") for _, wrong, _ in self._found)

    def ordered(self) -> tuple[Fault, ...]:
        """All of them, the file's by line, then the environment's by variable."""
        ordered = sorted(self._found, key=lambda found: (found[0].line is None, found[0].line, found[0].source))
        return tuple(Fault(str(place), path, message) for place, path, message in ordered)


def shown(key: str) -> str:
    """Write a key for people, unless it could be a secret that stands in a wrong place."""
    return key if _SHOWABLE.fullmatch(key) else "…"


def join(path: str, key: str) -> str:
    """Write the path of what stands under a key."""
    return f"{path}.{shown(key)}" if path else shown(key)


def suggestion(word: str, known: Collection[str]) -> str:
    """Say which of the known words is near, or which there are."""
    from difflib import get_close_matches  # noqa: PLC0415 - only who mistypes pays for it

    words = sorted(shown(word) for word in known)
    near = get_close_matches(word.lower().replace("-", "_"), words, 1) if len(word) >= _TELLING else []
    return f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(words)}"
