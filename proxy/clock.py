"""The two clocks, passed in wherever time decides something, so that tests can turn them.

Here lives the only access to the machine's time that a decision may rest on.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds, twice: by the wall, and by a watch that nobody can turn back."""

    def wall(self) -> float:
        """Seconds since 1970. Steps with the machine's clock; the only one that survives a restart."""
        ...

    def monotonic(self) -> float:
        """Seconds since some start. Never goes back; may stand still while the machine sleeps."""
        ...


class SystemClock:
    """The machine's own clocks."""

    wall = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
