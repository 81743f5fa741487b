"""aiohttp's low-level server, which makes a Connection per caller."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

from aiohttp import web_server

from proxy.forward.connection import READ_BUFFER, Answering, Connection, ConnectionLimits
from proxy.forward.door import Door
from proxy.forward.tls import TlsConnection

KEEPALIVE: Final = 75.0
"""Seconds an idle connection of a caller is kept: longer than app-side pools keep theirs."""


class Server(web_server.Server):
    """Makes a Connection per caller."""

    def __init__(
        self, handler: Answering, limits: ConnectionLimits, tls: Callable[[], ssl.SSLContext] | None = None
    ) -> None:
        """`tls` gives the context of the next handshake; without it, plain HTTP is spoken."""
        super().__init__(
            handler,  # type: ignore[arg-type]  # a Connection alone calls it
            handler_cancellation=True,  # a caller that hangs up cancels its upstream request
            auto_decompress=False,
            access_log=None,
            keepalive_timeout=KEEPALIVE,
            max_line_size=limits.max_head,
            max_field_size=limits.max_head,
            max_headers=2 * limits.max_headers,  # the guard's 431 has a line in the access log; the parser's has none
            read_bufsize=READ_BUFFER,
        )
        self._limits = limits
        self._tls = tls
        self.door = Door(limits.max_connections)

    def reconfigure(self, limits: ConnectionLimits, tls: Callable[[], ssl.SSLContext] | None) -> None:
        """Go on with other settings, for connections that come from now on."""
        self._limits, self._tls = limits, tls
        self.door.resize(limits.max_connections)
        self._kwargs |= {
            "max_line_size": limits.max_head,
            "max_field_size": limits.max_head,
            "max_headers": 2 * limits.max_headers,
        }

    @property
    def is_tls(self) -> bool:
        return self._tls is not None

    @property
    def here(self) -> list[asyncio.Transport]:
        """The TCP connections that have a place."""
        return self.door.crowd.everybody()

    @property
    def turned_away(self) -> list[asyncio.Transport]:
        """The connections that found no place and have not left yet."""
        return self.door.turned_away.everybody()

    def leave(self) -> bool:
        """Close every connection that owes no answer; tell whether one does, or may come to."""
        for transport in tuple(self.door.handshakes):
            transport.abort()
        stay = [each.leave() for each in self.connections if isinstance(each, Connection)]
        return any(stay)

    def retire(self) -> None:
        """Have every caller come anew: no connection takes another request than the one it has."""
        self._retire()
        self._loop.call_soon(self._retire)  # those whose protocol is made, and told of its connection in a moment

    def _retire(self) -> None:
        for connection in self.connections:
            if isinstance(connection, Connection):
                connection.retire()
        for transport in tuple(self.door.handshakes):
            transport.abort()

    def cut(self) -> None:
        """Close every connection now; what was being answered is cancelled."""
        for connection in self.connections:
            connection.force_close()
        for transport in (*self.turned_away, *self.door.handshakes):
            transport.abort()

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - aiohttp's own parameter
        """Let answers end for so long, then close everything. A TLS connection would wait for its caller's goodbye."""
        await super().shutdown(timeout)
        for transport in self.here:
            transport.abort()

    def __call__(self) -> Connection | TlsConnection:  # type: ignore[override]  # whatever takes a TCP connection
        connection = Connection(self, door=self.door, limits=self._limits, loop=self._loop, **self._kwargs)
        if self._tls is None:
            return connection
        return TlsConnection(connection, self._tls(), self.door, self._limits.header_timeout)
