"""File work on a thread of its own, with a limit: a disk that hangs stalls nothing but the work it was asked for.

The thread is a daemon, so that a disk which never answers can't keep the process from ending either.
(The loop's own executor is joined at the end, for ever.) It ends when nobody has its Disk any more.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Final, TypeVar

T = TypeVar("T")

LIMIT: Final = 2.0
"""Seconds. A local disk answers in milliseconds, a busy network disk within one; requests may be waiting."""


class DiskHangs(OSError):
    """File work did not end within its limit. It may still end, some day."""

    def __init__(self, limit: float) -> None:
        super().__init__(f"no answer within {limit:g} s (does the disk hang?)")


class NoThread(OSError):
    """There may be no more threads now. The next to ask for file work tries again."""

    def __init__(self) -> None:
        super().__init__("no thread could be started (is a limit on processes met?)")


class Disk:
    """Does file work, one piece at a time, in the order it was asked for.

    `_jobs` grows in `do` and `soon` and shrinks in the thread, which the first of them starts; None is the last. The
    thread has but `_jobs`, so that it is over when the Disk is let go of, and what was asked for before is done.
    """

    def __init__(self, limit: float = LIMIT) -> None:
        self._limit = limit
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<Disk {self._jobs.qsize()} waiting>"

    def __del__(self) -> None:
        self._jobs.put(None)

    async def do(self, work: Callable[[], T], *, undo: Callable[[T], object] | None = None) -> T:
        """Return what `work` returns, raise what it raises; NoThread, or DiskHangs after the limit.

        Work that had not begun by then is dropped. Work that had begun goes on; when it ends after all,
        `undo` is given what it returned, in the thread or here.
        """
        job, limit = self.soon(work), self._limit
        del self  # a traceback would keep the thread
        bound = asyncio.timeout(limit)
        try:
            async with bound:
                return await asyncio.wrap_future(job)
        except BaseException as end:
            if undo is not None:
                job.add_done_callback(lambda late: _undo(late, undo))
            if isinstance(end, TimeoutError) and bound.expired():  # a cancellation in the same moment is one
                raise DiskHangs(limit) from None
            raise

    def soon(self, work: Callable[[], T]) -> Future[T]:
        """Have `work` done in its turn, without waiting for it. Raises NoThread."""
        if self._thread is None:
            thread = threading.Thread(target=_serve, args=(self._jobs,), name="disk", daemon=True)
            try:
                thread.start()
            except RuntimeError as fault:
                raise NoThread from fault
            self._thread = thread
        job: Future[T] = Future()
        self._jobs.put((job, work))
        return job


def within(limit: float, work: Callable[[], T], otherwise: T) -> T:
    """Return what `work` returns, for who has no loop; `otherwise` if it takes longer than `limit` seconds."""
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(work()), name="disk", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # there may be no more threads
        return otherwise
    thread.join(limit)
    return found[0] if found else otherwise


def _serve(jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]) -> None:
    while asked := jobs.get():
        job, work = asked
        if job.set_running_or_notify_cancel():
            try:
                job.set_result(work())
            except BaseException as fault:  # noqa: BLE001 - it is whoever asked who must see it, whatever it is
                job.set_exception(fault)
        del asked, job, work  # a result may hold a secret, and the work what asked for it: not until the next job comes


def _undo(job: "Future[T]", undo: Callable[[T], object]) -> None:
    if not job.cancelled() and job.exception() is None:
        undo(job.result())
