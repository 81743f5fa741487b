"""Whether a caller is still there while its request waits: asked each second, for its socket may be left alone."""

import asyncio
from collections.abc import Callable
from typing import Final

EVERY: Final = 1.0
"""Seconds between two looks."""


class Watch:
    """Looks each second from `with` to its end; to look at a caller that has hung up is to cancel its request.

    `_timer` is the next look.
    """

    def __init__(self, is_attended: Callable[[], bool]) -> None:
        self._is_attended = is_attended
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Watch {self._timer}>"

    def __enter__(self) -> None:
        self._look_later()

    def __exit__(self, *_raised: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        if self._is_attended():
            self._look_later()

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(EVERY, self._look)
