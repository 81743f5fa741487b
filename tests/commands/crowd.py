"""Several processes on one store, and apps that ask all of them without a pause."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from commands.danger import Danger
from commands.oracle import answered
from commands.process import PATIENCE, Process
from rig import until


@dataclass
class Crowd:
    """What apps have got so far: `statuses` of the processes that live, in the order of the answers."""

    danger: Danger
    processes: Sequence[Process]
    statuses: list[int] = field(default_factory=list)

    @property
    def running(self) -> list[Process]:
        return [process for process in self.processes if process.running]

    async def lends(self, generation: int) -> None:
        """Wait until each process that lives lends this generation, which PandaDoc has accepted from it."""
        await until(lambda: all(lent(process) == generation for process in self.running), PATIENCE)

    async def ask(self, process: Process) -> None:
        """Ask one process until it is gone."""
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
    gathered = Crowd(danger, [await danger.doomed() for _ in range(number)])
    asking = [asyncio.create_task(gathered.ask(process)) for process in gathered.processes]
    try:
        yield gathered
    finally:
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)
    assert not [task for task in asking if not task.cancelled() and task.exception()]
