"""kill -9 at every moment of a refresh: a grant survives it, or what was lost is said (laws 4 and 6).

There is one window in which a grant can be lost, and no program can close it: PandaDoc has redeemed the
refresh token, and its answer is not written down yet. `tests/torture` kills before each single step; here are
those between which something changes.
"""

import asyncio
import signal

import pytest
from commands.danger import FATAL, HARMLESS, REFRESHES, Danger, Refresh, killed_at
from commands.killable import Order
from commands.oracle import answered
from commands.process import Process

from proxy.simulator import Fault
from proxy.simulator.journal import TOKEN_PATH


async def killed_while_it_redeems(danger: Danger, process: Process) -> None:
    """Kill a process that is about to refresh when PandaDoc has its request and says nothing yet."""
    simulator = danger.machine.simulator
    asking = asyncio.create_task(answered(danger.app, await process.url()))
    await simulator.until(lambda: any(call.status == 0 for call in simulator.token_calls()))
    process.signal(signal.SIGKILL)
    assert await process.ended() == -signal.SIGKILL
    assert await asking is None


every_refresh = pytest.mark.parametrize("refresh", REFRESHES.values(), ids=REFRESHES)


@every_refresh
@pytest.mark.parametrize("order", HARMLESS.values(), ids=HARMLESS)
async def test_a_grant_survives_a_process_that_is_killed(danger: Danger, refresh: Refresh, order: Order) -> None:
    """Nothing was redeemed yet, or the pair is on the disk, be it in the second slot: no human is needed."""
    assert await killed_at(danger, refresh, order) == order.step
    assert not (await danger.assert_survived()).lost


@every_refresh
@pytest.mark.parametrize("order", FATAL.values(), ids=FATAL)
async def test_a_grant_that_is_lost_with_a_process_is_called_lost(
    danger: Danger, refresh: Refresh, order: Order
) -> None:
    """PandaDoc has redeemed the token and the pair was never written: what is left is to say when, and what to do."""
    assert await killed_at(danger, refresh, order) == order.step
    assert (await danger.assert_survived()).lost


@every_refresh
async def test_a_grant_survives_a_process_that_is_killed_while_its_request_is_on_the_way(
    danger: Danger, refresh: Refresh
) -> None:
    """PandaDoc never gets to it: the same refresh token is good the next time, though an intent stands in the store."""
    simulator = danger.machine.simulator
    process = await refresh(danger, lambda: simulator.faults.add(Fault(path=TOKEN_PATH, hang=True, times=1)))
    await killed_while_it_redeems(danger, process)
    assert not (await danger.assert_survived()).lost


@every_refresh
async def test_a_grant_that_is_redeemed_for_a_process_that_is_dead_by_then_is_called_lost(
    danger: Danger, refresh: Refresh
) -> None:
    simulator = danger.machine.simulator
    gate = asyncio.Event()
    process = await refresh(danger, lambda: simulator.faults.add(Fault(path=TOKEN_PATH, gate=gate, times=1)))
    await killed_while_it_redeems(danger, process)
    gate.set()
    await simulator.until(lambda: simulator.token_calls()[-1].status == 200)
    assert (await danger.assert_survived()).lost
