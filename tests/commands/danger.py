"""A grant in danger: a process that is about to refresh, for the first time or once more, and how it dies."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import ClientSession
from commands.killable import DIED, ENDED, ORDER, PROGRAM, SURVIVED, Order
from commands.oracle import Verdict, answered, assert_as_judged, assert_spent_once, judge, read_stored
from commands.process import MEMBER, Machine, Process, status_of
from rig import until

SOON: Final = 0.2
"""Seconds that a token lives which is to have expired when it is needed."""

YEAR: Final = 31535999
SEED: Final = "PANDADOC_REFRESH_TOKEN"

HARMLESS: Final = {
    "before the lease": Order("open lease", 1),
    "before the intent is written": Order("pwrite second", 1),
    "before the intent counts": Order("replace second", 1),
    "before room is kept for the pair": Order("posix_fallocate second", 1),
    "before the request is sent": Order("close lock", 1),
    "when the pair is in the second slot, with room behind it": Order("ftruncate second", 2),
    "when the pair is in the second slot": Order("fsync second", 2),
    "before the pair is renamed": Order("replace second", 2),
    "after the pair was renamed": Order("fsync folder", 2),
    "before the lease is freed": Order("close lease", 1),
}
"""Moments at which nothing was redeemed yet, or the pair is on the disk."""

FATAL: Final = {
    "when the answer has come": Order("open lock", 2),
    "before the pair is written": Order("pwrite second", 2),
}
"""Moments between the two: what PandaDoc has answered is known to nobody but the process that dies."""


@dataclass(frozen=True)
class Danger:
    """A machine with one grant, before a PandaDoc that rotates refresh tokens and kills old ones at once.

    `env`, what proxies are started with, changes when a person brings a new refresh token: a test does that.
    """

    machine: Machine
    app: ClientSession
    env: dict[str, str]

    @property
    def order(self) -> Path:
        """Where processes look for their order to die."""
        return self.machine.home / "order"

    def give(self, order: Order) -> None:
        self.order.write_text(str(order))

    async def doomed(self) -> Process:
        """Start a proxy that dies of the order."""
        return await self.machine.start(env=self.env | {ORDER: str(self.order)}, program=PROGRAM)

    async def first_refresh(self, arm: Callable[[], None]) -> Process:
        """Start a process that refreshes for the first time, from its seed; `arm` is called before."""
        arm()
        return await self.doomed()

    async def later_refresh(self, arm: Callable[[], None]) -> Process:
        """Start a process whose first token is dead, so that a request makes it refresh; `arm` is called before."""
        process = await self.doomed()
        await until(lambda: ENDED in process.out)
        assert await answered(self.app, await process.url()) == 200  # one that was never accepted is another case
        self.machine.simulator.revoke_access_tokens()
        arm()
        return process

    async def until_expired(self) -> None:
        """Wait until the stored token is of no use; the next one lives long."""
        stored = read_stored(self.machine).newest
        assert stored is not None
        await until(lambda: time.time() > stored["expires_at"])
        self.machine.simulator.expires_in = YEAR

    async def assert_survived(self) -> Verdict:
        """Start a proxy on what a dead one left: it goes on where that is possible, and else says what was lost."""
        verdict = judge(self.machine, self.env[SEED])
        process = await self.machine.start(env=self.env)
        await assert_as_judged(self.app, process, verdict)
        assert_spent_once(self.machine)
        statuses = [call.status for call in self.machine.simulator.token_calls()]
        assert statuses.count(400) == verdict.lost, "a spent refresh token was sent without need, or more than once"
        if not verdict.lost:
            await self._assert_refreshes(process)
        return verdict

    async def _assert_refreshes(self, process: Process) -> None:
        """Have one more refresh done: what a dead process left behind is in nobody's way."""
        before = read_stored(self.machine).generation
        self.machine.simulator.revoke_access_tokens()
        assert await status_of(self.app, await process.url() + MEMBER) == 200
        stored = read_stored(self.machine)
        assert stored.first is not None
        assert stored.first["generation"] == before + 1
        assert {stored.first["refresh_token"]} == self.machine.simulator.refresh_tokens


Refresh = Callable[[Danger, Callable[[], None]], Awaitable[Process]]

REFRESHES: Final = {"the first refresh": Danger.first_refresh, "a later refresh": Danger.later_refresh}


async def killed_at(danger: Danger, refresh: Refresh, order: Order) -> str | None:
    """Let a process die of `order` in a refresh; return the step it did not make, None if it has lived."""
    process = await refresh(danger, lambda: danger.give(order))
    if await process.lives_to_say(" lends "):  # its first look behind the traffic may refresh, too
        await answered(danger.app, await process.url())
    await until(lambda: SURVIVED in process.out or not process.running)
    if SURVIVED in process.out:
        return None
    await process.ended()
    return process.out[-1].removeprefix(DIED)
