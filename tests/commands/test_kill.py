"""kill -9 at the worst moment: what the dead process had minted, the next one uses."""

import asyncio
import signal

import aiohttp
from aiohttp import ClientSession
from commands.process import MEMBER, Machine, Process, status_of
from rig import until

from proxy.simulator import Fault


async def killed_as_soon_as_a_token_is_lent(machine: Machine, app: ClientSession, process: Process) -> None:
    """Send a request and kill the process when PandaDoc sees the next token: the first moment it is known outside."""
    before = {call.authorization for call in machine.simulator.api_calls()}
    asking = asyncio.create_task(status_of(app, await process.url() + MEMBER))
    await until(lambda: bool({call.authorization for call in machine.simulator.api_calls()} - before))
    process.signal(signal.SIGKILL)
    assert await process.ended() == -signal.SIGKILL
    await asyncio.wait({asking})
    assert isinstance(asking.exception(), aiohttp.ClientError)


async def test_a_token_outlives_the_process_that_was_killed_right_after_the_refresh(
    machine: Machine, app: ClientSession
) -> None:
    """A pair is stored before it is lent (law 4), so nobody ever sees a token that a crash could lose."""
    env = machine.with_grant()
    hold = Fault(path=MEMBER, hang=True, times=1)
    machine.simulator.faults.add(hold)
    await killed_as_soon_as_a_token_is_lent(machine, app, await machine.start(env=env))
    second = await machine.start(env=env)
    assert await status_of(app, await second.url() + MEMBER) == 200
    assert len(machine.simulator.token_calls()) == 1
    machine.simulator.revoke_access_tokens()
    machine.simulator.faults.add(Fault(path=MEMBER, status=401, times=1))
    machine.simulator.faults.add(hold)
    await killed_as_soon_as_a_token_is_lent(machine, app, second)
    third = await machine.start(env=env)
    assert await status_of(app, await third.url() + MEMBER) == 200
    assert len(machine.simulator.token_calls()) == 2
    assert [line["generation"] for line in await third.accesses(1)] == [2]
