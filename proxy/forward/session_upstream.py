"""Behind the seam: aiohttp client sessions, told to leave everything as it is.

aiohttp resends an idempotent request once by itself when its connection breaks, whether that was a
reused one or not; no other retry is added. Replays go through a session that does not even do that,
so that three sends remain the most (law 11).
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
from multidict import MultiDict
from yarl import URL

from proxy.errors import AnswerBroken, UpstreamError, UpstreamTimeout
from proxy.forward.body import Body
from proxy.forward.headers import Fields
from proxy.forward.upstream import Answer, Attempt
from proxy.pool import new_attempt

LEAST_FINAL: Final = 200
"""Below it an answer is only a beginning (RFC 9110 §15.2); the session passes a 101 on all the same."""


class FieldName(str):
    """A field's name as it is written, and equal to its other spellings.

    The session takes a name in another letter case for another field at first, and then for a correction of the
    first: of `Cookie` and `cookie` it would send one.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.lower() == other.lower()

    def __hash__(self) -> int:
        return hash(self.lower())


class SessionAnswer:
    """An answer of the session's."""

    def __init__(self, response: aiohttp.ClientResponse, idle_timeout: float) -> None:
        self._response = response
        self._idle_timeout = idle_timeout
        self.status = response.status
        self.reason = response.reason or ""
        self.fields: Fields = response.raw_headers

    def __repr__(self) -> str:
        return f"<SessionAnswer {self.status}>"

    async def chunks(self) -> AsyncIterator[bytes]:
        content = self._response.content
        while True:
            try:
                async with asyncio.timeout(self._idle_timeout):
                    chunk = await content.readany()
            except (aiohttp.ClientError, OSError) as fault:  # OSError: TimeoutError is one
                raise AnswerBroken(type(fault).__name__) from fault
            if not chunk:
                return
            yield chunk

    async def close(self) -> None:
        self._response.close()


class SessionUpstream:
    """Sends through two sessions on one connection pool, the only thing that changes."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        replays: aiohttp.ClientSession,
        origin: URL,
        *,
        response_timeout: float,
        idle_timeout: float,
        proxy: URL | None,
    ) -> None:
        self._session = session
        self._replays = replays
        self._origin = origin
        self._response_timeout = response_timeout
        self._idle_timeout = idle_timeout
        self._proxy = proxy

    def __repr__(self) -> str:
        return f"<SessionUpstream {self._origin}>"

    async def send(self, attempt: Attempt) -> Answer:
        try:
            async with asyncio.timeout(self._response_timeout) as limit:
                response = await self._request(attempt, _Deadline(limit))
        except (aiohttp.ClientError, OSError) as fault:  # a TimeoutError is an OSError
            if attempt.body is not None and attempt.body.fault is not None:
                raise attempt.body.fault from fault
            raise as_upstream_error(fault) from fault
        if response.status < LEAST_FINAL:
            response.close()
            raise UpstreamError("The upstream switched protocols unasked.", error="http_protocol_error")
        return SessionAnswer(response, self._idle_timeout)

    async def _request(self, attempt: Attempt, deadline: "_Deadline") -> aiohttp.ClientResponse:
        fields = MultiDict((FieldName(name.decode()), value.decode()) for name, value in attempt.fields)
        try:
            new_attempt()
            session = self._replays if attempt.replay else self._session
            return await session.request(
                attempt.method,
                self._url(attempt.target),
                headers=fields,
                data=self._data(attempt.body, fields, deadline),
                allow_redirects=False,
                proxy=self._proxy,
            )
        finally:
            deadline.over = True

    def _url(self, target: str) -> URL:
        """Build a URL whose path is the raw target, query and all: yarl then changes no byte of it (law 10)."""
        origin = self._origin
        return URL.build(
            scheme=origin.scheme, host=origin.host or "", port=origin.explicit_port, path=target, encoded=True
        )

    def _data(
        self, body: Body | None, fields: MultiDict[str], deadline: "_Deadline"
    ) -> bytes | AsyncIterator[bytes] | None:
        if body is None:
            return None
        if body.length is not None:
            fields["Content-Length"] = str(body.length)
        if body.length == 0:
            return b""
        return body.arrived() or self._stream(body, deadline)

    async def _stream(self, body: Body, deadline: "_Deadline") -> AsyncIterator[bytes]:
        """Hand the body over chunk by chunk; time runs for the upstream only while it holds a chunk."""
        yield b""  # makes aiohttp send the head now: an early answer must be possible
        deadline.stop()
        async for chunk in body.chunks():
            deadline.start(self._idle_timeout)
            yield chunk
            deadline.stop()
        deadline.start(self._response_timeout)


class _Deadline:
    """The time limit of one attempt, moved along as its body goes out; `over` once the head is here."""

    def __init__(self, limit: asyncio.Timeout) -> None:
        self._limit = limit
        self.over = False

    def start(self, seconds: float) -> None:
        if not self.over:
            self._limit.reschedule(asyncio.get_running_loop().time() + seconds)

    def stop(self) -> None:
        if not self.over:
            self._limit.reschedule(None)


def as_upstream_error(fault: Exception) -> UpstreamError:
    """Translate what the session raised: once, here, into RFC 9209's words. No text of the fault goes on."""
    for kinds, error, detail in ERRORS:
        if isinstance(fault, kinds):
            return UpstreamError(detail, error=error)
    if isinstance(fault, aiohttp.ConnectionTimeoutError):
        return UpstreamTimeout(
            "No connection to the upstream within upstream.connect_timeout.", error="connection_timeout"
        )
    if isinstance(fault, TimeoutError):
        return UpstreamTimeout(
            "The upstream did not take the request within upstream.idle_timeout, or not answer it within"
            " upstream.response_timeout."
        )
    return UpstreamError(
        "The connection to the upstream broke before its answer began. Whether the request was done is unknown."
    )


ERRORS: Final[tuple[tuple[tuple[type[Exception], ...], str, str], ...]] = (
    (
        (aiohttp.ClientConnectorDNSError,),
        "dns_error",
        "The upstream's name can't be resolved. Check upstream.url and the cluster's DNS.",
    ),
    (
        (aiohttp.ClientConnectorCertificateError,),
        "tls_certificate_error",
        "The upstream's certificate is not trusted. Set upstream.ca_file if a private CA signs it.",
    ),
    (
        (aiohttp.ClientSSLError,),
        "tls_protocol_error",
        "TLS with the upstream failed. Check that upstream.url speaks TLS 1.2 or later at that port.",
    ),
    (
        (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError),
        "destination_unavailable",
        "The HTTP proxy on the way to the upstream failed. Check upstream.proxy.",
    ),
    (
        (aiohttp.ClientConnectorError,),
        "connection_refused",
        "The upstream refused the connection. Check upstream.url and what lies between.",
    ),
    (
        (aiohttp.ClientResponseError,),
        "http_protocol_error",
        "The upstream's answer is not valid HTTP. Check that upstream.url is PandaDoc's API.",
    ),
)
