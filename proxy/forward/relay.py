"""The answer on its way to the caller: its head, then its body chunk by chunk.

Before the first byte anything may still be said instead; after it, failure is a closed connection,
never a second status line (law 13).
"""

import asyncio
import fcntl
import re
import socket
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from aiohttp.helpers import rfc822_formatted_time

from proxy.errors import AnswerBroken, CallerStalled
from proxy.forward.burst import Burst
from proxy.forward.exchange import Exchange
from proxy.forward.framing import BODILESS
from proxy.forward.headers import AnswerHead
from proxy.forward.incoming import Incoming
from proxy.forward.upstream import Answer

RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing sends RST (socket(7))."""

JUDGED_WITHIN: Final = 2.0
"""Seconds that a body is read ahead where a decision waits for it: real ones come with their heads, and what trickles
would keep its caller, which has seen nothing, and a connection for as long as no silence is an `idle_timeout`."""

NO_CONTENT: Final = 204
LENGTH: Final = re.compile(rb"^content-length:.*\r\n", re.IGNORECASE | re.MULTILINE)
LAST_CHUNK: Final = b"0\r\n\r\n"


class RelayedResponse:
    """An upstream's answer as the caller gets it: its fields byte for byte, in a framing of ours.

    Its connection is handed it when it is over, and asks whether it goes on. What changes: `prepared`, aiohttp's
    word for a head that is on its way; `framed` and `keep_alive`, before that, by `measured`; `delivered`, once a whole
    answer is with the kernel.
    """

    def __init__(self, request: Incoming, head: AnswerHead, fields: bytes, burst: Burst, *, last: bool) -> None:
        """Take the fields as they are sent; `last`: the connection ends with it."""
        status, one_one = head.status, request.head.version >= (1, 1)
        if status == NO_CONTENT:  # nor a length (RFC 9110 §8.6)
            fields = LENGTH.sub(b"", fields)
        self.prepared = self.delivered = False
        self._request = request
        self._burst = burst
        self._line = b"HTTP/1.1 %d %b\r\n" % (status, head.reason)
        self._fields = fields
        self._dated = b"date" in head.names
        self._one_one = one_one
        sized = b"content-length" in head.names or status in BODILESS or request.head.method == "HEAD"
        self.framed = sized or one_one
        self.chunked_here = one_one and not sized
        self._may_go_on = request.keep_alive and not last
        self.keep_alive = self._may_go_on and self.framed

    def head(self) -> bytes:
        """Write the status line and the fields (RFC 9112 §4); the version is ours (RFC 9110 §2.5)."""
        self.prepared = True
        lines = [self._line, self._fields]
        if self.chunked_here:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        if not self._dated:
            lines.append(b"Date: %b\r\n" % rfc822_formatted_time().encode())  # RFC 9110 §6.6.1
        if not self.keep_alive:
            lines.append(b"Connection: close\r\n")
        elif not self._one_one:
            lines.append(b"Connection: keep-alive\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    def breaks_visibly(self) -> bool:
        """Tell whether the caller sees a break: by the framing, or by a reset, which a unix socket has none of."""
        if self.framed:
            return True
        transport = self._request.transport
        return transport is None or transport.get_extra_info("socket").family != socket.AF_UNIX

    def measured(self, length: int, *, last: bool) -> None:
        """Frame the body by its length, which the upstream has not told; `last` as at the beginning."""
        self._fields += b"Content-Length: %d\r\n" % length
        self.framed, self.keep_alive = True, self._may_go_on and not last

    def framed_chunk(self, chunk: bytes) -> bytes:
        """Return a piece of the body as it is sent."""
        return b"%x\r\n%b\r\n" % (len(chunk), chunk) if self.chunked_here else chunk

    async def say(self, data: bytes, idle_timeout: float) -> None:
        """Send bytes, and wait until they are with the kernel.

        Raises TimeoutError where the caller takes nothing for so long, ConnectionError.
        """
        transport = self._request.open_transport()
        self._request.sent += len(data)
        transport.write(data)
        if transport.get_write_buffer_size() > 0:
            await self._drained(transport, idle_timeout)

    async def say_whole(self, data: bytes, idle_timeout: float) -> None:
        """Send a whole answer likewise, in a burst. If it was `delivered`, who leaves since then has not hung up."""
        self._request.sent += len(data)
        if self._burst.calm():
            self._deliver(data)
        else:
            await self._burst.send(self._deliver, data)
        if not self.delivered:
            await self._drained(self._request.open_transport(), idle_timeout)
            self.delivered = True

    def _deliver(self, data: bytes) -> None:
        transport = self._request.transport
        if transport is not None and not transport.is_closing():
            transport.write(data)
            self.delivered = transport.get_write_buffer_size() == 0 and not transport.is_closing()  # as nearly always

    async def _drained(self, transport: asyncio.Transport, idle_timeout: float) -> None:
        left = _left(transport)
        while True:
            try:
                async with asyncio.timeout(idle_timeout):
                    await self._request.protocol._drain_helper()  # noqa: SLF001 - what aiohttp's writers wait for
            except TimeoutError:
                before, left = left, _left(transport)
                if left >= before:
                    raise
                self._request.protocol._drain_waiter = None  # noqa: SLF001 - aiohttp waits for the cancelled one otherwise
            else:
                return

    def cut(self, *, stalled: bool) -> None:
        """Close the caller's connection so that it can't take what it has for the whole answer."""
        transport = self._request.transport
        if transport is None:
            return
        if self.framed and not stalled:
            transport.close()  # what was sent stays sent; the missing end shows
            return
        # A caller that reads no more would never let go of what is buffered; and where the body ends with
        # the connection (HTTP/1.0), only a reset tells a broken one from a whole one.
        if not transport.is_closing():
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        transport.abort()


def _left(transport: asyncio.Transport) -> int:
    """Count the bytes that the caller has not taken: those before the kernel, and those in it, where it tells."""
    queued = bytearray(4)
    with suppress(OSError, ValueError):  # the latter where the socket is closed by now
        fcntl.ioctl(transport.get_extra_info("socket"), termios.TIOCOUTQ, queued)  # SIOCOUTQ of tcp(7)
    return transport.get_write_buffer_size() + int.from_bytes(queued, sys.byteorder)


async def relay(response: RelayedResponse, answer: Answer, exchange: Exchange, idle_timeout: float) -> None:
    """Send head and body to the caller: in one piece if the body is here.

    Raises AnswerBroken where it breaks off: then the caller's connection is closed so that it shows.
    """
    exchange.status = answer.status
    head, last = response.head(), LAST_CHUNK if response.chunked_here else b""
    try:
        if answer.whole is not None:
            body = response.framed_chunk(answer.whole) if answer.whole else b""
            try:
                await response.say_whole(head + body + last, idle_timeout)
            finally:
                if response.delivered:  # its caller may have left since
                    exchange.delivered, exchange.bytes_out = True, len(answer.whole)
            return
        await response.say(head, idle_timeout)
        async for chunk in answer.chunks():
            await response.say(response.framed_chunk(chunk), idle_timeout)
            exchange.bytes_out += len(chunk)
        if last:
            await response.say(last, idle_timeout)
    except TimeoutError as fault:
        response.cut(stalled=True)
        raise CallerStalled("the caller stopped reading") from fault
    except AnswerBroken:
        response.cut(stalled=False)
        raise


class HeldAnswer:
    """An answer whose body was read ahead, so far as it may be: before a decision, or to free its connection."""

    def __init__(
        self, answer: Answer, read: bytes, rest: AsyncIterator[bytes] | None, broken: AnswerBroken | None
    ) -> None:
        self.status = answer.status
        self.head = answer.head
        self.whole = read if rest is None and broken is None else None
        self.broken = broken
        self._answer = answer
        self._read = read
        self._rest = rest

    async def chunks(self) -> AsyncIterator[bytes]:
        if self._read:
            yield self._read
        if self.broken is not None:
            raise self.broken
        if self._rest is not None:
            async for chunk in self._rest:
                yield chunk

    def close(self) -> None:
        self._answer.close()


async def hold(answer: Answer, limit: int, seconds: float | None = None) -> HeldAnswer:
    """Read an answer's body ahead, `limit` bytes of it and for so long; what is longer, or late, stays where it is."""
    read, chunks = bytearray(), answer.chunks()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in chunks:
                read += chunk
                if len(read) > limit:
                    return HeldAnswer(answer, bytes(read), chunks, None)
    except TimeoutError:
        return HeldAnswer(answer, bytes(read), answer.chunks(), None)
    except AnswerBroken as broken:
        return HeldAnswer(answer, bytes(read), None, broken)
    except BaseException:  # the caller hung up
        answer.close()
        raise
    return HeldAnswer(answer, bytes(read), None, None)
