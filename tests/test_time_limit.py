"""A time limit ends what takes too long, and forgives once that we were away ourselves."""

import asyncio
import time

import pytest

from proxy.time_limit import LATE, time_limit


def soon() -> float:
    return asyncio.get_running_loop().time() + 0.05


def stand_still() -> None:
    """Let the loop come LATE to what is due soon, as a process that was stopped does."""
    time.sleep(0.05 + 2 * LATE)


async def test_what_takes_too_long_is_ended_when_that_is_due() -> None:
    began, due = time.monotonic(), soon()
    with pytest.raises(TimeoutError):
        async with time_limit(due):
            await asyncio.Event().wait()
    assert time.monotonic() - began >= 0.04


async def test_what_came_while_we_were_away_is_in_time() -> None:
    async with time_limit(soon()):
        stand_still()
        for _ in range(10):  # turns of the loop, as reading takes some
            await asyncio.sleep(0)


async def test_that_we_were_away_is_forgiven_once() -> None:
    async def away_for_ever() -> None:
        async with time_limit(soon()):
            while True:
                stand_still()
                await asyncio.sleep(0)

    with pytest.raises(TimeoutError):
        await away_for_ever()
