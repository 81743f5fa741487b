"""The connections to the upstream: those that carry a request, those that wait for one, and who waits for them.

The one that was used last is taken first, so that those that are not needed grow old and are closed.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from msgspec import Struct

from proxy.errors import Overloaded
from proxy.forward.upstream_connection import UpstreamConnection
from proxy.time_limit import time_limit

Dial = Callable[[Callable[[UpstreamConnection], None]], Awaitable[UpstreamConnection]]
"""Make a connection that will tell of its end. Raises UpstreamError, or Overloaded."""


class Counts(Struct):
    """What pools have done, one after another. `resent` is changed by their users, all else by the pools."""

    created: int = 0
    reused: int = 0  # how often a request went out on a connection that was there already
    resent: int = 0  # how often one was sent once more, because its connection broke before an answer


class UpstreamPool:
    """Every connection to the upstream.

    What changes: `_idle`, who was released last at its end; `_lent`; `busy`, and `_line`, who waits until fewer are;
    `_sweep`, the next look for those whose time is up; `_closed`: all here alone. While somebody waits, `busy` is
    `limit`.
    """

    def __init__(self, dial: Dial, *, limit: int, keepalive: float, counts: Counts | None = None) -> None:
        """`limit` requests at a time; an idle connection is closed after `keepalive` seconds.

        Or in the last second before the upstream closes it, where that has said when.

        `counts`: of the pool before, to go on from.
        """
        self.limit = limit
        self.busy = 0  # how many carry a request, or are being made for one
        self.counts = Counts() if counts is None else counts
        self._dial = dial
        self._keepalive = keepalive
        self._loop = asyncio.get_running_loop()
        self._line: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._idle: list[UpstreamConnection] = []
        self._lent: set[UpstreamConnection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    def __repr__(self) -> str:
        counts = self.counts
        return f"<UpstreamPool {self.busy} busy, {self.idle} idle, {counts.created} created, {counts.reused} reused>"

    @property
    def idle(self) -> int:
        return len(self._idle)

    async def take(self, seconds: float, *, fresh: bool = False) -> UpstreamConnection:
        """Lend a connection for one request, after so long in line at most; `release` takes it back.

        `fresh`: none that was used before. Raises UpstreamError, or Overloaded.
        """
        if self.busy < self.limit:
            self.busy += 1
        else:
            await self._stand_in_line(seconds)
        try:
            connection = None if fresh else self._kept()
            if connection is None:
                connection = await self._fresh()
        except BaseException:  # a caller that leaves meanwhile, too
            self._next()
            raise
        self._lent.add(connection)
        return connection

    def release(self, connection: UpstreamConnection) -> None:
        """Take a connection back: for the next request if it may carry one, or else to be closed."""
        self._lent.remove(connection)
        connection.rests(self._keepalive)
        if connection.reusable() and self._in_time(connection) and not self._closed:
            self._idle.append(connection)
            if self._sweep is None:
                self._sweep = self._loop.call_at(connection.idle_until, self._close_old)
        else:
            connection.close()
        self._next()

    def close(self) -> None:
        """Close all of them; what is still lent breaks."""
        self._closed = True
        for connection in (*self._idle, *self._lent):
            connection.close()
        if self._sweep is not None:
            self._sweep.cancel()

    def _kept(self) -> UpstreamConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable() and self._in_time(connection) and connection.quiet():
                self.counts.reused += 1
                connection.reused = True
                return connection
            connection.close()
        return None

    async def _fresh(self) -> UpstreamConnection:
        if self.busy + self.idle > self.limit and self._idle:
            self._idle[0].close()  # it makes room
        connection = await self._dial(self._gone)
        self.counts.created += 1
        return connection

    async def _stand_in_line(self, seconds: float) -> None:
        turn = self._loop.create_future()
        self._line[turn] = None
        try:
            async with time_limit(self._loop.time() + seconds):
                await turn
        except BaseException as end:
            self._line.pop(turn, None)
            if turn.done() and not turn.cancelled():  # its turn came as it left
                self._next()
            if isinstance(end, TimeoutError):
                raise Overloaded(
                    f"All {self.limit} connections to the upstream are busy (upstream.max_connections)."
                ) from None
            raise

    def _next(self) -> None:
        """Give a place that is free to who has waited longest, if anybody waits."""
        while self._line:
            turn, _ = self._line.popitem(last=False)
            if not turn.done():
                turn.set_result(None)
                return
        self.busy -= 1

    def _gone(self, connection: UpstreamConnection) -> None:
        """Forget an idle connection that is over; one that is lent comes back."""
        if connection in self._idle:
            self._idle.remove(connection)

    def _in_time(self, connection: UpstreamConnection) -> bool:
        return self._loop.time() < connection.idle_until

    def _close_old(self) -> None:
        for connection in tuple(self._idle):
            if not self._in_time(connection):
                connection.close()
        self._sweep = None
        if self._idle:
            first = min(connection.idle_until for connection in self._idle)
            self._sweep = self._loop.call_at(first, self._close_old)
