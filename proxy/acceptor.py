"""A listening socket, and how connections come out of it.

The loop's own servers lose some at the edges. Where no file is left, asyncio's log a traceback for each connection,
and uvloop's close it; here all wait in the kernel, and one line says so. Where a server closes, it drops whom it has
accepted and not introduced yet, and the kernel resets who still waits; here they are let in first.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

from proxy.open_files import EXHAUSTED
from proxy.tasks import Tasks

log = logging.getLogger(__name__)

BACKLOG: Final = 1024
"""Connections the kernel may hold for us; a burst of a thousand must not be turned away."""

ACCEPTED_AT_ONCE: Final = 64
"""Connections that are taken in one round of the loop, before any finds out whether there is room for it."""

PAUSE: Final = 1.0
"""Seconds until it is tried again when no file is left."""

SAID_EVERY: Final = 60.0  # seconds

Factory = Callable[[], asyncio.BaseProtocol]


class Acceptor:
    """Takes connections in, one batch after another, in a task of its own.

    `_awake` is set when somebody waits, or it is to end; `_ending`, by `stop`; `_quiet_until`, by `_tell`.
    """

    def __init__(self, listening: socket.socket, protocol: Factory, tasks: Tasks) -> None:
        """Take in what comes to a socket that is bound."""
        listening.setblocking(False)  # noqa: FBT003 - the standard library's own signature
        listening.listen(BACKLOG)
        self._listening = listening
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._awake = asyncio.Event()
        self._ending = False
        self._quiet_until = 0.0
        self._work = tasks.start(self._accept(), "accept connections")

    def __repr__(self) -> str:
        return f"<Acceptor {self._listening}>"

    async def stop(self) -> None:
        """Let in who has come, and close. Does nothing the second time."""
        self._ending = True
        self._awake.set()
        await asyncio.wait({self._work})

    async def _accept(self) -> None:
        try:
            while not self._ending:
                self._loop.add_reader(self._listening, self._wake)
                await self._awake.wait()
                self._awake.clear()
                await self._take()
            for _ in range(BACKLOG // ACCEPTED_AT_ONCE):  # new ones may keep coming
                if not await self._take():
                    break
        finally:
            self._loop.remove_reader(self._listening)
            self._listening.close()

    def _wake(self) -> None:
        self._loop.remove_reader(self._listening)  # until who waits now is let in
        self._awake.set()

    async def _take(self) -> int:
        """Let in some of those who wait; return how many."""
        batch: list[socket.socket] = []
        exhausted = False
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                batch.append(self._listening.accept()[0])
            except (BlockingIOError, InterruptedError):
                break  # that was all
            except OSError as fault:  # else it is one connection that was lost before it was accepted (accept(2))
                if exhausted := fault.errno in EXHAUSTED:
                    self._tell(fault)
                    break
        await asyncio.gather(*map(self._introduce, batch))
        if exhausted:
            await asyncio.sleep(PAUSE)
        return len(batch)

    async def _introduce(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)  # noqa: FBT003 - the same
        try:
            await self._loop.connect_accepted_socket(self._protocol, accepted)
        except OSError:  # it has left already
            accepted.close()
        except Exception:  # one connection's failure is one connection's failure (law 17)
            accepted.close()
            log.exception("a fault of ours with a new connection")

    def _tell(self, fault: OSError) -> None:
        if self._loop.time() >= self._quiet_until:
            self._quiet_until = self._loop.time() + SAID_EVERY
            log.error("connections wait to be accepted: %s. Raise ulimit -n, or lower limits.max_connections", fault)
