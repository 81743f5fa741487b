"""One call to the token endpoint: `POST /oauth2/access_token` with a refresh token, or a consent's code.

The form carries the client's credentials in its body, as PandaDoc documents. No redirect is
followed, at most 64 KiB are read, and neither form nor reply is ever logged.
"""

import asyncio
from hashlib import sha256
from types import SimpleNamespace
from typing import Final

import aiohttp
from msgspec import Struct
from yarl import URL

from proxy.clock import Clock
from proxy.credential.token_reply import REPLY_LIMIT, Cause, NotRedeemed, Outcome, Redeemed, Unknown, read_reply
from proxy.secrets import Secret
from proxy.time_limit import time_limit

TLS_PAUSE: Final = 30.0
"""Seconds between tries while the endpoint's certificate is not trusted: a person must act, somewhere."""

TLS_CURES: Final = {
    **dict.fromkeys((9, 10), "check this machine's clock, then the certificate"),
    **dict.fromkeys((62, 64), "check token_url and upstream.url"),
}
"""What is looked at for a certificate that is refused for its dates or its name, by OpenSSL's verify code."""


class Client(Struct, frozen=True):
    """The OAuth client's own credentials."""

    client_id: Secret
    client_secret: Secret


class _Way(Struct):
    """How far a call has come; `noting_connections` alone changes it."""

    connected: bool | None = None  # None: nobody looks


def noting_connections() -> aiohttp.TraceConfig:
    """Make what a session needs, so that its token calls know of a fault before there was a connection.

    The connection is there when a proxy on the way has answered CONNECT and TLS is up; only then is the form written.
    """

    async def begins(_session: object, context: SimpleNamespace, _params: object) -> None:
        if isinstance(way := context.trace_request_ctx, _Way):
            way.connected = False

    async def connected(_session: object, context: SimpleNamespace, _params: object) -> None:
        if isinstance(way := context.trace_request_ctx, _Way):
            way.connected = True

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(begins)
    trace.on_connection_create_end.append(connected)
    trace.on_connection_reuseconn.append(connected)
    return trace


def owner_of(token_url: str, client_id: Secret) -> str:
    """Name whose grant it is: refresh tokens are good for one client at one token endpoint."""
    return sha256(f"{token_url}\n{client_id.reveal()}".encode()).hexdigest()[:16]


class TokenEndpoint:
    """Redeems refresh tokens, one call each. Holds nothing that changes."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: URL,
        *,
        clock: Clock,
        scope: str | None,
        redeem_timeout: float,
        connect_timeout: float,
        proxy: URL | None,
    ) -> None:
        self._session = session
        self.url = url
        self.redeem_timeout = redeem_timeout  # seconds
        self._clock = clock
        self.scope = scope
        self._proxy = proxy
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout)  # the whole has its own limit

    def owner(self, client: Client) -> str:
        """Name whose grants it refreshes with `client`'s credentials."""
        return owner_of(str(self.url), client.client_id)

    async def redeem(self, refresh_token: Secret, client: Client) -> Outcome:
        """Redeem `refresh_token` once; never raises for what the network or the endpoint does (RFC 6749 §6)."""
        return await self._call(client, {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal()})

    async def exchange(self, code: Secret, redirect_uri: str, client: Client) -> Outcome:
        """Exchange a consent's code for its first pair, once; never raises either (RFC 6749 §4.1.3)."""
        form = {"grant_type": "authorization_code", "code": code.reveal(), "redirect_uri": redirect_uri}
        return await self._call(client, form)

    async def _call(self, client: Client, form: dict[str, str]) -> Outcome:
        way = _Way()
        try:
            return await self._post({**form, **self._fields_of_all(client)}, way)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError) as fault:
            return _unreached(fault)
        except (aiohttp.ClientError, OSError) as fault:
            if way.connected is False:
                through = " through the HTTP proxy" if self._proxy else ""
                return NotRedeemed(Cause.NO_CONNECTION, f"no connection{through} ({type(fault).__name__})")
            if isinstance(fault, TimeoutError):
                return Unknown(Cause.TIMEOUT, "no answer in time")
            return Unknown(Cause.CONNECTION_LOST, f"the connection broke before the answer ({type(fault).__name__})")

    async def _post(self, form: dict[str, str], way: _Way) -> Outcome:
        answer, read = None, bytearray()
        due = asyncio.get_running_loop().time() + self.redeem_timeout
        try:
            async with (
                time_limit(due),  # the answer may be the only copy of a grant
                self._session.post(
                    self.url,
                    data=form,
                    allow_redirects=False,
                    timeout=self._timeout,
                    proxy=self._proxy,
                    trace_request_ctx=way,
                ) as answer,
            ):
                if await read_at_most(answer.content, REPLY_LIMIT, read) is None:
                    return Unknown(Cause.REPLY_TOO_LARGE, "a reply larger than 64 KiB")
                return self._meaning(answer, read)
        except (aiohttp.ClientError, OSError):  # a time-out is one; the pair may have come all the same (law 4)
            if answer is not None and isinstance(outcome := self._meaning(answer, read), Redeemed):
                return outcome
            raise

    def _meaning(self, answer: aiohttp.ClientResponse, read: bytearray) -> Outcome:
        asked = f"{self.url.origin()}{self.url.raw_path}"
        return read_reply(answer.status, answer.headers, bytes(read), self._clock.wall(), asked)

    def _fields_of_all(self, client: Client) -> dict[str, str]:
        fields = {"client_id": client.client_id.reveal(), "client_secret": client.client_secret.reveal()}
        return fields if self.scope is None else {**fields, "scope": self.scope}


def _unreached(fault: Exception) -> NotRedeemed:
    """Tell why not a byte of the form has left."""
    if isinstance(fault, aiohttp.ClientConnectorDNSError):
        return NotRedeemed(Cause.DNS_ERROR, "its name can't be resolved")
    if isinstance(fault, aiohttp.ClientSSLError):  # the certificate's error is one
        flaw, cure = _tls_flaw(fault)
        return NotRedeemed(Cause.TLS_ERROR, f"TLS failed ({flaw}); {cure}", TLS_PAUSE)
    if isinstance(fault, aiohttp.ClientHttpProxyError):
        return NotRedeemed(
            Cause.PROXY_REFUSED,
            f"the HTTP proxy answered {fault.status}; see upstream.proxy, or HTTPS_PROXY where that is not set",
        )
    return NotRedeemed(Cause.NO_CONNECTION, f"no connection ({type(fault).__name__})")


def _tls_flaw(fault: Exception) -> tuple[str, str]:
    """Name the flaw in OpenSSL's words, and what to look at; they come from the certificate's check, not the peer."""
    cause = fault.__cause__ or getattr(fault, "certificate_error", None)
    flaw = getattr(cause, "verify_message", "") or type(fault).__name__
    return flaw, TLS_CURES.get(getattr(cause, "verify_code", 0), "see upstream.ca_file")


async def read_at_most(content: aiohttp.StreamReader, limit: int, read: bytearray | None = None) -> bytes | None:
    """Read to the end, or None where that is beyond `limit` bytes. What came is in `read` also where this raises."""
    read = bytearray() if read is None else read
    async for chunk in content.iter_any():
        read += chunk
        if len(read) > limit:
            return None
    return bytes(read)
