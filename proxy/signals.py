"""SIGTERM and SIGINT: the first asks for a calm end, the second ends at once. SIGHUP asks to read the files again."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

log = logging.getLogger(__name__)

ENDING: Final = (signal.SIGTERM, signal.SIGINT)


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
    """Catches the signals for the current task.

    `_first` is set by the first that asks for the end, or by `pretend`; `_again` by SIGHUP, and taken back by
    `asked_again`; `_any` by either of them. `_bound` is there while work is done `until_first`.
    """

    def __init__(self) -> None:
        self._first = asyncio.Event()
        self._any = asyncio.Event()
        self._again = False
        self._bound: asyncio.Timeout | None = None
        self._whole = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in ENDING:
            loop.add_signal_handler(number, self._caught)

    def pretend(self) -> None:
        """Do as if the first signal that asks for the end had come; it never counts as a second one."""
        if self._bound is not None and not self._first.is_set():
            self._bound.reschedule(0)
        self._first.set()
        self._any.set()

    async def first(self) -> None:
        """Wait for the first signal that asks for the end."""
        await self._first.wait()

    @asynccontextmanager
    async def until_first(self) -> AsyncIterator[None]:
        """Break off what is done within, and go on behind it, when the first signal that asks for the end comes."""
        bound = asyncio.timeout(0 if self._first.is_set() else None)
        try:
            async with bound:
                self._bound = bound
                yield
        except TimeoutError:
            if not bound.expired():
                raise
        finally:
            self._bound = None

    def reload_on_hangup(self) -> None:
        """Take SIGHUP for the wish to have the configuration read again, as daemons do."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hung_up)

    async def end_within(self, seconds: float) -> bool:
        """Wait for any signal, so long at most; tell whether one asks for the end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._any.wait()
        self._any.clear()
        return self._first.is_set()

    def asked_again(self) -> bool:
        """Tell whether SIGHUP has come since the last time."""
        asked, self._again = self._again, False
        return asked

    def _hung_up(self) -> None:
        self._again = True
        self._any.set()

    def _caught(self) -> None:
        if self._first.is_set() and self._whole is not None:
            log.warning("a second signal: ending at once")
            self._whole.cancel()
        self.pretend()
