"""One caller's request: its head as it came, its body, and what is said to its caller meanwhile.

What aiohttp knows of a request is made of it only where aiohttp answers: an answer of PandaDoc's needs none of it.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import StreamReader, web_request, web_response
from aiohttp.http_parser import RawRequestMessage
from aiohttp.http_writer import HttpVersion11, StreamWriter
from yarl import URL

from proxy.errors import NAME
from proxy.forward.body import Body, BodyLimits, KeptBytes
from proxy.forward.headers import Head, closes

if TYPE_CHECKING:
    from proxy.forward.connection import Connection

BODY: Final = frozenset({b"content-length", b"transfer-encoding"})
"""Fields that announce a body."""

ROOT: Final = URL("/")


class Incoming:
    """A request. What changes: `sent`, how many bytes of its answer were handed to the transport, by who does so."""

    __slots__ = ("_message", "content", "head", "keep_alive", "protocol", "sent")

    def __init__(
        self, message: RawRequestMessage, content: StreamReader, protocol: "Connection", before: Head | None
    ) -> None:
        """`before`: the head before it on the connection."""
        version = message.version
        self.head = head = Head(message.method, message.path, version, message.raw_headers, before)
        self.content = content
        self.protocol = protocol
        # aiohttp loses what lies behind an offer to upgrade that nobody takes; and to llhttp, in HTTP/1.0
        # keep-alive outweighs close, which RFC 9112 §9.3 has the other way round.
        ends = message.should_close or message.upgrade or (version == (1, 0) and closes(head))
        self.keep_alive = not ends
        self.sent = 0
        self._message = message

    def __repr__(self) -> str:
        return f"<Incoming {self.head} sent={self.sent}>"

    @property
    def transport(self) -> asyncio.Transport | None:
        return self.protocol.transport

    @property
    def path(self) -> str:
        """Its path, decoded and without its query."""
        return self._message.url.path

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
        return self.protocol.is_attended()

    def open_transport(self) -> asyncio.Transport:
        """Return what bytes are written to. Raises ConnectionResetError where it takes none any more."""
        transport = self.protocol.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the caller's connection is closing")
        return transport

    async def answer(self, response: web_response.StreamResponse) -> None:
        """Have aiohttp send an answer of ours. Raises ConnectionError."""
        protocol, loop, task = self.protocol, asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in one
        message = self._message._replace(
            version=HttpVersion11,  # the answer's version is ours (RFC 9110 §2.5)
            url=ROOT,  # of another aiohttp decodes the host, and not each can be (xn--a)
            should_close=not self.keep_alive,
        )
        response.headers["Server"] = NAME
        if self.head.version < (1, 1) and self.keep_alive and response.keep_alive is not False:
            response.headers["Connection"] = "keep-alive"  # to HTTP/1.0 that does not go without saying
        known = web_request.BaseRequest(message, self.content, protocol, StreamWriter(protocol, loop), task, loop)
        await response.prepare(known)
        await response.write_eof()

    def _continue(self) -> None:
        """Tell the caller to send its body (RFC 9110 §10.1.1)."""
        self.open_transport().write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _cancel(self, fault: BaseException) -> None:
        """Break the body off: aiohttp's word, when the connection is lost."""
        self.content.set_exception(fault)
