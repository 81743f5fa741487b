"""Where background tasks are born, kept and awaited. No other module starts one that outlives its function.

asyncio keeps only a weak reference to a task, and an exception in a lost task is never seen;
both are cured here. (The client of a Redis cluster keeps its own, and ends it when it is closed.)
"""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)


class Tasks:
    """The tasks that outlive the request which started them.

    `_running` grows in `start` and shrinks when a task ends; nobody else changes it.
    `_to_be_finished` is the part of it that a drain waits for; `_ending` is set when one begins.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._to_be_finished: set[asyncio.Task[Any]] = set()
        self._ending = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Tasks {sorted(task.get_name() for task in self._running)}>"

    def start(self, work: Coroutine[Any, Any, T], name: str, *, finish: bool = False) -> asyncio.Task[T]:
        """Run `work` on its own; a caller that goes away changes nothing for it.

        `finish` is for work that must not be cut off: a drain waits for it.
        """
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        if finish:
            self._to_be_finished.add(task)
        task.add_done_callback(self._ended)
        return task

    async def drain(self, seconds: float) -> None:
        """Give what must be finished `seconds` to its end; cancel all else, and what is late."""
        self._ending.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._to_be_finished:  # one that ends may have begun another
                    await asyncio.wait(self._to_be_finished)
                    await asyncio.sleep(0)
        for task in self._to_be_finished:
            log.warning("cut off after %.0f s: %s", seconds, task.get_name())
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    async def pause(self, seconds: float) -> bool:
        """Sleep, but not beyond the beginning of a drain; tell whether one has begun."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        return self._ending.is_set()

    async def pause_until(self, news: Coroutine[Any, Any, object]) -> bool:
        """Wait for `news`, but not beyond the beginning of a drain; tell whether one has begun."""
        waiting = {asyncio.ensure_future(news), asyncio.ensure_future(self._ending.wait())}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
        return self._ending.is_set()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        self._to_be_finished.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error("a fault of ours in %s", task.get_name(), exc_info=fault)
