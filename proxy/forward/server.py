"""aiohttp's low-level server, which makes a Connection per caller and an Incoming per request.

A request has its raw head at hand, and the 100 that an `Expect: 100-continue` waits for.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Final

from aiohttp import StreamReader, web_request, web_response, web_server
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.http_writer import HttpVersion11

from proxy.errors import NAME
from proxy.forward.body import Body, BodyLimits, KeptBytes
from proxy.forward.connection import READ_BUFFER, Connection, ConnectionLimits
from proxy.forward.door import Door
from proxy.forward.headers import Head, closes
from proxy.forward.tls import TlsConnection

KEEPALIVE: Final = 75.0
"""Seconds an idle connection of a caller is kept: longer than app-side pools keep theirs."""


LONGEST_SAID: Final = 2048
"""Bytes of a head that its connection keeps, for the next one may say the same."""

BODY: Final = frozenset({b"content-length", b"transfer-encoding"})
"""Fields that announce a body."""


class Incoming(web_request.BaseRequest):
    """A caller's request with its head as it came."""

    ATTRS = web_request.BaseRequest.ATTRS | {"head"}

    def __init__(
        self, message: RawRequestMessage, payload: StreamReader, protocol: Connection, *rest: Any, **more: Any
    ) -> None:
        version = message.version
        self.head = Head(message.method, message.path, version, message.raw_headers, protocol.said)
        protocol.said = self.head if len(message.path) + self.head.size <= LONGEST_SAID else None
        if message.version != HttpVersion11:
            message = message._replace(version=HttpVersion11)  # the answer's version is ours (RFC 9110 §2.5)
        if message.upgrade or (version == (1, 0) and closes(self.head)):
            # aiohttp loses what lies behind an offer to upgrade that nobody takes; and to llhttp, in HTTP/1.0
            # keep-alive outweighs close, which RFC 9112 §9.3 has the other way round.
            message = message._replace(should_close=True)
        super().__init__(message, payload, protocol, *rest, **more)

    def announces_body(self) -> bool:
        """Whether the head says that a body follows (RFC 9112 §6.3)."""
        return not BODY.isdisjoint(self.head.names)

    def body(self, limits: BodyLimits, kept_bytes: KeptBytes) -> Body | None:
        """Return the body, or None where the head announces none. Raises BodyTooLarge."""
        head = self.head
        if not self.announces_body():
            return None
        lengths = head.values(b"content-length")
        waits = b"expect" in head.names and head.version >= (1, 1)
        return Body(
            self.content,
            int(lengths[0]) if lengths else None,
            limits=limits,
            kept_bytes=kept_bytes,
            invite=self._continue if waits else None,
        )

    def is_attended(self) -> bool:
        """Tell whether the caller is still there, by the kernel."""
        return isinstance(self.protocol, Connection) and self.protocol.is_attended()

    async def _continue(self) -> None:
        """Tell the caller to send its body (RFC 9110 §10.1.1)."""
        await self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.writer.output_size = 0  # aiohttp reads it as "the final answer has begun", which it has not

    async def _prepare_hook(self, response: web_response.StreamResponse) -> None:
        response.headers["Server"] = NAME
        if self.head.version < (1, 1) and response.keep_alive:
            response.headers["Connection"] = "keep-alive"  # to HTTP/1.0 that does not go without saying


class Server(web_server.Server):
    """Makes a Connection per caller and an Incoming per request."""

    def __init__(self, handler: Any, limits: ConnectionLimits, tls: Callable[[], ssl.SSLContext] | None = None) -> None:
        """`tls` gives the context of the next handshake; without it, plain HTTP is spoken."""
        super().__init__(
            handler,
            request_factory=self._incoming,  # type: ignore[arg-type]  # its protocols are what `__call__` makes
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

    def _incoming(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: Connection,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> Incoming:
        try:
            return Incoming(message, payload, protocol, writer, task, self._loop)
        except ValueError:  # aiohttp decodes the host of an absolute target, and not each can be (xn--a)
            message = message._replace(url=message.url.relative())  # what it is worth, the guard knows by the head
            return Incoming(message, payload, protocol, writer, task, self._loop)
