"""Spans of requests, attempts and refreshes. The SDK's own thread sends them by OTLP.

    GET            SERVER    a request, from its head to its answer's last byte; the caller's traceparent is its parent
      GET          CLIENT    an attempt at the upstream, until the answer's head; its context goes up as traceparent
    refresh        INTERNAL  the one of a grant: a trace of its own, linked to the request that it was begun for

Sources: W3C Trace Context; OpenTelemetry's semantic conventions for HTTP spans. This module alone knows OpenTelemetry,
and tracing.py alone loads it: the packages are an extra.

Never here: a query, a body, a field's value but X-Request-Id, the text of an exception or its traceback. So the SDK's
record_exception is not used, nor are its spans as context managers (law 16).
"""

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Final

import requests
from google.protobuf.message import DecodeError
from msgspec.structs import replace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagators.textmap import Getter, Setter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, Tracer, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from yarl import URL

from proxy import __version__
from proxy.credential.ledger import REFRESHED
from proxy.credential.refresh import ADOPTED, NEEDLESS
from proxy.errors import ProxyError
from proxy.forward.exchange import Exchange, told
from proxy.forward.headers import Fields, values, written
from proxy.forward.upstream import Answer, Attempt, Upstream
from proxy.notice import Notice
from proxy.policy.pattern import METHODS

log = logging.getLogger(__name__)

LAST_DELIVERY: Final = 3.0
"""Seconds that spans get to leave at the end, when the collector takes none."""

LEAST_ERROR: Final = 400
"""A status from here on is an attempt's failure; a request's is our side's alone (the conventions say so)."""

LEAST_SERVER_ERROR: Final = 500

TRACE_CONTEXT: Final = re.compile(rb"^trace(?:parent|state):.*\r\n", re.IGNORECASE | re.MULTILINE)
W3C: Final = TraceContextTextMapPropagator()

GOOD: Final = frozenset({REFRESHED, ADOPTED, NEEDLESS})
"""Results of a refresh that are no failure."""

UNDELIVERED: Final = (
    "spans can't be delivered, and are dropped until they can: does the collector speak OTLP over HTTP at"
    " OTEL_EXPORTER_OTLP_ENDPOINT (port 4318, where nobody has changed it; a redirect is not followed), take"
    " OTEL_EXPORTER_OTLP_HEADERS, and keep all that it takes? Over https: can OTEL_EXPORTER_OTLP_CERTIFICATE be read,"
    " and …_CLIENT_CERTIFICATE and …_CLIENT_KEY, and does it hold the authority of the collector's certificate?"
)
NO_ROOM: Final = (
    "spans find no room, and are dropped: they come faster than the collector takes them. Does it hang, and is"
    " OTEL_EXPORTER_OTLP_TIMEOUT (in seconds) long? Otherwise sample fewer, or raise OTEL_BSP_MAX_QUEUE_SIZE"
)

QUEUE_FULL: Final = "Queue full"
"""How the SDK's own line begins, of which it tells nobody but its log."""

PEACE: Final = 60.0
"""Seconds after which spans that find no room are told anew. The SDK says so every 20 s for as long as it lasts."""

LEAST_REDIRECT: Final = 300
PROTOBUF: Final = "application/x-protobuf"
"""What an answer by OTLP is; others say nothing of what was kept."""


class Spans:
    """Makes one process's spans. What changes is the SDK's: spans that wait to be delivered."""

    def __init__(self) -> None:
        """Raise ValueError or RuntimeError where the environment asks for what the SDK can't do."""
        sdk = logging.getLogger("opentelemetry")
        sdk.handlers[:], sdk.propagate = [SdkLog()], False
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_Delivery()))
        self._tracer = self._provider.get_tracer("pandadoc-proxy", __version__)

    def __repr__(self) -> str:
        return f"<Spans by {self._provider.sampler.get_description()}>"

    @contextmanager
    def request(self, exchange: Exchange, fields: Fields, scheme: bytes) -> Iterator[None]:
        """Have a request's span around what is done for it; the exchange tells in the end how it went."""
        span = self._tracer.start_span(_name(exchange.method), _parent(fields), SpanKind.SERVER)
        token = attach(set_span_in_context(span, Context()))
        try:
            yield
        finally:
            detach(token)
            if span.is_recording():
                _tell(span, exchange, scheme.decode())
            span.end()

    def upstream(self, upstream: Upstream, origin: URL) -> Upstream:
        """Have a span around each attempt at an upstream."""
        return _TracedUpstream(self._tracer, upstream, origin)

    @contextmanager
    def refresh(self, credential: str, cause: str) -> Iterator[Callable[[str], None]]:
        """Have a span around a refresh; yield what is to be told its result."""
        link = Link(get_current_span().get_span_context())
        about = {"pandadoc_proxy.credential": credential, "pandadoc_proxy.refresh.cause": cause}
        span = self._tracer.start_span("refresh", Context(), attributes=about, links=[link])

        def tell(result: str) -> None:
            span.set_attribute("pandadoc_proxy.refresh.result", result)
            if result not in GOOD:
                _fail(span, result)

        try:
            yield tell
        finally:
            span.end()

    async def close(self) -> None:
        """Let what waits be delivered, for a while.

        In a thread that keeps nobody from ending: the SDK waits for a collector that hangs ten times as long.
        """
        delivered: Future[None] = Future()
        delivered.set_running_or_notify_cancel()  # being late is no reason to cancel it

        def deliver() -> None:
            self._provider.shutdown()
            delivered.set_result(None)

        threading.Thread(target=deliver, name="last spans", daemon=True).start()
        try:
            async with asyncio.timeout(LAST_DELIVERY):
                await asyncio.wrap_future(delivered)
        except TimeoutError:
            log.warning("the last spans could not be delivered within %g s", LAST_DELIVERY)


class _TracedUpstream:
    """An upstream whose every attempt is a span."""

    def __init__(self, tracer: Tracer, upstream: Upstream, origin: URL) -> None:
        self._tracer = tracer
        self._upstream = upstream
        self._origin = str(origin)
        self._server: dict[str, str | int] = {"server.address": origin.host or "", "server.port": origin.port or 0}

    def __repr__(self) -> str:
        return f"<Traced {self._upstream}>"

    async def send(self, attempt: Attempt) -> Answer:
        span = self._tracer.start_span(_name(attempt.method), kind=SpanKind.CLIENT)
        if span.is_recording():
            self._describe(span, attempt)
        try:
            answer = await self._upstream.send(replace(attempt, lines=_in_its_name(span, attempt.lines)))
        except BaseException as fault:
            _fail(span, fault.error if isinstance(fault, ProxyError) else type(fault).__name__)
            raise
        else:
            span.set_attribute("http.response.status_code", answer.status)
            if answer.status >= LEAST_ERROR:
                _fail(span, str(answer.status))
            return answer
        finally:
            span.end()

    def _describe(self, span: Span, attempt: Attempt) -> None:
        url = self._origin + told(attempt.target)
        span.set_attributes({**self._server, "http.request.method": _method(attempt.method), "url.full": url})
        if attempt.replay:
            span.set_attribute("http.request.resend_count", 1)


class _Delivery(OTLPSpanExporter):
    """The SDK's exporter, and one line in our log for as long as it fails. `_notice` changes in the SDK's thread."""

    def __init__(self) -> None:
        session = requests.Session()
        session.hooks["response"].append(_refuse_half_success)
        super().__init__(session=session)
        self._notice = Notice(log)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        self._notice.say("" if result is SpanExportResult.SUCCESS else UNDELIVERED)
        return result


def _refuse_half_success(answer: requests.Response, **_: object) -> None:
    """Raise RequestException for what the SDK takes for a success: a redirect, and OTLP's partial success."""
    rejected = 0
    if answer.ok and answer.headers.get("Content-Type", "").startswith(PROTOBUF):
        with suppress(DecodeError):  # it says so, and is something else: what it took is in its hands
            rejected = ExportTraceServiceResponse.FromString(answer.content).partial_success.rejected_spans
    if rejected > 0 or LEAST_REDIRECT <= answer.status_code < LEAST_ERROR:
        raise requests.RequestException


class SdkLog(logging.Handler):
    """Hears the SDK's own lines, and shows none: they hold what others wrote.

    Callers write a tracestate, operators the collector's password. `_last`, when the queue was last full, in seconds
    since 1970, is changed by `emit` alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last = -PEACE

    def emit(self, record: logging.LogRecord) -> None:
        if not str(record.msg).startswith(QUEUE_FULL):
            return
        before, self._last = self._last, record.created
        if record.created - before > PEACE:
            log.warning(NO_ROOM)


class _Read(Getter[Fields]):
    """How W3C's propagator finds a head's fields."""

    def get(self, carrier: Fields, key: str) -> list[str] | None:
        return [value.decode("latin-1") for value in values(carrier, key.encode())] or None

    def keys(self, carrier: Fields) -> list[str]:
        return [name.decode("latin-1") for name, _ in carrier]


class _Write(Setter[list[tuple[bytes, bytes]]]):
    """How it adds one."""

    def set(self, carrier: list[tuple[bytes, bytes]], key: str, value: str) -> None:
        carrier.append((key.encode(), value.encode()))


READ: Final = _Read()
WRITE: Final = _Write()


def _parent(fields: Fields) -> Context:
    """Return the caller's context; an empty one where it has none, or one that is not valid.

    Two traceparents are none: nobody can tell which is meant.
    """
    if len(values(fields, b"traceparent")) != 1:
        return Context()
    return W3C.extract(fields, Context(), READ)


def _in_its_name(span: Span, lines: bytes) -> bytes:
    """Put a span's context in the place of the caller's."""
    added: list[tuple[bytes, bytes]] = []
    W3C.inject(added, set_span_in_context(span, Context()), WRITE)
    return TRACE_CONTEXT.sub(b"", lines) + written(added)


def _tell(span: Span, exchange: Exchange, scheme: str) -> None:
    """Write what the access log tells, in the conventions' terms."""
    span.set_attributes(
        {
            **_server(exchange.listener),
            "http.request.method": _method(exchange.method),
            "http.response.status_code": exchange.status,
            "url.path": exchange.path,
            "url.scheme": scheme,
            "pandadoc_proxy.listener": exchange.listener,
            "pandadoc_proxy.client": exchange.client,
            "pandadoc_proxy.credential": exchange.credential,
            "pandadoc_proxy.generation": exchange.generation,
            "pandadoc_proxy.request_id": exchange.request_id,
        }
    )
    if exchange.status >= LEAST_SERVER_ERROR or exchange.unfinished:
        _fail(span, exchange.error or ("unfinished" if exchange.unfinished else str(exchange.status)))


def _server(listener: str) -> dict[str, str | int]:
    """Return a listener's address, not the caller's Host: that may hold a password."""
    if listener.startswith("unix:"):
        return {"server.address": listener.removeprefix("unix:")}
    host, _, port = listener.partition(" ")[0].rpartition(":")
    return {"server.address": host.strip("[]"), "server.port": int(port)}


def _method(method: str) -> str:
    return method if method in METHODS else "_OTHER"


def _name(method: str) -> str:
    """Name a span for few values, as the conventions ask: no path, and no method that a caller makes up."""
    return method if method in METHODS else "HTTP"


def _fail(span: Span, word: str) -> None:
    span.set_attribute("error.type", word)
    span.set_status(StatusCode.ERROR)


def _resource() -> Resource:
    """Say who we are; what the operator says of it goes before."""
    theirs = OTELResourceDetector().detect().attributes
    return Resource.create({"service.name": "pandadoc-proxy", "service.version": __version__, **theirs})
