"""TLS on the way out: what came before a break is read, and not thrown away with it.

A transport to which a write fails reads no more. Above TCP alone a connection can look into the socket itself;
above TLS it is told too late, and could not decrypt what it finds. So this looks between the two.
"""

import asyncio
import os
from contextlib import suppress
from typing import Any, Final

PIECE: Final = 64 * 1024
"""Bytes that are read at once: more than any answer to an upload that was refused."""


class _BelowTls(asyncio.BufferedProtocol):
    """Passes everything on from TCP to TLS. Nothing changes."""

    def __init__(self, tcp: asyncio.Transport, tls: Any) -> None:
        self._tcp = tcp
        self._tls = tls  # each loop has a kind of its own
        self.get_buffer = tls.get_buffer  # type: ignore[method-assign]  # called at each read: no step between
        self.buffer_updated = tls.buffer_updated  # type: ignore[method-assign]  # the same

    def eof_received(self) -> bool | None:
        kept: bool | None = self._tls.eof_received()
        return kept

    def pause_writing(self) -> None:
        self._tls.pause_writing()

    def resume_writing(self) -> None:
        self._tls.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            with suppress(OSError):
                read = os.readv(self._tcp.get_extra_info("socket").fileno(), [self._tls.get_buffer(PIECE)])
                self._tls.buffer_updated(read)
        self._tls.connection_lost(exc)


def read_to_the_end(below: asyncio.Transport) -> None:
    """Have what lies in the socket read when TCP breaks below the TLS that was just begun on it.

    TLS within TLS needs it once: what is read at the bottom comes up through both.
    """
    if below.get_extra_info("sslcontext") is None:
        below.set_protocol(_BelowTls(below, below.get_protocol()))
