"""The caller's request body: read once, sent as often as law 11 allows, kept within law 12's bounds."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from aiohttp import StreamReader, web_protocol
from msgspec import Struct

from proxy.errors import BodyTooLarge, CallerError, ProxyError, RequestTimeout
from proxy.time_limit import time_limit

SMALL: Final = 32 * 1024
"""Bytes up to which a body that has arrived with its head is passed on as one piece: what is read ahead at most."""


class KeptBytes:
    """The bytes kept for replays, of all requests together, through every reload.

    `used` is changed by `take` and `give_back` alone, `limit` by `resize`.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def __repr__(self) -> str:
        return f"<KeptBytes {self.used} of {self.limit}>"

    def resize(self, limit: int) -> None:
        """Keep so much from now on; what is kept stays."""
        self.limit = limit

    def take(self, size: int) -> bool:
        """Reserve `size` bytes, or tell that they are not to be had."""
        if self.used + size > self.limit:
            return False
        self.used += size
        return True

    def give_back(self, size: int) -> None:
        self.used -= size


class BodyLimits(Struct, frozen=True):
    """Bytes and seconds that one body may cost."""

    largest: int  # limits.max_body
    kept: int  # replay.max_body
    idle_timeout: float  # between two chunks
    whose: str = "limits.max_body"  # the largest body's name, for people


class Body:
    """One request's body.

    What changes: `_kept`, the bytes read so far, or None once they are let go; `_taken`, what is
    reserved for them: for all of them before the first is read (`_asked_for`); `received`, how many were read;
    `finished`; `fault`, why it broke off. All by `_next`, `_make_room` and `let_go`, and `_reading` lets a second
    attempt in only when the first has left.
    """

    def __init__(
        self,
        content: StreamReader,
        length: int | None,
        *,
        limits: BodyLimits,
        kept_bytes: KeptBytes,
        invite: Callable[[], None] | None,
    ) -> None:
        """`length` is the Content-Length; None means chunked. `invite` sends the 100 that the caller waits for.

        Raises BodyTooLarge at once where the length says so.
        """
        if length is not None and length > limits.largest:
            raise _too_large(limits)
        self.length = length
        self.received = 0
        self.finished = length == 0
        self.fault: ProxyError | None = None
        self._content = content
        self._limits = limits
        self._kept_bytes = kept_bytes
        self._invite = invite
        self._kept: bytearray | None = bytearray()
        self._taken = 0
        self._asked_for = False
        self._reading = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Body {self.received} of {self.length} bytes, kept={self._kept is not None}>"

    @property
    def replayable(self) -> bool:
        """Whether every byte read so far can be sent again."""
        return self._kept is not None or self.received == 0

    @property
    def waits(self) -> bool:
        """Whether the caller sends it only when it is told to (RFC 9110 §10.1.1)."""
        return self._invite is not None

    def surely_replayable(self) -> bool:
        """Make room for the whole body, once; tell whether it is known now that it will be kept."""
        self._make_room()
        return self._kept is not None and self.length is not None

    def let_go(self) -> None:
        """Forget what is kept: no replay will need it."""
        self._kept = None
        self._kept_bytes.give_back(self._taken)
        self._taken = 0

    def arrived(self) -> bytes | None:
        """Return the whole body if it is small and here already, else None. Never waits."""
        self._make_room()
        if self.length is None or self.length > SMALL or self._kept is None:
            return None
        if not self.finished and self.received == 0 and self._content.is_eof():
            self._kept += self._content.read_nowait()
            self.received, self.finished = self.length, True
        return bytes(self._kept) if self.finished else None

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body from its first byte: what is kept, then the rest as the caller sends it.

        Raises what `fault` then holds: RequestTimeout, BodyTooLarge, or CallerError for broken framing.
        """
        sent = 0
        while True:
            if self._kept is not None and sent < len(self._kept):
                chunk = bytes(self._kept[sent : sent + SMALL])
            elif not (chunk := await self._next()):
                return
            sent += len(chunk)
            yield chunk

    async def _next(self) -> bytes:
        async with self._reading:
            if self.finished:
                return b""
            try:
                chunk = await self._read()
            except ProxyError as fault:
                self.fault = fault
                raise
            self.received += len(chunk)
            self.finished = not chunk
            self._keep(chunk)
            return chunk

    async def _read(self) -> bytes:
        if self._invite is not None:
            invite, self._invite = self._invite, None
            invite()
        try:
            async with time_limit(asyncio.get_running_loop().time() + self._limits.idle_timeout):
                chunk = await self._content.readany()
        except TimeoutError:
            raise RequestTimeout(
                f"The request's body stalled for {self._limits.idle_timeout:g} s (upstream.idle_timeout)."
            ) from None
        except web_protocol.RequestPayloadError:
            raise CallerError("The request's body is framed wrongly.") from None
        if self.received + len(chunk) > self._limits.largest:
            raise _too_large(self._limits)
        return chunk

    def _keep(self, chunk: bytes) -> None:
        self._make_room()
        if self._kept is None or not chunk:
            return
        if self.length is None and not self._reserve(len(chunk)):
            self.let_go()
            return
        self._kept += chunk

    def _make_room(self) -> None:
        """Reserve what a length says, but not while the request waits in line, with its body unread."""
        if not self._asked_for:
            self._asked_for = True
            if self.length is not None and not self._reserve(self.length):
                self.let_go()

    def _reserve(self, size: int) -> bool:
        if self._taken + size > self._limits.kept or not self._kept_bytes.take(size):
            return False
        self._taken += size
        return True


def _too_large(limits: BodyLimits) -> BodyTooLarge:
    return BodyTooLarge(f"The request's body is larger than {limits.largest} bytes ({limits.whose}).")
