"""The answer on its way to the caller: its head, then its body chunk by chunk.

Before the first byte anything may still be said instead; after it, failure is a closed connection,
never a second status line (law 13).
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web
from aiohttp.http_writer import HttpVersion11
from multidict import CIMultiDict

from proxy.errors import AnswerBroken, CallerStalled, UpstreamError
from proxy.forward.exchange import Exchange
from proxy.forward.headers import Fields
from proxy.forward.upstream import Answer

RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing sends RST (socket(7))."""


class RelayedResponse(web.StreamResponse):
    """A response that keeps what the upstream said of itself, and what it did not say unsaid."""

    def __init__(self, status: int, reason: str, fields: Fields) -> None:
        # Latin-1 loses no byte: what is not ASCII reaches the caller as UTF-8 instead of being dropped.
        headers = CIMultiDict((name.decode("latin-1"), _text(value)) for name, value in fields)
        super().__init__(status=status, reason=reason, headers=headers)
        self.unsaid = [name for name in ("Content-Type", "Server") if name not in headers]


async def relay(
    request: web.BaseRequest,
    response: RelayedResponse,
    chunks: AsyncIterator[bytes],
    exchange: Exchange,
    idle_timeout: float,
) -> web.StreamResponse:
    """Send head and body to the caller.

    Raises UpstreamError where its head can't be sent, and AnswerBroken where the answer broke off after it.
    """
    if request.version < HttpVersion11 and "Content-Length" not in response.headers:
        response.force_close()  # only the end of the connection ends such a body (RFC 9112 §6.3)
    try:
        await response.prepare(request)
    except ValueError as fault:  # aiohttp refuses to write what it was lenient enough to read
        raise UpstreamError(
            "The upstream's answer holds a field that is not HTTP.", error="http_protocol_error"
        ) from fault
    exchange.status = response.status
    try:
        async for chunk in chunks:
            async with asyncio.timeout(idle_timeout):
                await response.write(chunk)
            exchange.bytes_out += len(chunk)
        async with asyncio.timeout(idle_timeout):
            await response.write_eof()
            await request.writer.drain()  # the request ends when its last byte is with the kernel
    except TimeoutError as fault:
        raise CallerStalled("the caller stopped reading") from fault
    return response


class HeldAnswer:
    """A 401 that was read ahead, so that its connection is free while a refresh runs."""

    def __init__(
        self, answer: Answer, read: bytes, rest: AsyncIterator[bytes] | None, broken: AnswerBroken | None
    ) -> None:
        self.status = answer.status
        self.reason = answer.reason
        self.fields = answer.fields
        self._answer = answer
        self._read = read
        self._rest = rest
        self._broken = broken

    async def chunks(self) -> AsyncIterator[bytes]:
        if self._read:
            yield self._read
        if self._broken is not None:
            raise self._broken
        if self._rest is not None:
            async for chunk in self._rest:
                yield chunk

    async def close(self) -> None:
        await self._answer.close()


async def hold(answer: Answer, limit: int) -> HeldAnswer:
    """Read an answer's body ahead, `limit` bytes of it; what is longer stays where it is."""
    read, chunks = bytearray(), answer.chunks()
    try:
        async for chunk in chunks:
            read += chunk
            if len(read) > limit:
                return HeldAnswer(answer, bytes(read), chunks, None)
    except AnswerBroken as broken:
        return HeldAnswer(answer, bytes(read), None, broken)
    return HeldAnswer(answer, bytes(read), None, None)


def cut(request: web.BaseRequest, response: web.StreamResponse, *, stalled: bool) -> None:
    """Close the caller's connection so that it can't take what it has for the whole answer."""
    transport = request.transport
    if transport is None:
        return
    framed = "Transfer-Encoding" in response.headers or "Content-Length" in response.headers
    if framed and not stalled:
        transport.close()  # what was sent stays sent; the missing end shows
        return
    # A caller that reads no more would never let go of what is buffered; and where the body ends with
    # the connection (HTTP/1.0), only a reset tells a broken one from a whole one.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    transport.abort()


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
