"""When batch requests may leave: spread over the window, around the others. Pure: moments are monotonic seconds.

To go last in the line is not enough: batch jobs that take whatever comes free have all of a window in its first
seconds, and who asks then waits for the rest of it, in this window and in each that follows. So a batch request
leaves only while all requests together are no more than the rate has room for by then. Slots then come back as
evenly as they went, and whoever comes between waits for the next one, not for the next window. Nothing of the rate is
lost: it is the generic cell rate algorithm (ITU-T I.371), of which the others' requests are counted and never held.
"""

from math import inf
from typing import Final

SLACK: Final = 60
"""Parts of a window, of which one may be made up for: a batch request that comes late costs nothing."""


class Pace:
    """Knows when the next batch request is due. `_due` is changed by `went`, `came_back` and `resize` alone."""

    def __init__(self) -> None:
        self._due = -inf

    def __repr__(self) -> str:
        return f"<Pace due={self._due:.3f}>"

    def went(self, now: float, window: float, slots: int) -> None:
        """Note that a request leaves, of whatever priority; `window` in seconds, which has so many slots."""
        self._due = min(max(self._due, now) + window / slots, now + window)

    def came_back(self, window: float, slots: int) -> None:
        """Note that a slot was given back: nothing has left."""
        self._due -= window / slots

    def resize(self, now: float, window: float) -> None:
        """Go on with another window: nobody is due later than that."""
        self._due = min(self._due, now + window)

    def opens_in(self, now: float, window: float) -> float:
        """Return in how many seconds the next batch request may leave; `window` in seconds."""
        return max(0.0, self._due - now - window / SLACK)
