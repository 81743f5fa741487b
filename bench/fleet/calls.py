"""What an engine is asked, counted by kind and by time."""

from collections import Counter
from collections.abc import Callable
from typing import Final

PARTS: Final = 10
"""Of a second, in which calls are counted: a window of one second is moved in such steps."""


class Calls:
    """How often what was called, and when. `add` alone changes it."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._parts: Counter[int] = Counter()
        self._kinds: Counter[tuple[int, str]] = Counter()  # by second and kind

    def __repr__(self) -> str:
        return f"<Calls {self._parts.total()}>"

    def add(self, kind: str) -> None:
        now = self._now()
        self._parts[int(now * PARTS)] += 1
        self._kinds[int(now), kind] += 1

    def total(self, begin: float, end: float) -> int:
        """Return how many there were from `begin` to before `end`."""
        return sum(self._parts[part] for part in range(int(begin * PARTS), int(end * PARTS)))

    def peak(self, begin: float, end: float) -> int:
        """Return how many there were in the busiest second."""
        first, last = int(begin * PARTS), int(end * PARTS)
        window = most = sum(self._parts[part] for part in range(first, first + PARTS))
        for part in range(first, last - PARTS):
            window += self._parts[part + PARTS] - self._parts[part]
            most = max(most, window)
        return most

    def kinds(self, begin: float, end: float) -> dict[str, int]:
        """Return how many there were of each kind, in whole seconds."""
        found: Counter[str] = Counter()
        for (second, kind), number in self._kinds.items():
            if int(begin) <= second < end:
                found[kind] += number
        return dict(sorted(found.items()))
