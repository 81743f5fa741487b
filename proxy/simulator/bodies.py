"""Reading a request's body: to its end, tallied for the journal, kept only as far as it is parsed."""

from collections.abc import Callable

from aiohttp import HttpVersion11, web

from proxy.simulator.journal import BodyTally, Received
from proxy.simulator.operations import Content
from proxy.simulator.uploads import MultipartScanner, boundary_of

JSON_BYTES = 2 * 1024 * 1024  # PandaDoc's limit for a JSON body
_PARSED_PREFIX = "/public/v1/documents"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Body:
    """The body of one request, whose content can be had once.

    Reading changes the journal's entry, chunk by chunk, and tells `progress` each time.
    """

    def __init__(self, request: web.BaseRequest, received: Received, progress: Callable[[], None]) -> None:
        self._request = request
        self.received = received
        self._progress = progress

    async def drain(self) -> None:
        """Read what nobody parses, unless all has been read."""
        if not self.received.body_sha256:
            await self._read(lambda _chunk: None)

    async def content(self) -> Content:
        """Read what the operation will parse, and drain the rest."""
        if self.received.method != "POST" or not self.received.path.startswith(_PARSED_PREFIX):
            await self.drain()
            return b""
        boundary = boundary_of(self.received.header(b"content-type").decode("latin-1"))
        if boundary is None:
            return await self.whole()
        scanner = MultipartScanner(boundary)
        await self._read(scanner.feed)
        return scanner.parts()

    async def whole(self) -> bytes | None:
        """Read into memory; None is a body above 2 MiB, which is read all the same."""
        kept = bytearray()

        def keep(chunk: bytes) -> None:
            if len(kept) <= JSON_BYTES:
                kept.extend(chunk)

        await self._read(keep)
        return bytes(kept) if len(kept) <= JSON_BYTES else None

    async def _read(self, sink: Callable[[bytes], None]) -> None:
        if self._is_waited_for() and self._request.transport is not None:
            self._request.transport.write(_CONTINUE)
        tally = BodyTally(self.received)
        async for chunk in self._request.content.iter_any():
            tally.feed(chunk)
            sink(chunk)
            self._progress()
        tally.close()

    def _is_waited_for(self) -> bool:
        """Tell whether the caller expects a 100, which the low-level server leaves to us (RFC 9110 section 10.1.1)."""
        expects = self.received.header(b"expect").lower() == b"100-continue"
        return expects and self._request.version >= HttpVersion11

    def __repr__(self) -> str:
        return f"<Body of {self.received!r}>"
