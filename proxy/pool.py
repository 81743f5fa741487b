"""The pool of connections to the upstream, counted.

aiohttp's tracing could count too, but costs each request a dozen microseconds, and each chunk more; this costs less
than one.
"""

from contextvars import ContextVar
from typing import Final

import aiohttp
from aiohttp import ClientRequest, ClientTimeout
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

_TAKEN: Final[ContextVar[int]] = ContextVar("connections taken for the attempt that this task makes", default=0)


def new_attempt() -> None:
    """Say that the task's next connection is a first one: aiohttp takes another to send the same once more."""
    _TAKEN.set(0)


class Pool(aiohttp.TCPConnector):
    """aiohttp's pool. The three counts, of all time, grow in the two methods below alone."""

    created = 0
    lent = 0
    resent = 0  # how often aiohttp sent a request once more, because its connection broke before an answer

    def __repr__(self) -> str:
        return f"<Pool {self.busy} busy, {self.idle} idle, {self.created} created, {self.reused} reused>"

    @property
    def reused(self) -> int:
        """How often a request went out on a connection that was there already."""
        return self.lent - self.created

    @property
    def busy(self) -> int:
        """How many carry a request, or are being made for one."""
        return len(self._acquired)

    @property
    def idle(self) -> int:
        return sum(map(len, self._conns.values()))

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:  # noqa: ASYNC109 - aiohttp's own parameter
        connection = await super().connect(req, traces, timeout)
        self.lent += 1
        taken = _TAKEN.get()
        _TAKEN.set(taken + 1)
        self.resent += taken > 0
        return connection

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109 - aiohttp's own parameter
    ) -> ResponseHandler:
        made = await super()._create_connection(req, traces, timeout)
        self.created += 1
        return made
