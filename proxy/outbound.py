"""What leaves the machine, over verified TLS: a pool that forwards, and a session for token calls and probes.

They are two, so that a pool that is full of requests can never keep the credential from healing.
"""

import errno
import hashlib
import ssl
from pathlib import Path
from typing import Final

import aiohttp
from msgspec import Struct

from proxy import __version__
from proxy.config import Upstream
from proxy.credential.token_endpoint import noting_connections
from proxy.forward.dialler import Dialler
from proxy.forward.upstream_pool import Counts, UpstreamPool
from proxy.names import Resolver
from proxy.secrets import irregular
from proxy.trust import verifying

DNS_TTL: Final = 60
"""Seconds for which an address is used for new connections; a moved API is followed within a minute."""


class Trust(Struct, frozen=True):
    """Whose word we take for who the upstream is, and the token endpoint."""

    context: ssl.SSLContext
    ca_file: bytes  # a fingerprint of what was in it


def trust(settings: Upstream, known: Trust | None = None) -> Trust:
    """Make the TLS context: the system's authorities and `ca_file`. Blocks.

    Returns `known` if the file holds what it held then. Raises OSError that says what is wrong with it.
    """
    path = settings.ca_file
    try:
        content = b"" if path is None else _content(path)
        fingerprint = hashlib.sha256(content).digest()
        if known is not None and known.ca_file == fingerprint:
            return known
        context = verifying()
        if path is not None:
            context.load_verify_locations(path)
    except ssl.SSLError as fault:
        raise OSError(f"{path} holds no certificate: name a PEM file") from fault
    except OSError as fault:
        raise OSError(f"{path} can't be read: {fault.strerror}") from fault
    return Trust(context, fingerprint)


def _content(path: Path) -> bytes:
    if irregular(path):
        raise OSError(errno.EINVAL, "it is not a regular file")
    return path.read_bytes()


def forwarding_pool(settings: Upstream, context: ssl.SSLContext, counts: Counts | None = None) -> UpstreamPool:
    """Make the pool of connections that requests go out on; it counts on from `counts`."""
    proxy = None if settings.proxy is None else settings.proxy.url
    dial = Dialler(settings.url.origin(), context, connect_timeout=settings.connect_timeout, proxy=proxy)
    return UpstreamPool(dial, limit=settings.max_connections, keepalive=settings.keepalive, counts=counts)


def credential_session(context: ssl.SSLContext) -> aiohttp.ClientSession:
    """Make the session for token calls and probes.

    Each goes out on a connection of its own: on a kept one that the other side is just closing, a redeem's
    outcome would be unknown (law 6). None waits for another's: a credential has one redeem and one probe at most.
    """
    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=DNS_TTL, force_close=True, ssl=context, resolver=Resolver())
    return aiohttp.ClientSession(
        connector=connector,
        headers={
            "User-Agent": f"pandadoc-proxy/{__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # no decompressor stands between us and 64 KiB
        },
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        trace_configs=[noting_connections()],
    )
