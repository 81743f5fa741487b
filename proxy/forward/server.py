"""Connections: aiohttp's low-level server, with what a gateway needs besides.

    a time limit for the request's head (aiohttp has none)
    malformed requests answered by us: no echo, no traceback, no raw header in a log
    the raw head at hand, and the 100 that an `Expect: 100-continue` waits for

It leans on a few inner names of aiohttp's RequestHandler, which is why the version is bounded.
"""

import asyncio
import logging
import socket
from typing import Any, Final

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.http_writer import HttpVersion11
from aiohttp.web_protocol import ERROR, RequestHandler

from proxy.errors import NAME, AnswerBroken, CallerError, HeadTooLarge, ProxyError, RequestTimeout
from proxy.forward.body import Body, BodyLimits, KeptBytes
from proxy.forward.guard import SPOKEN, Head
from proxy.forward.headers import values
from proxy.forward.problem import problem
from proxy.forward.relay import RelayedResponse

log = logging.getLogger(__name__)

KEEPALIVE: Final = 75.0
"""Seconds an idle connection of a caller is kept: longer than app-side pools keep theirs."""

LINGER: Final = 5.0
"""Seconds for which an upload that nobody reads is drained, so that its sender sees the answer (RFC 9112 §9.6)."""

READ_BUFFER: Final = 64 * 1024

SEND_BUFFER: Final = 128 * 1024
"""Bytes in the kernel. Left to itself it grows to megabytes, and a slow but steady reader looks like a stalled one."""


class Incoming(web.BaseRequest):
    """A caller's request with its head as it came."""

    ATTRS = web.BaseRequest.ATTRS | {"head"}

    def __init__(self, message: RawRequestMessage, *rest: Any, **more: Any) -> None:
        version = (message.version.major, message.version.minor)
        self.head = Head(message.method, message.path, version, message.raw_headers)
        if message is ERROR or version not in SPOKEN:
            message = message._replace(version=HttpVersion11)  # the answer's version is ours (RFC 9110 §2.5)
        super().__init__(message, *rest, **more)

    def body(self, limits: BodyLimits, kept_bytes: KeptBytes) -> Body | None:
        """Return the body, or None where the head announces none (RFC 9112 §6.3). Raises BodyTooLarge."""
        fields = self.head.fields
        lengths = values(fields, b"content-length")
        if not lengths and not values(fields, b"transfer-encoding"):
            return None
        waits = self.version >= (1, 1) and bool(values(fields, b"expect"))
        return Body(
            self.content,
            int(lengths[0]) if lengths else None,
            limits=limits,
            kept_bytes=kept_bytes,
            invite=self._continue if waits else None,
        )

    async def _continue(self) -> None:
        """Tell the caller to send its body (RFC 9110 §10.1.1)."""
        await self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.writer.output_size = 0  # aiohttp reads it as "the final answer has begun", which it has not

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        if isinstance(response, RelayedResponse):
            for name in response.unsaid:
                response.headers.pop(name, None)
        else:
            response.headers["Server"] = NAME


class Connection(RequestHandler):
    """One caller's connection. `_deadline` runs while a head is incomplete; the two overrides below set it."""

    __slots__ = ("_deadline", "_header_timeout", "_heads")

    def __init__(self, manager: "Server", *, header_timeout: float, **settings: Any) -> None:
        super().__init__(manager, **settings)
        self._header_timeout = header_timeout
        self._deadline: asyncio.TimerHandle | None = None
        self._heads = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if isinstance(transport, asyncio.Transport):
            transport.set_write_buffer_limits(high=0)  # drained means handed to the kernel, to the last byte
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._request_count != self._heads:
            self._heads = self._request_count
            self._stop_clock()
        elif self._deadline is None and not self._busy() and data.strip(b"\r\n"):
            self._deadline = self._loop.call_later(self._header_timeout, self._too_late)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_clock()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it echoes what the caller sent
    ) -> web.StreamResponse:
        """Answer what never became a request, in our own words; after the first byte, just close (law 13)."""
        if isinstance(exc, AnswerBroken | ConnectionError) or request.writer.output_size > 0:
            raise ConnectionResetError("the answer can't be finished") from exc
        fault = _fault(status, exc)
        if isinstance(fault, CallerError):
            log.info("malformed request from %s: %s", request.remote, type(exc).__name__)
        else:
            log.error("a fault of ours in a request from %s", request.remote, exc_info=exc)
        response = problem(fault, request_id="-")
        response.force_close()
        return response

    def leave(self) -> None:
        """Close if idle. (`close` would drop the rest of a request's body; the handler says `Connection: close`.)"""
        if not self._busy():
            self.force_close()

    def _busy(self) -> bool:
        """Tell whether a request is being served, or the rest of its body is still being read away."""
        return self._request_in_progress or bool(self._messages) or self._waiter is None

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        self._deadline = None
        if self.transport is not None and not self._busy():
            self.transport.write(_late(self._header_timeout))
            self.transport.close()


class Server(web.Server):
    """Makes a Connection per caller and an Incoming per request."""

    def __init__(self, handler: Any, *, header_timeout: float, max_head: int, max_headers: int) -> None:
        super().__init__(
            handler,
            request_factory=self._incoming,
            handler_cancellation=True,  # a caller that hangs up cancels its upstream request
            auto_decompress=False,
            access_log=None,
            keepalive_timeout=KEEPALIVE,
            lingering_time=LINGER,
            max_line_size=max_head,
            max_field_size=max_head,
            max_headers=2 * max_headers,  # the guard knows a 431; the parser only a 400
            read_bufsize=READ_BUFFER,
        )
        self._header_timeout = header_timeout

    def leave(self) -> None:
        """Close every connection that owes no answer."""
        for connection in self.connections:
            if isinstance(connection, Connection):
                connection.leave()

    def cut(self) -> None:
        """Close every connection now; what was being answered is cancelled."""
        for connection in self.connections:
            connection.force_close()

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, header_timeout=self._header_timeout, **self._kwargs)

    def _incoming(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> Incoming:
        return Incoming(message, payload, protocol, writer, task, self._loop)


def _late(header_timeout: float) -> bytes:
    """Write a whole 408 by hand: there is no request that aiohttp could answer."""
    response = problem(RequestTimeout(f"No whole head came within {header_timeout:g} s (limits.header_timeout)."), "-")
    body = response.body
    assert isinstance(body, bytes)  # noqa: S101 - problem() makes it so
    fields = {**response.headers, "Content-Length": str(len(body)), "Connection": "close", "Server": NAME}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {response.status} {response.reason}\r\n{lines}\r\n".encode() + body


def _fault(status: int, exc: BaseException | None) -> ProxyError:
    if isinstance(exc, LineTooLong):
        return HeadTooLarge("The request's head is larger than limits.max_head allows.")
    if status < 500:  # noqa: PLR2004 - the class of server errors
        return CallerError("The request is not valid HTTP/1.1.")
    return ProxyError()
