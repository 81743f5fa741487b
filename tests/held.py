"""What this process holds at a moment: a fault may leave nothing behind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rig import until


@dataclass(frozen=True)
class Held:
    """How many there are, of both ends: whoever plays the upstream is in this process too."""

    sockets: int
    tasks: int

    def within(self, other: "Held") -> bool:
        return self.sockets <= other.sockets and self.tasks <= other.tasks


def held() -> Held:
    """Count the open sockets (proc(5)) and the tasks that are not done."""
    sockets = 0
    for file in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the folder's own
            sockets += str(file.readlink()).startswith("socket:")
    return Held(sockets, len(asyncio.all_tasks()))


@asynccontextmanager
async def nothing_left_behind(seconds: float = 5) -> AsyncIterator[None]:
    """Fail unless all that the block opened or started is gone so soon after it."""
    before = held()
    yield
    try:
        await until(lambda: held().within(before), seconds)
    except TimeoutError:
        names = sorted(task.get_name() for task in asyncio.all_tasks())
        raise AssertionError(f"before: {before}, after: {held()}; tasks: {names}") from None
