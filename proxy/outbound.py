"""Sessions that leave the machine: verified TLS, no cookies, no redirects by default, nothing decoded.

Two of them exist: one forwards, one carries token calls and probes, so that a full pool of
requests can never keep the credential from healing.
"""

import ssl
from typing import Final

import aiohttp

from proxy import __version__
from proxy.config import Upstream
from proxy.pool import Pool

NO_FIELDS_OF_ITS_OWN: Final = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")

LARGEST_FIELD: Final = 64 * 1024
MOST_FIELDS: Final = 256
"""Bounds on an answer's head. PandaDoc's stay below a tenth of them."""

READ_BUFFER: Final = 64 * 1024
"""Bytes of an unread answer that are buffered before its socket is left alone."""

DNS_TTL: Final = 60
"""Seconds for which an address is used for new connections; a moved API is followed within a minute."""

CREDENTIAL_CONNECTIONS: Final = 8


def trust(settings: Upstream) -> ssl.SSLContext:
    """Make the TLS context: the system's authorities and `ca_file`, TLS 1.2 at least, names checked."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ca_file is not None:
        context.load_verify_locations(cafile=settings.ca_file)
    return context


def forwarding_pool(settings: Upstream, context: ssl.SSLContext) -> Pool:
    """Make the pool of connections that requests go out on."""
    return Pool(
        limit=settings.max_connections, ttl_dns_cache=DNS_TTL, keepalive_timeout=settings.keepalive, ssl=context
    )


def forwarding_sessions(settings: Upstream, pool: Pool) -> tuple[aiohttp.ClientSession, aiohttp.ClientSession]:
    """Make the sessions behind the upstream seam, on one pool: they add no field and change none.

    The first owns the pool. The second never resends by itself.
    """
    once = _forwarding_session(settings, pool, owner=False)
    once._retry_connection = False  # noqa: SLF001 - it has no public switch (aiohttp issue 10790)
    return _forwarding_session(settings, pool, owner=True), once


def _forwarding_session(settings: Upstream, connector: Pool, *, owner: bool) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        connector_owner=owner,
        skip_auto_headers=NO_FIELDS_OF_ITS_OWN,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        read_bufsize=READ_BUFFER,
        max_line_size=LARGEST_FIELD,
        max_field_size=LARGEST_FIELD,
        max_headers=MOST_FIELDS,
    )


def credential_session(context: ssl.SSLContext) -> aiohttp.ClientSession:
    """Make the session for token calls and probes.

    Each goes out on a connection of its own: on a kept one that the other side is just closing, a redeem's
    outcome would be unknown (law 6).
    """
    connector = aiohttp.TCPConnector(limit=CREDENTIAL_CONNECTIONS, ttl_dns_cache=DNS_TTL, force_close=True, ssl=context)
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
    )
