"""Many processes on one store, while one after the other is killed or stands still (laws 1, 2 and 6)."""

import asyncio
import random
import signal
from typing import Final

import pytest
from commands.crowd import assert_both_lend, crowd, stopped_while_it_redeems, two_that_lend
from commands.danger import HARMLESS, Danger
from commands.oracle import answered, assert_spent_once, read_stored
from rig import until

pytestmark = pytest.mark.timeout(1200)

ORDERS: Final = tuple(HARMLESS.values())


async def test_eight_processes_redeem_once_for_each_expiry(
    danger: Danger, chance: random.Random, *, full_size: bool
) -> None:
    """Every third time the one that refreshes is killed in it, and another process takes its place."""
    expiries = 60 if full_size else 6
    async with crowd(danger, 8) as processes:
        await processes.lends(1)
        for generation in range(2, expiries + 2):
            dies = generation % 3 == 0
            if dies:
                danger.give(chance.choice(ORDERS))
            danger.machine.simulator.expire_access_tokens()
            if dies:
                await until(lambda: len(processes.running) == 7)
            await processes.lends(generation)
            if dies:
                await processes.join()
                await processes.lends(generation)
    assert set(processes.statuses) == {200}
    assert [call.status for call in danger.machine.simulator.token_calls()] == [200] * (expiries + 1)
    assert_spent_once(danger.machine)
    assert read_stored(danger.machine).generation == expiries + 1


async def test_a_process_that_stands_still_with_its_answer_in_the_socket_heals_all_when_it_goes_on(
    danger: Danger,
) -> None:
    """The others give up waiting and find the grant dead; then it stores the pair, and nobody had to log in."""
    simulator = danger.machine.simulator
    still, other = await two_that_lend(danger)
    gate = asyncio.Event()
    asking = await stopped_while_it_redeems(danger, still, gate)
    gate.set()
    await simulator.until(lambda: simulator.token_calls()[-1].status == 200)
    dead = asyncio.create_task(other.said('"level":"error"', "invalid_grant"))
    assert await answered(danger.app, await other.url()) == 503
    await dead
    still.signal(signal.SIGCONT)
    assert await asking == 200
    await assert_both_lend(danger, 2, still, other)
    assert [call.status for call in simulator.token_calls()] == [200, 200, 400]
