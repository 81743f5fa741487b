"""How many slots batch requests leave to the others. Pure: the moment is passed in, in monotonic seconds.

To go last in the line is not enough: batch jobs that take whatever comes free have all of a window in its first
seconds, and who asks then waits for the rest of it. So they leave as many slots as the others have asked for in the
last window, and one more for each of those that had to wait: without that, whoever fell behind once stays behind, for
no more slots come back than are asked for.
"""

from collections import deque


class Reserve:
    """Counts those that are no batch requests. `_asked`, when each came or began to wait, is changed by the verbs."""

    def __init__(self) -> None:
        self._asked: deque[float] = deque()

    def __repr__(self) -> str:
        return f"<Reserve {len(self._asked)}>"

    def note(self, now: float, window: float) -> None:
        """Note that one came, and once more if it must wait; `window` in seconds."""
        self._asked.append(now)
        self._expire(now - window)

    def slots(self, now: float, window: float) -> int:
        """Return how many slots to leave."""
        self._expire(now - window)
        return len(self._asked)

    def _expire(self, before: float) -> None:
        asked = self._asked
        while asked and asked[0] <= before:
            asked.popleft()
