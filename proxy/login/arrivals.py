"""What comes back to a login, whichever way it takes: the browser at the callback, or a line in the terminal."""

import asyncio
import codecs
import os
import select
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from proxy.login.consent import is_answer
from proxy.login.pages import Page, another_login

WAITING: Final = 100
"""Lines of the terminal that may wait to be judged: a program may write there without end."""

LONGEST: Final = 64 * 1024
"""Characters of a line that are kept. An address with a code has a few hundred."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Something that may hold the code. `text` is never shown; a browser waits for `page`."""

    text: str = field(repr=False)
    pasted: bool
    page: "asyncio.Future[Page]"

    def show(self, page: Page) -> None:
        """Answer the browser, if it is still there: one that leaves cancels what it waits for."""
        if not self.page.done():
            self.page.set_result(page)


class Arrivals:
    """Queues what comes back: of what browsers bring, what has this login's `state`.

    `_queue` grows in `browser` and from the terminal's thread, which waits for `_room`; `_last` is set by `end`.
    """

    def __init__(self, state: str) -> None:
        self._state = state
        self._queue: asyncio.Queue[Arrival | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._room = threading.Semaphore(WAITING)
        self._last: Page | None = None

    def __repr__(self) -> str:
        return f"<Arrivals {self._queue.qsize()} waiting>"

    async def next(self) -> Arrival | None:
        """Wait for the next one; None when the terminal has ended."""
        arrival = await self._queue.get()
        if arrival is None or arrival.pasted:
            self._room.release()
        return arrival

    async def browser(self, query: str) -> Page:
        """Queue what a browser brought; return the page to show it once it was judged."""
        if not is_answer(query, self._state):
            return another_login()
        if self._last is not None:
            return self._last
        arrival = Arrival(query, pasted=False, page=self._loop.create_future())
        self._queue.put_nowait(arrival)
        return await arrival.page

    def end(self, page: Page) -> None:
        """Answer whoever still waits, and whoever comes later, with `page`: somebody may have reloaded his."""
        self._last = page
        while not self._queue.empty():
            if (waiting := self._queue.get_nowait()) is not None:
                waiting.show(page)

    def listen(self, terminal: int) -> None:
        """Read lines from a file descriptor, in a daemon thread: a terminal can't be waited for in any other way.

        (A pipe could, and a file could not; and a blocked read must not keep the process from ending.)
        """
        threading.Thread(target=self._read, args=(terminal,), name="terminal", daemon=True).start()

    def _read(self, terminal: int) -> None:
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        rest = ""
        while piece := _piece(terminal):
            *lines, rest = (rest + decode(piece)).split("\n")
            rest = rest[:LONGEST]
            for line in lines:
                self._tell(line)
        self._tell(rest)
        self._tell(None)

    def _tell(self, line: str | None) -> None:
        if line is None or line.strip():
            self._room.acquire()
            with suppress(RuntimeError):  # the login is over, and its loop closed
                self._loop.call_soon_threadsafe(self._pasted, line)

    def _pasted(self, line: str | None) -> None:
        pasted = None if line is None else Arrival(line, pasted=True, page=self._loop.create_future())
        self._queue.put_nowait(pasted)


def _piece(terminal: int) -> bytes:
    try:
        while True:
            with suppress(BlockingIOError):  # whoever had the terminal before may have left it so
                return os.read(terminal, 4096)
            select.select([terminal], [], [])
    except OSError:  # closed, or a background process may not read: as good as its end
        return b""
