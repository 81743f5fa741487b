"""kill -9 before every step of a refresh, at random moments, and again while what was left is mended (law 4)."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count, pairwise
from pathlib import Path
from typing import Final

import pytest
from aiohttp import ClientSession
from commands.danger import REFRESHES, SEED, SOON, YEAR, Danger, Refresh, killed_at
from commands.killable import ANY, Order
from commands.oracle import Verdict, answered, assert_as_judged, assert_spent_once, judge
from commands.process import Machine, Process

from proxy.simulator import Simulator

pytestmark = pytest.mark.timeout(1200)

MANY_STEPS: Final = 45
"""A refresh has a few more; with far less, the counting has gone blind."""

MOMENT: Final = 0.05
"""Seconds that a token lives under load: a process spends a good part of its time in refreshes."""

WEAK: Final = (Order("ftruncate second", 2), Order("replace second", 2))
"""The only copy of the grant is in the second slot, with room behind it or without."""


@asynccontextmanager
async def danger_in(folder: Path, app: ClientSession) -> AsyncIterator[Danger]:
    """Make a simulator and a machine of one kill's own."""
    async with Simulator() as simulator, Machine(folder, simulator) as machine:
        yield Danger(machine, app, machine.with_grant())


@pytest.mark.parametrize("refresh", REFRESHES.values(), ids=REFRESHES)
async def test_a_grant_survives_a_kill_before_any_step_of_a_refresh(
    tmp_path: Path, app: ClientSession, refresh: Refresh, *, full_size: bool
) -> None:
    """Lost is what was redeemed and not written yet, in one stretch, and nothing before or after it."""
    verdicts: list[Verdict] = []
    for number in count(1, 1 if full_size else 3):
        async with danger_in(tmp_path / str(number), app) as danger:
            if await killed_at(danger, refresh, Order(ANY, number)) is None:
                assert number > MANY_STEPS
                break
            verdicts.append(await danger.assert_survived())
    changes = [before.lost != after.lost for before, after in pairwise(verdicts)]
    assert changes.count(True) == 2
    assert not verdicts[0].lost
    assert not verdicts[-1].lost


@pytest.mark.parametrize("order", WEAK, ids=str)
async def test_a_grant_in_the_second_slot_survives_a_kill_before_any_step_of_the_next_refresh(
    tmp_path: Path, app: ClientSession, order: Order, *, full_size: bool
) -> None:
    """The next process begins by moving it, and may die of that too."""
    for number in count(1, 1 if full_size else 7):
        async with danger_in(tmp_path / str(number), app) as danger:
            danger.machine.simulator.expires_in = SOON
            assert await killed_at(danger, Danger.first_refresh, order) == order.step
            await danger.until_expired()
            if await killed_at(danger, Danger.first_refresh, Order(ANY, number)) is None:
                return
            await danger.assert_survived()


async def test_a_grant_survives_kills_at_random_moments_under_load(
    danger: Danger, chance: random.Random, *, full_size: bool
) -> None:
    """Each process is killed and judged by the next one; where the grant is lost, a person brings another."""
    lost = 0
    process = await danger.machine.start(env=danger.env)
    for _ in range(100 if full_size else 15):
        await under_load(danger, process, chance.uniform(0, 0.5))
        await killed(process)
        if chance.random() < 0.2:
            process = await danger.machine.start(env=danger.env)
            await asyncio.sleep(chance.uniform(0.2, 0.5))  # a start takes about as long
            await killed(process)
        process, verdict = await next_one_is_judged(danger)
        if verdict.lost:
            lost += 1
            await killed(process)
            danger.env.update(danger.machine.with_grant())
            process, verdict = await next_one_is_judged(danger)
            assert not verdict.lost
    print(f"{lost} grants were lost")  # noqa: T201 - for whoever wonders; it is chance's to say
    assert_spent_once(danger.machine)


async def killed(process: Process) -> None:
    process.signal(signal.SIGKILL)
    assert await process.ended() == -signal.SIGKILL
    await asyncio.sleep(0.1)  # what it had sent, PandaDoc has got by then


async def next_one_is_judged(danger: Danger) -> tuple[Process, Verdict]:
    """Start a process on what is left."""
    danger.machine.simulator.expires_in = YEAR
    verdict = judge(danger.machine, danger.env[SEED])
    process = await danger.machine.start(env=danger.env)
    await assert_as_judged(danger.app, process, verdict)
    return process, verdict


async def under_load(danger: Danger, process: Process, seconds: float) -> None:
    """Ask from four sides while tokens expire all the time."""
    danger.machine.simulator.expires_in = MOMENT
    danger.machine.simulator.expire_access_tokens()
    url = await process.url()

    async def ask() -> None:
        while True:
            assert await answered(danger.app, url) in {200, 401, 503}

    apps = [asyncio.create_task(ask()) for _ in range(4)]
    done, _ = await asyncio.wait(apps, timeout=seconds)
    for each in apps:
        each.cancel()
    await asyncio.wait(apps)
    assert not done, "an app got what no app may get"
