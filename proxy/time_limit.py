"""How long something may take, where it may be we who were away.

A process that was stopped (SIGSTOP, a paused container, a frozen machine) wakes up with its timers due, and with what
came meanwhile still in its sockets; and timers ring first. So a timer that rings too late does not end anything yet.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

LATE: Final = 0.1
LAST_LOOK: Final = 0.25
"""Seconds. A timer that is later than LATE was held up with the whole process: what came meanwhile is read first."""


@asynccontextmanager
async def time_limit(due: float) -> AsyncIterator[None]:
    """Raise TimeoutError when the loop's clock says `due`, but never before what has come in time is read."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:

        def over() -> None:
            now = loop.time()
            limit.reschedule(now + LAST_LOOK if now > due + LATE else now)

        timer = loop.call_at(due, over)
        try:
            yield
        finally:
            timer.cancel()
