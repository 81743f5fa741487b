"""How late the event loop comes: told each second, at its length, and not after a drain has begun."""

import asyncio
import time

from rig import until

from proxy import pulse
from proxy.tasks import Tasks


async def test_a_loop_that_something_blocks_is_told_as_late() -> None:
    tasks, told = Tasks(), list[float]()
    feeling = tasks.start(pulse.feel(tasks, told.append), "pulse")
    await until(lambda: len(told) == 1)
    time.sleep(pulse.PULSE + 0.41)  # noqa: ASYNC251 - that is the point
    await until(lambda: len(told) == 2)
    assert told[1] >= 0.4
    assert all(late >= 0 for late in told)
    await tasks.drain(1)
    assert feeling.done()


async def test_a_drain_ends_it_at_once() -> None:
    tasks, told = Tasks(), list[float]()
    feeling = tasks.start(pulse.feel(tasks, told.append), "pulse")
    await asyncio.sleep(0)
    async with asyncio.timeout(pulse.PULSE / 2):
        await tasks.drain(1)
    assert feeling.done()
    assert told == []
