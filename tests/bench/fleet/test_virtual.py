"""Time that passes only when nothing else can happen."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from bench.fleet.virtual import EPOCH, Standstill, VirtualClock, VirtualLoop


def played(story: Coroutine[Any, Any, object]) -> object:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(story)


def test_a_day_passes_in_no_time() -> None:
    async def story() -> float:
        await asyncio.sleep(86400)
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert played(story()) == pytest.approx(86400)
    assert time.monotonic() - began < 5


def test_timers_come_in_their_order_and_at_their_time() -> None:
    async def story() -> list[tuple[str, float]]:
        loop, seen = asyncio.get_running_loop(), list[tuple[str, float]]()

        async def at(seconds: float, name: str) -> None:
            await asyncio.sleep(seconds)
            seen.append((name, round(loop.time(), 6)))

        await asyncio.gather(at(3, "last"), at(0.5, "first"), at(1, "second"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.Event().wait()
        return [*seen, ("limit", round(loop.time(), 6))]

    assert played(story()) == [("first", 0.5), ("second", 1.0), ("last", 3.0), ("limit", 5.0)]


def test_no_time_passes_while_there_is_work() -> None:
    async def story() -> float:
        for _ in range(100):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time()

    assert played(story()) == 0.0


def test_a_standstill_is_a_fault_and_not_a_hang() -> None:
    async def story() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Standstill):
        played(story())


def test_nothing_of_the_world_can_be_reached() -> None:
    async def story() -> None:
        await asyncio.open_connection("127.0.0.1", 9)

    with pytest.raises(NotImplementedError):
        played(story())


def test_a_replicas_wall_is_wrong_by_its_skew_and_its_watch_is_not() -> None:
    async def story() -> tuple[float, float]:
        clock = VirtualClock(asyncio.get_running_loop(), skew=-0.5)
        await asyncio.sleep(10)
        return clock.monotonic(), clock.wall()

    assert played(story()) == (10.0, EPOCH + 9.5)
