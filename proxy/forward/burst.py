"""What many requests write in one turn of the event loop, sent in one go behind it.

A send to a process that sleeps has to wake it, which costs more than the send itself; in a row, all but the first find
it awake. With 32 requests at a time that is a fifth of what each of them costs (`make bench`).
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

FEW: Final = 4
"""Requests on their way, below which each send leaves at once: there is little to wait for."""


class Burst:
    """The sends of one turn. What changes is `_held`: what is sent behind it, in order, each with who waits for it."""

    def __init__(self, busy: Callable[[], int]) -> None:
        """`busy` counts the requests that are on their way."""
        self._busy = busy
        self._loop = asyncio.get_running_loop()
        self._held: list[tuple[Callable[[], object], asyncio.Future[None]]] = []

    def __repr__(self) -> str:
        return f"<Burst {len(self._held)} held>"

    def calm(self) -> bool:
        """Tell whether a send may leave at once: few are on their way, and it overtakes none."""
        return not self._held and self._busy() < FEW

    def hold(self, write: Callable[..., object], *data: bytes) -> "asyncio.Future[None]":
        """Have `write(*data)` called behind this turn; return what is done once all of this turn were.

        It is called even where nobody waits any more, and must see for itself whether it still may. What it raises goes
        to who waits.
        """
        if not self._held:
            self._loop.call_soon(self._end)
        sent = self._loop.create_future()
        self._held.append((partial(write, *data), sent))
        return sent

    def _end(self) -> None:
        held, self._held = self._held, []
        for write, sent in held:
            try:
                write()
            except Exception as fault:  # noqa: BLE001 - one request's failure is one request's failure (law 17)
                if not sent.done():
                    sent.set_exception(fault)
        for _, sent in held:
            if not sent.done():  # who waited may be gone, or have heard already
                sent.set_result(None)
