"""How late the event loop comes to what is due: whatever stalls it stalls every request at once.

Never here: what stalls it, and what to do about it.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from proxy.tasks import Tasks

PULSE: Final = 1.0
"""Seconds between two moments that are due. A stall is told at its length, less what was left of a second."""


async def feel(tasks: Tasks, tell: Callable[[float], object]) -> None:
    """Tell each second how many seconds late it began, until a drain."""
    loop = asyncio.get_running_loop()
    due = loop.time() + PULSE
    while not await tasks.pause(due - loop.time()):
        late = loop.time() - due
        tell(max(0.0, late))
        due += late + PULSE
