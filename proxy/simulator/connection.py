"""One caller's connection: aiohttp's RequestHandler, which tells nobody that a body broke off or a caller has left.

It leans on a few inner names of aiohttp's, as `proxy.forward.connection` does.
"""

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler, _ErrInfo


class Connection(RequestHandler):
    """One caller's connection. `lost` is set once it is gone, by `connection_lost` alone."""

    __slots__ = ("lost",)

    def __init__(self, manager: "Server", **settings: Any) -> None:
        super().__init__(manager, **settings)
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Break off the body that what came makes unreadable: its reader would wait for ever."""
        super().data_received(data)
        if not self._messages or not isinstance(self._messages[-1][0], _ErrInfo):
            return
        before = self._messages[-2][1] if len(self._messages) > 1 else None
        if before is None and self._current_request is not None:
            before = self._current_request.content
        if before is not None and not before.is_eof():
            before.set_exception(web.RequestPayloadError("unreadable"))

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set()
        super().connection_lost(exc)


class Server(web.Server):
    """Makes a Connection per caller."""

    def __call__(self) -> Connection:
        return Connection(self, loop=self._loop, **self._kwargs)
