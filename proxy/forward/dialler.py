"""New connections to the upstream: TCP, through an HTTP proxy if need be, and TLS.

The name is looked up anew for them, so that a moved API is followed; of several addresses, IPv6 and
IPv4 race (RFC 8305). Every failure is translated here, once, into RFC 9209's words; no text of it goes on.
"""

import asyncio
import base64
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Final

from aiohappyeyeballs import start_connection
from yarl import URL

from proxy.errors import Overloaded, ProxyError, UpstreamError, UpstreamTimeout
from proxy.forward.upstream_connection import UpstreamConnection
from proxy.forward.upstream_tls import read_to_the_end
from proxy.names import HEAD_START, Found, look_up
from proxy.open_files import EXHAUSTED
from proxy.time_limit import time_limit

FRESH: Final = 0.5
"""Seconds for which an address is used without being looked up again: a burst of connections asks once."""

LARGEST_HEAD: Final = 16 * 1024
"""Bytes of an HTTP proxy's answer."""

GONE: Final = "the other side has gone before TLS began"

UNROUTABLE: Final = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH})

FLAWS: Final = {
    9: "The upstream's certificate is not valid yet. Check this machine's clock, then the certificate.",
    10: "The upstream's certificate has expired. Check this machine's clock, then the certificate.",
    **dict.fromkeys((62, 64), "The upstream's certificate is for another name. Check upstream.url."),
}
"""What is said of a certificate that is refused for its dates or its name, by OpenSSL's verify code (x509_vfy.h)."""

WORDS: Final = (
    (socket.gaierror, "dns_error", "The upstream's name can't be resolved. Check upstream.url and the cluster's DNS."),
    (
        ssl.SSLCertVerificationError,
        "tls_certificate_error",
        "The upstream's certificate is not trusted. Set upstream.ca_file if a private CA signs it.",
    ),
    (
        ssl.SSLError,
        "tls_protocol_error",
        "TLS with the upstream failed. Check that upstream.url speaks TLS 1.2 or later at that port.",
    ),
    (
        ConnectionRefusedError,
        "connection_refused",
        "The upstream refused the connection. Check upstream.url and what lies between.",
    ),
)
"""What is said of a kind of fault; the first that fits counts."""


class Dialler:
    """Knows the way to the upstream. What changes is `_lookups`, the last one of each name, by `_found`."""

    def __init__(self, origin: URL, context: ssl.SSLContext, *, connect_timeout: float, proxy: URL | None) -> None:
        """`connect_timeout` is for all of it, in seconds. `proxy` is asked to tunnel (RFC 9110 §9.3.6)."""
        self._origin = origin
        self._context = context
        self._connect_timeout = connect_timeout
        self._proxy = proxy
        self._lookups: dict[URL, tuple[float, Found]] = {}

    def __repr__(self) -> str:
        return f"<Dialler {self._origin}>"

    async def __call__(self, lost: Callable[[UpstreamConnection], None]) -> UpstreamConnection:
        """Make a connection. Raises UpstreamError, or Overloaded."""
        try:
            async with time_limit(asyncio.get_running_loop().time() + self._connect_timeout):
                return await (self._direct(lost) if self._proxy is None else self._tunnel(self._proxy, lost))
        except (OSError, ssl.SSLError) as fault:  # a TimeoutError is an OSError
            raise as_proxy_error(fault) from fault

    async def _direct(self, lost: Callable[[UpstreamConnection], None]) -> UpstreamConnection:
        connection = UpstreamConnection(lost)
        tcp, _ = await self._connect(connection, self._origin)
        connection.lie_on(tcp)
        return connection

    async def _tunnel(self, proxy: URL, lost: Callable[[UpstreamConnection], None]) -> UpstreamConnection:
        """Have an HTTP proxy connect us, and speak TLS with the upstream through it."""
        origin, tunnel = self._origin, _Tunnel()
        try:
            tcp, between = await self._connect(tunnel, proxy)
        except (OSError, ssl.SSLError) as fault:
            if _exhausted(fault):
                raise
            raise _TunnelFailed from fault
        try:
            between.write(_connect(origin, proxy))
            opened = await tunnel.opened
        except BaseException:  # a caller that leaves meanwhile, too
            between.abort()
            raise
        if not opened:
            between.abort()
            raise _TunnelFailed
        connection = UpstreamConnection(lost)
        await self._secure(between, connection, origin)
        connection.lie_on(tcp)
        return connection

    async def _connect(self, protocol: asyncio.Protocol, url: URL) -> tuple[asyncio.Transport, asyncio.Transport]:
        """Connect to a URL's authority, with TLS where its scheme says so; return TCP's transport and what lies on it.

        Raises OSError.
        """
        secure, loop = url.scheme == "https", asyncio.get_running_loop()
        connected = await start_connection(await asyncio.shield(self._found(url)), happy_eyeballs_delay=HEAD_START)
        first = _BeforeTls()
        try:
            tcp, _ = await loop.create_connection(lambda: first if secure else protocol, sock=connected)
        except BaseException:  # the same
            connected.close()
            raise
        if first.spoken_to:
            tcp.abort()
            raise ssl.SSLError("it speaks first, and so it is not TLS")
        return tcp, await self._secure(tcp, protocol, url) if secure else tcp

    async def _secure(self, below: asyncio.Transport, protocol: asyncio.Protocol, url: URL) -> asyncio.Transport:
        """Begin TLS with a URL's host, on a connection that leads there. Raises OSError."""
        loop = asyncio.get_running_loop()
        if below.is_closing():  # uvloop would say that all is well
            raise ConnectionResetError(GONE)
        try:
            transport = await loop.start_tls(below, protocol, self._context, server_hostname=url.raw_host)
        except BaseException:  # the same
            below.abort()
            raise
        if transport is None or transport.is_closing():
            below.abort()
            raise ConnectionResetError(GONE)
        read_to_the_end(below)
        protocol.connection_made(transport)
        return transport

    def _found(self, url: URL) -> Found:
        """Look a name up; connections that come at once share one answer."""
        now = asyncio.get_running_loop().time()
        asked_at, found = self._lookups.get(url, (now, None))
        if found is None or (found.done() and (_failed(found) or now - asked_at > FRESH)):
            found = look_up(url.raw_host, url.port)
            self._lookups[url] = (now, found)
        return found


def _failed(done: Found) -> bool:
    return done.cancelled() or done.exception() is not None


class _BeforeTls(asyncio.Protocol):
    """What hears of TCP until TLS begins; `spoken_to` is set if the other side does not wait for that."""

    def __init__(self) -> None:
        self.spoken_to = False

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - whatever it is, it is not TLS
        self.spoken_to = True


class _TunnelFailed(UpstreamError):
    """The HTTP proxy on the way did not connect us."""

    error = "destination_unavailable"

    def __init__(self) -> None:
        super().__init__(
            "The HTTP proxy on the way to the upstream failed. Check upstream.proxy, or HTTPS_PROXY where that is not"
            " set."
        )


class _Tunnel(asyncio.Protocol):
    """The HTTP proxy's answer to CONNECT; `opened` tells what it came to. `_head` grows as it comes."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._head = bytearray()

    def data_received(self, data: bytes) -> None:
        if self.opened.done():
            return
        self._head += data
        head, whole, rest = self._head.partition(b"\r\n\r\n")
        if not whole and len(self._head) <= LARGEST_HEAD:
            return
        status = head.split(b" ", 2)[1:2]
        connected = bool(status) and status[0].startswith(b"2")
        self.opened.set_result(bool(whole) and head.startswith(b"HTTP/1.") and connected and not rest)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - it does not matter how it ended
        if not self.opened.done():
            self.opened.set_result(False)


def _connect(origin: URL, proxy: URL) -> bytes:
    authority = f"{origin.host_subcomponent}:{origin.port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if proxy.user is not None:
        pair = f"{proxy.user}:{proxy.password or ''}".encode()
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(pair).decode()}")
    return "\r\n".join((*lines, "", "")).encode()


def as_proxy_error(fault: Exception) -> ProxyError:
    """Translate what kept a connection from being made."""
    if isinstance(fault, TimeoutError):
        return UpstreamTimeout(
            "No connection to the upstream within upstream.connect_timeout.", error="connection_timeout"
        )
    if _exhausted(fault):
        return Overloaded(
            "The proxy has no room for another connection. Raise ulimit -n, or lower limits.max_connections.",
            error="proxy_internal_error",
        )
    if isinstance(fault, OSError) and fault.errno in UNROUTABLE:
        return UpstreamError(
            "No way leads to the upstream's address. Check the machine's network.", error="destination_ip_unroutable"
        )
    for kind, word, text in WORDS:
        if isinstance(fault, kind):
            return UpstreamError(FLAWS.get(getattr(fault, "verify_code", 0), text), error=word)
    return UpstreamError(
        "No connection to the upstream came about. Check upstream.url and what lies between.",
        error="destination_unavailable",
    )


def _exhausted(fault: Exception) -> bool:
    """Tell whether it is this machine that has no file or no memory left."""
    return isinstance(fault, OSError) and fault.errno in EXHAUSTED
