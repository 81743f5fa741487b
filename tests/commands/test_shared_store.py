"""Processes that share a store: one redeem serves them all, whoever dies or stands still meanwhile (laws 1, 2, 6)."""

import asyncio
import signal

import pytest
from commands.crowd import REDEEM_TIMEOUT, assert_both_lend, crowd, stopped_while_it_redeems, two_that_lend
from commands.danger import YEAR, Danger
from commands.killable import Order
from commands.oracle import assert_spent_once, read_stored
from commands.process import MEMBER, status_of
from rig import until


async def test_processes_that_share_a_store_redeem_once_for_all_of_them(danger: Danger) -> None:
    """Their first token, one that is revoked and one that expires: each time, all but one take what one has got."""
    simulator = danger.machine.simulator
    async with crowd(danger, 3) as processes:
        await processes.lends(1)
        simulator.expires_in = 2
        simulator.expire_access_tokens()
        await processes.lends(2)
        simulator.expires_in = YEAR
        await processes.lends(3)
    assert set(processes.statuses) == {200}
    assert [call.status for call in simulator.token_calls()] == [200] * 3
    assert_spent_once(danger.machine)
    assert read_stored(danger.machine).generation == 3


@pytest.mark.parametrize("order", [Order("close lock", 1), Order("replace second", 2)], ids=str)
async def test_processes_go_on_when_one_of_them_is_killed_in_its_refresh(danger: Danger, order: Order) -> None:
    """Before the request was sent, or when the pair is in the second slot only: whoever comes next finds it."""
    simulator = danger.machine.simulator
    async with crowd(danger, 3) as processes:
        await processes.lends(1)
        danger.give(order)
        simulator.expire_access_tokens()
        await until(lambda: len(processes.running) == 2)
        await processes.lends(2)
        simulator.expire_access_tokens()
        await processes.lends(3)
    assert set(processes.statuses) == {200}
    assert [call.status for call in simulator.token_calls()] == [200] * 3
    assert read_stored(danger.machine).generation == 3


async def test_a_process_that_stands_still_in_its_refresh_holds_the_others_up_for_a_bounded_time(
    danger: Danger,
) -> None:
    """SIGSTOP leaves it the lease, not the grant: another one refreshes, and it takes that when it wakes up."""
    simulator = danger.machine.simulator
    still, other = await two_that_lend(danger)
    gate = asyncio.Event()
    asking = await stopped_while_it_redeems(danger, still, gate)
    held = simulator.token_calls()[-1]
    assert await status_of(danger.app, await other.url() + MEMBER) == 200
    gate.set()
    await simulator.until(lambda: held.status == 400)
    still.signal(signal.SIGCONT)
    assert await asking in {200, 401}
    await assert_both_lend(danger, 2, still, other)


async def test_an_answer_that_came_while_a_process_stood_still_is_not_thrown_away(danger: Danger) -> None:
    """By the clock it comes too late, but it is there: what a paused container has redeemed is its grant."""
    simulator = danger.machine.simulator
    still, other = await two_that_lend(danger)
    gate = asyncio.Event()
    asking = await stopped_while_it_redeems(danger, still, gate)
    gate.set()
    await simulator.until(lambda: simulator.token_calls()[-1].status == 200)
    waiting = asyncio.create_task(status_of(danger.app, await other.url() + MEMBER))
    await asyncio.sleep(REDEEM_TIMEOUT + 0.5)  # the time limit passes while the answer lies in the socket
    still.signal(signal.SIGCONT)
    assert await asking == 200
    assert await waiting == 200
    assert [call.status for call in simulator.token_calls()] == [200, 200]
    await assert_both_lend(danger, 2, still, other)
