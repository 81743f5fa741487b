"""What many requests write in one turn of the event loop, sent in one go behind it.

A send to a process that sleeps has to wake it, which costs more than the send itself; in a row, all but the first find
it awake. With 32 requests at a time that is a fifth of what each of them costs (`make bench`).
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

FEW: Final = 4
"""Requests on their way, below which each send leaves at once: there is little to wait for."""


class Burst:
    """The sends of one turn. What changes is `_held`: what is sent behind it, in order."""

    def __init__(self, busy: Callable[[], int]) -> None:
        """`busy` counts the requests that are on their way."""
        self._busy = busy
        self._loop = asyncio.get_running_loop()
        self._held: list[tuple[Callable[..., object], tuple[bytes, ...], asyncio.Future[None] | None]] = []

    def __repr__(self) -> str:
        return f"<Burst {len(self._held)} held>"

    def calm(self) -> bool:
        """Tell whether a send may leave at once: few are on their way, and it overtakes none."""
        return not self._held and self._busy() < FEW

    def hold(self, write: Callable[..., object], *data: bytes) -> None:
        """Have `write(*data)` called behind this turn, which must see for itself whether it still may."""
        self._hold(write, data, None)

    def send(self, write: Callable[..., object], *data: bytes) -> "asyncio.Future[None]":
        """Hold it likewise; return what is done once all of this turn were called, with what this one has raised."""
        sent = self._loop.create_future()
        self._hold(write, data, sent)
        return sent

    def _hold(self, write: Callable[..., object], data: tuple[bytes, ...], sent: "asyncio.Future[None] | None") -> None:
        if not self._held:
            self._loop.call_soon(self._end)
        self._held.append((write, data, sent))

    def _end(self) -> None:
        held, self._held = self._held, []
        for write, data, sent in held:
            try:
                write(*data)
            except Exception as fault:  # one request's failure is one request's failure (law 17)
                if sent is None or sent.done():  # nobody waits, or not any more
                    log.exception("a fault of ours in a send")
                else:
                    sent.set_exception(fault)
            else:
                if sent is not None and not sent.done():
                    sent.set_result(None)
