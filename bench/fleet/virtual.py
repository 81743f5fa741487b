"""Time that passes only when nothing else can happen: an event loop that jumps to its next timer.

Never here: a socket, a file, a thread. What would wait for one of them fails at once.
"""

import asyncio
from typing import Final

EPOCH: Final = 1_800_000_000.0
"""What the wall says when a run begins, in seconds since 1970."""


class Standstill(RuntimeError):
    """Everybody waits for somebody, and no timer is left to wake one."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop on which an hour takes as long as what is done in it.

    `_now` is the time in seconds since the loop began; `select` alone changes it, and it never goes back.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = self  # what BaseEventLoop waits at

    def __repr__(self) -> str:
        return f"<VirtualLoop at {self._now:.3f} s>"

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> tuple[()]:
        """Let `timeout` seconds pass, at once: that is when the next timer is due."""
        if timeout is None:
            raise Standstill("nobody is left who could go on")
        self._now += timeout
        return ()

    def _process_events(self, events: tuple[()]) -> None:
        """Nothing comes from outside."""

    def _write_to_self(self) -> None:
        """Nobody sleeps who would have to be woken."""


class VirtualClock:
    """A replica's clocks: the loop's, and a wall clock that is `skew` seconds ahead."""

    def __init__(self, loop: asyncio.AbstractEventLoop, skew: float = 0.0) -> None:
        self.monotonic = loop.time
        self._ahead = EPOCH + skew

    def wall(self) -> float:
        return self.monotonic() + self._ahead
