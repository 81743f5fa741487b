"""The event loop that everything runs on: uvloop's.

`PANDADOC_PROXY_EVENT_LOOP=asyncio` asks for asyncio's own instead, for whoever hunts a fault; the tests pass on both.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Final

CHOICE: Final = "PANDADOC_PROXY_EVENT_LOOP"


def choice() -> str:
    """Return which one the environment asks for. Raises ValueError for an unknown one."""
    chosen = os.environ.get(CHOICE) or "uvloop"
    if chosen not in {"asyncio", "uvloop"}:
        raise ValueError(f"{CHOICE} is {chosen!r}: write uvloop or asyncio")
    return chosen


def factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the loop that the environment asks for. Raises ValueError for an unknown choice."""
    if choice() == "asyncio":
        return asyncio.new_event_loop
    import uvloop  # noqa: PLC0415 - whoever wants the other need not load it

    return uvloop.new_event_loop
