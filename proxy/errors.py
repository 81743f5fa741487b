"""What the proxy says itself when it cannot relay an answer: by who must act. Pure.

    CallerError             the app that sent the request (4xx)
    OperatorError           whoever runs the proxy: a dead grant, a missing secret (503, no Retry-After)
    UpstreamError           PandaDoc, or the way there: unreachable, broken, slow (502, 504)
    CredentialUnavailable,
    Overloaded              nobody but time (503 with Retry-After)
    Throttled               the same, where PandaDoc would say so too (429 with Retry-After)
    ProxyError              we (500)

Each error knows its status, its PandaDoc-like `type`, its `detail` (what happened and what to do)
and its Proxy-Status word (RFC 9209 §2.3). Never in a detail: a secret, or text from the upstream.
No status here is ever 401: an app that gets one would blame its own credential.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

NAME: Final = "pandadoc-proxy"
"""The proxy's name in Proxy-Status (RFC 9209 §2.1.1) and Server."""

MAX_RETRY_AFTER: Final = 10
"""Seconds. SDKs sleep on Retry-After, so the proxy never asks for more."""


BUG: Final = "The proxy failed on this request; its log says why."


class ProxyError(Exception):
    """An answer of our own instead of an upstream's.

    `unsent` tells where nothing of the request was handed to a connection; the transport sets it.
    """

    unsent = False
    status: ClassVar[int] = 500
    type: ClassVar[str] = "proxy_error"
    error: str = "proxy_internal_error"
    headers: ClassVar[Mapping[str, str]] = {}

    def __init__(self, detail: str = BUG, *, error: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.error = error or self.error
        self.retry_after = None if retry_after is None else min(MAX_RETRY_AFTER, max(1, round(retry_after)))

    @property
    def proxy_status(self) -> str:
        """The Proxy-Status field value of this answer."""
        return f"{NAME}; error={self.error}"


class CallerError(ProxyError):
    """The request itself is at fault."""

    status = 400
    type = "request_error"
    error = "http_request_error"


class Refused(CallerError):
    """The request is well-formed, and the proxy will not lend its credential to it."""

    status = 403
    type = "proxy_refused"
    error = "http_request_denied"


class Misdirected(Refused):
    """`Host` names somebody else (RFC 9110 §15.5.20)."""

    status = 421


class MethodRefused(Refused):
    """A method that no gateway of credentials forwards (RFC 9110 §9.3.6, §9.3.8)."""

    status = 405
    headers: ClassVar[Mapping[str, str]] = {"Allow": "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"}


class RequestTimeout(CallerError):
    """The caller stopped sending in the middle of its request."""

    status = 408


class BodyTooLarge(CallerError):
    """The request's body is larger than limits.max_body."""

    status = 413


class HeadTooLarge(CallerError):
    """The request's head is larger than limits.max_head or limits.max_headers."""

    status = 431


class Overloaded(ProxyError):
    """No place, connection or file is free; one is as soon as any request ends."""

    status = 503
    type = "proxy_overloaded"
    error = "connection_limit_reached"

    def __init__(self, detail: str, *, error: str | None = None) -> None:
        super().__init__(detail, error=error, retry_after=1)


class Throttled(ProxyError):
    """Nothing is left of a rate budget, and the request has waited for as long as it may (RFC 6585 §4)."""

    unsent = True
    status = 429
    type = "proxy_throttled"
    error = "http_request_denied"


class CredentialUnavailable(ProxyError):
    """No credential can be lent now; waiting helps."""

    status = 503
    type = "credential_unavailable"
    error = "proxy_internal_response"


class OperatorError(ProxyError):
    """No credential can be lent until a person acts; waiting does not help, so never a Retry-After."""

    status = 503
    type = "credential_dead"
    error = "proxy_configuration_error"


class LoopDetected(OperatorError):
    """What we have sent has come back to us (RFC 5842 §7.2)."""

    status = 508
    error = "proxy_loop_detected"
    type = "proxy_loop"

    def __init__(self) -> None:
        super().__init__("The proxy's own request has come back to it. upstream.url leads to the proxy: correct it.")


class UpstreamError(ProxyError):
    """The upstream could not be reached, or broke before its answer began."""

    status = 502
    type = "upstream_error"
    error = "connection_terminated"


class UpstreamTimeout(UpstreamError):
    """The upstream was too slow: to connect, to take the request, or to answer."""

    status = 504
    error = "http_response_timeout"


class AnswerBroken(Exception):
    """An answer can't be finished after its head: the caller's connection must break too (law 13)."""


class CallerStalled(AnswerBroken):
    """It is the caller who does not take the rest."""
