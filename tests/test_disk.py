"""File work on its own thread: in order, within a limit, and what happens to what comes too late."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from rig import until

from proxy.disk import Disk, DiskHangs, NoThread, within

SHORT = 0.02
"""Seconds. A limit that is always reached, for the work of these tests ends only when it is told to."""


class Stuck:
    """Work that hangs, as on a dead NFS server, until it is released; a fixture does that at the latest."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.released = threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        self.released.wait(30)
        return "late"


@pytest.fixture
async def stuck() -> AsyncIterator[Stuck]:
    work = Stuck()
    yield work
    work.released.set()


async def test_work_returns_and_raises_as_if_it_were_done_here() -> None:
    def fails() -> None:
        raise PermissionError(13, "no")

    disk = Disk()
    assert await disk.do(lambda: 42) == 42
    with pytest.raises(PermissionError, match="no"):
        await disk.do(fails)
    assert await disk.do(lambda: 43) == 43


async def test_an_interruption_of_the_work_is_the_askers_and_the_thread_goes_on() -> None:
    def leaves() -> None:
        raise SystemExit(3)

    disk = Disk()
    with pytest.raises(SystemExit):
        await asyncio.wrap_future(disk.soon(leaves))
    assert await disk.do(lambda: "still here") == "still here"


async def test_a_time_out_of_the_works_own_is_not_the_limits() -> None:
    """NFS says ETIMEDOUT, and Python makes the same class of it."""

    def times_out() -> None:
        raise TimeoutError(110, "the server's own")

    with pytest.raises(TimeoutError, match="the server's own"):
        await Disk().do(times_out)


async def test_work_is_done_one_piece_at_a_time_in_the_order_it_was_asked_for() -> None:
    disk, done = Disk(), list[int]()
    jobs = [disk.soon(lambda number=number: done.append(number)) for number in range(50)]  # type: ignore[misc]
    await asyncio.gather(*(asyncio.wrap_future(job) for job in jobs))
    assert done == list(range(50))


async def test_the_limit_ends_the_wait(stuck: Stuck) -> None:
    with pytest.raises(DiskHangs, match=r"no answer within 0\.02 s"):
        await Disk(SHORT).do(stuck)


async def test_work_that_had_not_begun_by_the_limit_is_dropped(stuck: Stuck) -> None:
    """An intent must not be written minutes after its redeem was given up."""
    disk, done = Disk(SHORT), list[str]()
    disk.soon(stuck)
    with pytest.raises(DiskHangs):
        await disk.do(lambda: done.append("too late"))
    stuck.released.set()
    await asyncio.wrap_future(disk.soon(lambda: done.append("next")))
    assert done == ["next"]


async def test_what_work_brings_after_the_limit_is_undone(stuck: Stuck) -> None:
    """A lock that comes too late must not be held by nobody."""
    undone: list[str] = []
    with pytest.raises(DiskHangs):
        await Disk(SHORT).do(stuck, undo=undone.append)
    assert undone == []
    stuck.released.set()
    await until(lambda: undone == ["late"])


async def test_what_work_brings_after_a_cancellation_is_undone(stuck: Stuck) -> None:
    undone: list[str] = []
    task = asyncio.create_task(Disk().do(stuck, undo=undone.append))
    await until(stuck.begun.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stuck.released.set()
    await until(lambda: undone == ["late"])


async def test_what_work_has_brought_already_when_the_cancellation_comes_is_undone_too() -> None:
    undone: list[str] = []
    disk = Disk()
    task = asyncio.create_task(disk.do(lambda: "in time", undo=undone.append))
    await asyncio.sleep(0)
    disk.soon(lambda: None).result(10)  # the loop stands still: the work is done, and its asker does not know
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone == ["in time"]


async def test_work_that_failed_or_was_dropped_leaves_nothing_to_undo(stuck: Stuck) -> None:
    def fails() -> str:
        raise OSError(5, "no")

    undone: list[str] = []
    disk = Disk(SHORT)
    with pytest.raises(OSError, match="no"):
        await Disk().do(fails, undo=undone.append)
    disk.soon(stuck)
    with pytest.raises(DiskHangs):
        await disk.do(lambda: "dropped", undo=undone.append)
    stuck.released.set()
    await asyncio.wrap_future(disk.soon(lambda: None))
    assert undone == []


async def test_a_cancellation_at_the_moment_of_the_limit_stays_a_cancellation(stuck: Stuck) -> None:
    """A task that takes it for a disk that hangs goes on, and the drain that cancelled it waits for ever."""
    task = asyncio.create_task(Disk(0).do(stuck))
    await asyncio.sleep(0)  # the limit is due in the very next turn of the loop
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_disk_shows_how_much_is_waiting(stuck: Stuck) -> None:
    disk = Disk()
    disk.soon(stuck)
    await until(stuck.begun.is_set)
    disk.soon(lambda: None)
    assert repr(disk) == "<Disk 1 waiting>"


ENDS = """
import asyncio, threading
from proxy.disk import Disk, DiskHangs, within

async def main() -> None:
    try:
        await Disk(0.02).do(threading.Event().wait)
    except DiskHangs:
        print("it hangs")

asyncio.run(main())
"""


def test_a_process_whose_disk_hangs_still_ends() -> None:
    """The loop's own executor would be joined at the end, for ever."""
    root = Path(__file__).parent.parent
    ended = subprocess.run(  # noqa: S603 - our own text
        [sys.executable, "-c", ENDS], cwd=root, capture_output=True, text=True, timeout=20, check=True
    )
    assert ended.stdout == "it hangs\n"


async def test_no_thread_is_begun_before_there_is_work() -> None:
    """A proxy with an API key in its environment has no use for one."""
    before, disk = set(threading.enumerate()), Disk()
    assert set(threading.enumerate()) <= before  # those of others may end
    assert await disk.do(threading.current_thread) not in before


async def test_its_thread_ends_when_nobody_has_it_and_what_was_asked_for_is_done(stuck: Stuck) -> None:
    """A reload may give a store up while it saves."""
    disk, done = Disk(), list[int]()
    thread = await disk.do(threading.current_thread)
    disk.soon(stuck)
    jobs = [disk.soon(partial(done.append, number)) for number in range(3)]
    del disk
    stuck.released.set()
    await asyncio.gather(*map(asyncio.wrap_future, jobs))
    await until(lambda: not thread.is_alive())
    assert done == [0, 1, 2]


async def test_neither_a_fault_nor_work_that_was_dropped_keeps_its_thread(stuck: Stuck) -> None:
    """Who was told of a fault may keep it for days."""

    def fails() -> None:
        raise OSError(5, "no")

    disk = Disk(SHORT)
    thread = await disk.do(threading.current_thread)
    with pytest.raises(OSError, match="no") as failed:
        await disk.do(fails)
    disk.soon(stuck)
    with pytest.raises(DiskHangs) as hung:
        await disk.do(fails)
    del disk
    stuck.released.set()
    await until(lambda: not thread.is_alive())
    assert (failed.type, hung.type) == (OSError, DiskHangs)


async def test_a_thread_that_was_not_to_be_had_is_asked_for_again(tmp_path: Path) -> None:
    """A limit on processes that is met for a moment must not cost the store for good."""
    disk = Disk()
    usual = threading.stack_size(2**46)  # more than there is: no thread can be made
    try:
        with pytest.raises(NoThread, match="no thread could be started"):
            await disk.do(tmp_path.exists)
    finally:
        threading.stack_size(usual)
    assert await disk.do(tmp_path.exists)


async def test_a_look_without_a_loop_has_its_limit_too(stuck: Stuck, monkeypatch: pytest.MonkeyPatch) -> None:
    assert within(10, lambda: "in time", "otherwise") == "in time"
    assert within(SHORT, stuck, "otherwise") == "otherwise"

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    assert within(10, lambda: "in time", "otherwise") == "otherwise"
