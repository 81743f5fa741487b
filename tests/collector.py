"""A collector on loopback: what it is sent by OTLP over HTTP, as bytes and decoded; and some that are of no use."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from rig import until

PATH: Final = "/v1/traces"
PATIENCE: Final = 15.0
"""Seconds for a process' spans to arrive; they take a tenth of one where nobody else computes."""


@dataclass(frozen=True)
class SeenSpan:
    """A span as it arrived."""

    span: Span
    resource: dict[str, Any]

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def kind(self) -> str:
        return str(Span.SpanKind.Name(self.span.kind)).removeprefix("SPAN_KIND_")

    @property
    def trace(self) -> str:
        return self.span.trace_id.hex()

    @property
    def id(self) -> str:
        return self.span.span_id.hex()

    @property
    def parent(self) -> str:
        """The parent's id; empty for a root."""
        return self.span.parent_span_id.hex()

    @property
    def failed(self) -> bool:
        return self.span.status.code == Status.STATUS_CODE_ERROR

    @property
    def attributes(self) -> dict[str, Any]:
        return plain(self.span.attributes)

    @property
    def links(self) -> list[tuple[str, str]]:
        """The traces and spans that it is linked to."""
        return [(link.trace_id.hex(), link.span_id.hex()) for link in self.span.links]


def plain(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in attributes}


@dataclass
class Collector:
    """Takes what comes, and answers `status` and `answer` to it. `bodies` and `spans` grow with each delivery."""

    status: int = 200
    answer: bytes = b""
    content_type: str = "application/x-protobuf"
    bodies: list[bytes] = field(default_factory=list)
    spans: list[SeenSpan] = field(default_factory=list)
    url: str = ""

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._take), shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def env(self) -> dict[str, str]:
        """The variables of a process that is to be traced here, at once."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "20"}

    async def arrived(self, number: int, *, kind: str = "SERVER") -> list[SeenSpan]:
        """Wait for `number` spans of a kind; return them in the order in which they began."""
        await until(lambda: len(self.of(kind)) >= number, PATIENCE)
        return self.of(kind)

    def of(self, kind: str) -> list[SeenSpan]:
        return sorted(
            (each for each in self.spans if each.kind == kind), key=lambda each: each.span.start_time_unix_nano
        )

    async def _take(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        self.bodies.append(body)
        if (request.method, request.path) != ("POST", PATH):
            return web.Response(status=404)
        for each in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = plain(each.resource.attributes)
            self.spans += [SeenSpan(span, resource) for scope in each.scope_spans for span in scope.spans]
        fields = {"Location": self.url, "Content-Type": self.content_type}
        return web.Response(status=self.status, headers=fields, body=self.answer)


@asynccontextmanager
async def hanging() -> AsyncIterator[str]:
    """Run one that takes connections and never answers; yield its URL."""
    open_ = set()
    server = await asyncio.start_server(lambda _reader, writer: open_.add(writer), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in open_:
            writer.close()


@asynccontextmanager
async def absent() -> AsyncIterator[str]:
    """Yield a URL at which nobody listens."""
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()
    yield url


@asynccontextmanager
async def refusing() -> AsyncIterator[str]:
    """Run one that does not want our spans, as for a wrong password."""
    async with Collector(status=401) as collector:
        yield collector.url


@asynccontextmanager
async def redirecting() -> AsyncIterator[str]:
    """Run one that sends us elsewhere, as a proxy that wants TLS."""
    async with Collector(status=308) as collector:
        yield collector.url


@asynccontextmanager
async def rejecting() -> AsyncIterator[str]:
    """Run one that takes a delivery and keeps none of it, as past a quota (OTLP's "partial success")."""
    partial = ExportTracePartialSuccess(rejected_spans=1, error_message="quota")
    async with Collector(answer=ExportTraceServiceResponse(partial_success=partial).SerializeToString()) as collector:
        yield collector.url
