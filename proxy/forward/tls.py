"""TLS on the way in: a connection has its place before its handshake, and costs little until it is done.

asyncio makes the protocol only when a handshake has succeeded: until then nothing counts the connection, and
it has 256 KiB of buffer. So its SSLProtocol is put behind a plain listener here, with a smaller one. (It is an inner
class of asyncio's, as it has been since Python 3.11.)
"""

import asyncio
import logging
import ssl
from asyncio.sslproto import SSLProtocol
from typing import Any, Final, cast

from proxy.errors import CallerError, MethodRefused
from proxy.forward.connection import Connection
from proxy.forward.door import LINGER, Door, whole
from proxy.forward.guard import NO_TUNNEL

log = logging.getLogger(__name__)


HEADER: Final = 5
"""Bytes before each TLS record; the last two tell its length (RFC 8446 §5.1)."""


PLAIN_HTTP: Final = {
    "HTTP_REQUEST": whole(CallerError("This listener speaks TLS: write https:// in the app's base URL.")),
    "HTTPS_PROXY_REQUEST": whole(MethodRefused(NO_TUNNEL)),
}
"""What is said to a request in the place of a handshake, by OpenSSL's reason: it knows some methods."""


class Records:
    """Follows a stream of TLS records. `_head`, of a header that has begun, and `_missing` are changed by `feed`."""

    def __init__(self) -> None:
        self._head = b""
        self._missing = 0  # bytes of the present record

    def feed(self, data: memoryview) -> bool:
        """Take what comes next; tell whether the stream stands within a record now."""
        while data:
            if self._missing:
                step = min(self._missing, len(data))
                self._missing -= step
            else:
                step = min(HEADER - len(self._head), len(data))
                self._head += data[:step]
                if len(self._head) == HEADER:
                    self._head, self._missing = b"", int.from_bytes(self._head[3:])
            data = data[step:]
        return bool(self._head or self._missing)


class TlsConnection(SSLProtocol):
    """What stands between a TCP connection and a Connection.

    `_tcp` is set by `connection_made`, `_records` goes on with all that comes; all else is SSLProtocol's.
    """

    max_size = 16 * 1024  # bytes that are read at once: what one record holds

    def __init__(self, connection: Connection, context: ssl.SSLContext, door: Door, handshake_timeout: float) -> None:
        self._tcp: asyncio.Transport | None = None
        self._records = Records()
        inner: Any = super()  # the stubs tell little of it, and some of that is wrong
        inner.__init__(
            asyncio.get_running_loop(),
            connection,
            context,
            None,
            server_side=True,
            ssl_handshake_timeout=handshake_timeout,
            ssl_shutdown_timeout=LINGER,
        )
        self._connection = connection
        self._door = door
        inner._set_read_buffer_limits(high=self.max_size)  # noqa: SLF001 - its own
        # With 0 it would pause when there is nothing to write, and not go on before there is.
        inner._set_write_buffer_limits(high=1, low=0)  # noqa: SLF001 - the same

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # each loop has a kind of its own
        if not self._door.admit(transport):
            transport.abort()  # nothing can be said before a handshake
            return
        self._tcp = transport
        self._door.handshakes.add(transport)
        self._connection.take_place(transport)
        super().connection_made(transport)

    def buffer_updated(self, nbytes: int) -> None:
        """Note whether a record has begun that can't be read before it is whole. (A handshake is nothing yet.)"""
        own: Any = self
        inside = self._records.feed(own._ssl_buffer_view[:nbytes])  # noqa: SLF001 - its own
        inner: Any = super()
        inner.buffer_updated(nbytes)
        self._connection.seal(inside=inside and self._connection.connected)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._tcp is not None:
            self._door.handshakes.discard(self._tcp)
            self._door.crowd.go(self._tcp)

    def _on_handshake_complete(self, handshake_exc: BaseException | None) -> None:
        """Tell how a handshake ended: the caller by an alert, the operator by one line. Scans are nobody's fault."""
        if self._tcp is not None:
            self._door.handshakes.discard(self._tcp)
            if isinstance(handshake_exc, ssl.SSLError) and not self._tcp.is_closing():
                peer = self._tcp.get_extra_info("peername")
                log.info("no TLS with %s: %s", peer[0] if peer else "a caller", _reason(handshake_exc))
                self._see_out(self._tcp, handshake_exc)
                return
        super()._on_handshake_complete(handshake_exc)

    def _see_out(self, tcp: asyncio.Transport, fault: ssl.SSLError) -> None:
        """Give the place up, and let the alert arrive: asyncio would drop it, and a reset overtake it.

        With TLS 1.3 the caller's request is on its way by then.
        """
        own: Any = self
        last_word = PLAIN_HTTP.get(fault.reason or "")
        if last_word is None:
            last_word = own._outgoing.read()  # noqa: SLF001 - its own
        else:
            self._door.malformed += 1
        tcp.pause_reading()  # uvloop would go on to read into our buffer
        self._door.see_out(tcp, last_word)
        tcp.resume_reading()
        self.connection_lost(fault)

    def _get_write_buffer_size(self) -> int:
        """Count what TCP has not taken, too: drained means handed to the kernel, to the last byte."""
        inner: Any = super()
        size: int = inner._get_write_buffer_size()  # noqa: SLF001 - its own
        return size + (self._tcp.get_write_buffer_size() if self._tcp is not None else 0)


def _reason(fault: ssl.SSLError) -> str:
    """Return OpenSSL's own words: never what the caller sent."""
    return fault.verify_message if isinstance(fault, ssl.SSLCertVerificationError) else fault.reason or "no reason"
