"""SIGTERM and SIGINT: the first asks for a calm end, the second ends at once."""

import asyncio
import logging
import os
import signal
from types import FrameType
from typing import Final

log = logging.getLogger(__name__)

ENDING: Final = (signal.SIGTERM, signal.SIGINT)


def leave_while_starting() -> None:
    """Exit 0 on SIGTERM until a loop takes over: as PID 1 a process without a handler never gets the signal."""
    signal.signal(signal.SIGTERM, _leave)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)  # nothing is bound, sent or stored yet


def end_by_cancelling() -> None:
    """Have SIGTERM and a terminal that goes away (SIGHUP) cancel the current task, as Ctrl-C does.

    SIGHUP does so once, for it comes twice where a shell passes it on, and not at all under nohup.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None  # noqa: S101 - it is called from one
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, lambda: task.cancelling() or task.cancel())


class Signals:
    """Catches the signals for the current task. `_first` is set by the first one."""

    def __init__(self) -> None:
        self._first = asyncio.Event()
        self._whole = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in ENDING:
            loop.add_signal_handler(number, self._caught)

    async def first(self) -> None:
        """Wait for the first signal."""
        await self._first.wait()

    def _caught(self) -> None:
        if self._first.is_set() and self._whole is not None:
            log.warning("a second signal: ending at once")
            self._whole.cancel()
        self._first.set()
