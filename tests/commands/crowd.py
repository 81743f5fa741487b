"""Several processes on one store, and apps that ask all of them without a pause."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from commands.danger import Danger
from commands.oracle import answered, assert_spent_once, read_stored
from commands.process import MEMBER, PATIENCE, Process, poll, status_of
from rig import until

from proxy.simulator import Fault
from proxy.simulator.journal import TOKEN_PATH

SETTING: Final = "PANDADOC_PROXY__CREDENTIALS__DEFAULT__OAUTH2__"
REDEEM_TIMEOUT: Final = 1.0
IMPATIENT: Final = {f"{SETTING}REDEEM_TIMEOUT": f"{REDEEM_TIMEOUT:g}s", f"{SETTING}WAIT": "18s"}
"""So that another's lease is respected for 11 s, and a caller waits for longer than that."""


@dataclass
class Crowd:
    """Processes and the apps that ask them.

    What changes: `statuses`, what the apps have got, in the order of the answers; `processes` and `_apps`, by `join`.
    """

    danger: Danger
    processes: list[Process] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    _apps: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def running(self) -> list[Process]:
        return [process for process in self.processes if process.running]

    async def join(self) -> None:
        """Start one more process, and have it asked without a pause until it is gone."""
        process = await self.danger.doomed()
        self.processes.append(process)
        self._apps.append(asyncio.create_task(self._ask(process)))

    async def lends(self, generation: int) -> None:
        """Wait until each process that lives lends this generation, which PandaDoc has accepted from it."""
        await until(lambda: all(lent(process) == generation for process in self.running), 2 * PATIENCE)

    async def disperse(self) -> None:
        """Let the apps go home; fails if one of them got something that is no answer."""
        for app in self._apps:
            app.cancel()
        ends = await asyncio.gather(*self._apps, return_exceptions=True)
        assert [end for end in ends if not isinstance(end, asyncio.CancelledError | None)] == []

    async def _ask(self, process: Process) -> None:
        url = await process.url()
        while (status := await answered(self.danger.app, url)) is not None:
            self.statuses.append(status)


def lent(process: Process) -> int | None:
    """Tell which generation was last accepted, as the access log has it."""
    records = (json.loads(line) for line in reversed(process.err))
    return next((record["generation"] for record in records if record.get("status") == 200), None)


@asynccontextmanager
async def crowd(danger: Danger, number: int) -> AsyncIterator[Crowd]:
    """Start `number` processes at once; keep apps asking them until the end of the block."""
    gathered = Crowd(danger)
    for _ in range(number):
        await gathered.join()
    try:
        yield gathered
    finally:
        await gathered.disperse()


async def stopped_while_it_redeems(danger: Danger, process: Process, gate: asyncio.Event) -> asyncio.Task[int | None]:
    """Make `process` refresh and stop it while PandaDoc holds the answer; return the request that waits for it."""
    simulator = danger.machine.simulator
    simulator.faults.add(Fault(path=TOKEN_PATH, gate=gate, times=1))
    simulator.expire_access_tokens()
    asking = asyncio.create_task(answered(danger.app, await process.url()))
    await simulator.until(lambda: simulator.token_calls()[-1].status == 0)
    process.signal(signal.SIGSTOP)
    return asking


async def two_that_lend(danger: Danger) -> tuple[Process, Process]:
    env = danger.env | IMPATIENT
    pair = await danger.machine.start(env=env), await danger.machine.start(env=env)
    for process in pair:
        assert await status_of(danger.app, await process.url() + MEMBER) == 200
    return pair


async def assert_both_lend(danger: Danger, generation: int, *processes: Process) -> None:
    for process in processes:
        await poll(partial(lends, danger, process, generation))
    assert read_stored(danger.machine).generation == generation
    assert_spent_once(danger.machine)


async def lends(danger: Danger, process: Process, generation: int) -> bool:
    """Ask once more; tell whether this generation did it."""
    return await status_of(danger.app, await process.url() + MEMBER) == 200 and lent(process) == generation
