"""`POST /quit` ends the process as SIGTERM does: a Job's last step."""

import asyncio
import signal

from aiohttp import ClientSession
from commands.process import MEMBER, Machine, status_of, until_unready
from rig import until

from proxy.simulator import Fault

QUIT = {"PANDADOC_PROXY__ADMIN__QUIT": "true"}
YES = {"X-Pandadoc-Proxy-Quit": "yes"}


async def test_quit_drains_and_the_process_ends_with_0(machine: Machine, app: ClientSession) -> None:
    """What is in flight is finished; asking twice hurries nobody."""
    gate = asyncio.Event()
    machine.simulator.faults.add(Fault(path=MEMBER, gate=gate))
    process = await machine.start(env=machine.with_api_key() | QUIT)
    url, admin = await process.url(), await process.admin_url()
    asking = asyncio.create_task(status_of(app, url + MEMBER))
    await until(lambda: bool(machine.simulator.api_calls()))
    for _ in range(2):
        async with app.post(f"{admin}/quit", headers=YES) as answer:
            assert (answer.status, await answer.text()) == (202, "draining\n")
    await until_unready(app, admin)
    gate.set()
    assert await asking == 200
    assert await process.ended() == 0
    assert process.records[-1]["message"] == "drained"


async def test_a_signal_during_it_ends_at_once(machine: Machine, app: ClientSession) -> None:
    machine.simulator.faults.add(Fault(path=MEMBER, hang=True))
    process = await machine.start(env=machine.with_api_key() | QUIT)
    url, admin = await process.url(), await process.admin_url()
    asking = asyncio.create_task(status_of(app, url + MEMBER))
    await until(lambda: bool(machine.simulator.api_calls()))
    async with app.post(f"{admin}/quit", headers=YES) as answer:
        assert answer.status == 202
    await until_unready(app, admin)
    process.signal(signal.SIGTERM)
    assert await process.ended(seconds=10) == 1
    asking.cancel()


async def test_where_it_is_off_the_process_stays(machine: Machine, app: ClientSession) -> None:
    process = await machine.start(env=machine.with_api_key())
    admin = await process.admin_url()
    async with app.post(f"{admin}/quit", headers=YES) as answer:
        assert answer.status == 403
    assert await status_of(app, f"{admin}/readyz") == 200
    assert process.running
