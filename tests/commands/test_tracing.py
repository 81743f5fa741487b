"""A traced process, seen from all sides: by a collector that decodes what arrives, by PandaDoc, and by its callers."""

import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import aiohttp
import pytest
import yaml
from aiohttp import ClientSession
from collector import Collector, absent, hanging, redirecting, refusing, rejecting
from commands.process import MEMBER, Machine, Process, status_of
from rig import assert_silent, until
from wire import OK, ScriptedUpstream, Stage, answering, caller, converse, upstream

from proxy import __version__
from proxy.simulator import Fault

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
CALLER: Final = "b7ad6b7169203331"
STATE: Final = b"vendor=of-the-caller"
TOKEN_PATH: Final = "/oauth2/access_token"
UPSTREAM: Final = "PANDADOC_PROXY__UPSTREAM__URL"
AT_THE_END: Final = {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
"""Spans leave when the process does."""

TRACEPARENT: Final = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


@pytest.fixture
async def collector(machine: Machine) -> AsyncIterator[Collector]:
    """Run a collector; in the end, look for every secret in every byte that it got (law 16)."""
    async with Collector() as running:
        yield running
        assert_silent(machine.all_secrets(), [body.decode("latin-1") for body in running.bodies])


def asking(*fields: tuple[bytes, bytes], target: bytes = b"/public/v1/documents?q=1") -> bytes:
    lines = b"".join(b"%s: %s\r\n" % field for field in fields)
    return b"GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % (target, lines)


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def ended(process: Process) -> None:
    process.signal(signal.SIGTERM)
    assert await process.ended() == 0


def context_of(sent: ScriptedUpstream) -> tuple[str, str, str]:
    """Return trace, span and flags of the one traceparent that the upstream got last."""
    (value,) = sent.heard[-1].values(b"traceparent")
    match = TRACEPARENT.fullmatch(value)
    assert match, value
    return match[1].decode(), match[2].decode(), match[3].decode()


# The tree


async def test_a_request_and_its_attempt_carry_the_callers_trace_on(machine: Machine, collector: Collector) -> None:
    """The upstream sees our attempt as its parent, and the fields in between as they were."""
    async with upstream(answering(OK)) as up:
        process = await machine.start(env=machine.with_api_key() | collector.env | {UPSTREAM: f"{up.url}/eu"})
        url = await process.url()
        fields = ((b"X-A", b"1"), (b"TraceParent", b"00-%b-%b-01" % (TRACE.encode(), CALLER.encode())), (b"x-b", b"2"))
        await converse(port_of(url), asking(*fields, (b"tracestate", STATE), (b"baggage", b"k=v")))
        (request,), (attempt,) = await collector.arrived(1), await collector.arrived(1, kind="CLIENT")
        assert context_of(up) == (TRACE, attempt.id, "01")
        assert up.heard[0].values(b"tracestate") == [STATE]
        kept = [name for name, _ in up.heard[0].fields if name in {b"X-A", b"x-b", b"baggage", b"Authorization"}]
        assert kept == [b"X-A", b"x-b", b"baggage", b"Authorization"]
    assert (request.trace, request.parent, request.name) == (TRACE, CALLER, "GET")
    assert (attempt.trace, attempt.parent, attempt.name) == (TRACE, request.id, "GET")
    assert (await process.accesses(1))[0]["path"] == "/public/v1/documents"
    assert request.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "pandadoc_proxy.client": "",
        "pandadoc_proxy.credential": "default",
        "pandadoc_proxy.generation": 1,
        "pandadoc_proxy.listener": "127.0.0.1:0",
        "pandadoc_proxy.request_id": process.access[0]["request_id"],
        "server.address": "127.0.0.1",
        "server.port": 0,
        "url.path": "/public/v1/documents",
        "url.scheme": "http",
    }
    assert attempt.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": port_of(up.url),
        "url.full": f"{up.url}/eu/public/v1/documents",
    }
    assert (request.failed, attempt.failed) == (False, False)
    assert (request.resource["service.name"], request.resource["service.version"]) == ("pandadoc-proxy", __version__)


async def test_a_request_without_a_trace_begins_one(machine: Machine, collector: Collector) -> None:
    """And each its own, also on one connection."""
    env = machine.with_api_key() | collector.env | {"OTEL_SERVICE_NAME": "shop-pandadoc"}
    process = await machine.start(env=env)
    async with caller(port_of(await process.url())) as line:
        for _ in range(2):
            await line.send(asking(target=MEMBER.encode()))
            await line.answer()
    first, second = await collector.arrived(2)
    assert (first.parent, second.parent) == ("", "")
    assert first.trace != second.trace
    assert first.resource["service.name"] == "shop-pandadoc"


INVALID: Final = {
    "no traceparent": (b"traceparent", b"hello"),
    "all zeros": (b"traceparent", b"00-%b-%b-01" % (b"0" * 32, CALLER.encode())),
    "no span": (b"traceparent", b"00-%b-%b-01" % (TRACE.encode(), b"0" * 16)),
    "a version that is none": (b"traceparent", b"ff-%b-%b-01" % (TRACE.encode(), CALLER.encode())),
    "too long": (b"traceparent", b"00-%b-%b-01-more" % (TRACE.encode(), CALLER.encode())),
    "capitals": (b"traceparent", b"00-%b-%b-01" % (TRACE.upper().encode(), CALLER.encode())),
    "not ASCII": (b"traceparent", "00-%s-%s-01é".encode() % (TRACE.encode(), CALLER.encode())),
}


async def test_a_traceparent_that_is_not_valid_is_none(machine: Machine, collector: Collector) -> None:
    """A new trace begins, and the tracestate goes with the old one (W3C Trace Context, "Processing Model")."""
    valid = (b"traceparent", b"00-%b-%b-01" % (TRACE.encode(), CALLER.encode()))
    async with upstream(answering(OK)) as up:
        process = await machine.start(env=machine.with_api_key() | collector.env | {UPSTREAM: up.url})
        port = port_of(await process.url())
        for number, fields in enumerate([*((each,) for each in INVALID.values()), (valid, valid)], 1):
            assert (await converse(port, asking(*fields, (b"tracestate", STATE)))).start.endswith(b"200 OK")
            attempt = (await collector.arrived(number, kind="CLIENT"))[-1]
            assert context_of(up)[:2] == (attempt.trace, attempt.id)
            assert up.heard[-1].values(b"tracestate") == []
    requests = await collector.arrived(number)
    assert {each.parent for each in requests} == {""}
    assert TRACE not in {each.trace for each in requests}


@pytest.mark.parametrize("variables", [{}, {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}])
async def test_without_tracing_the_fields_pass_byte_for_byte(machine: Machine, variables: dict[str, str]) -> None:
    """Valid or not, one or two, in their order and spelling."""
    fields = [*INVALID.values(), (b"TraceParent", b"00-%b-%b-01" % (TRACE.encode(), CALLER.encode()))]
    fields += [(b"tracestate", STATE), (b"TRACESTATE", b"a=b,,")]
    async with upstream(answering(OK)) as up:
        process = await machine.start(env=machine.with_api_key() | variables | {UPSTREAM: up.url})
        await converse(port_of(await process.url()), asking(*fields))
        got = [field for field in up.heard[0].fields if field[0].lower() in {b"traceparent", b"tracestate"}]
    assert got == fields


async def test_a_replay_is_a_second_attempt_and_its_refresh_a_trace_of_its_own(
    machine: Machine, app: ClientSession, collector: Collector
) -> None:
    """A refresh belongs to no caller: it is linked to the request that it was begun for."""
    process = await machine.start(env=machine.with_grant() | collector.env)
    url = await process.url()
    (first,) = await collector.arrived(1, kind="INTERNAL")
    machine.simulator.revoke_access_tokens()
    assert await status_of(app, url + MEMBER) == 200
    _, refresh = await collector.arrived(2, kind="INTERNAL")
    (request,) = await collector.arrived(1)
    refused, replayed = await collector.arrived(2, kind="CLIENT")
    assert (first.parent, first.links) == ("", [])
    assert first.attributes == {
        "pandadoc_proxy.credential": "default",
        "pandadoc_proxy.refresh.cause": "no_token",
        "pandadoc_proxy.refresh.result": "refreshed",
    }
    assert refresh.name == "refresh"
    assert (refresh.parent, refresh.links) == ("", [(request.trace, request.id)])
    assert refresh.trace != request.trace
    assert refresh.attributes["pandadoc_proxy.refresh.cause"] == "refused"
    assert refresh.attributes["pandadoc_proxy.refresh.result"] == "refreshed"
    assert [(each.parent, each.trace) for each in (refused, replayed)] == [(request.id, request.trace)] * 2
    assert (refused.attributes["http.response.status_code"], refused.attributes["error.type"]) == (401, "401")
    assert (refused.failed, replayed.failed, request.failed, refresh.failed) == (True, False, False, False)
    assert "http.request.resend_count" not in refused.attributes
    assert replayed.attributes["http.request.resend_count"] == 1
    assert request.attributes["pandadoc_proxy.generation"] == 2


async def test_a_refresh_that_fails_says_how(machine: Machine, app: ClientSession, collector: Collector) -> None:
    """And a request that found no credential has made no attempt."""
    machine.simulator.faults.add(Fault(path=TOKEN_PATH, status=503))
    process = await machine.start(env=machine.with_grant() | collector.env)
    url = await process.url()
    (refresh,) = await collector.arrived(1, kind="INTERNAL")
    assert await status_of(app, url + MEMBER) == 503
    (request,) = await collector.arrived(1)
    assert refresh.failed
    assert refresh.attributes["error.type"] == refresh.attributes["pandadoc_proxy.refresh.result"] == "server_error"
    assert (request.failed, request.attributes["error.type"]) == (True, "proxy_internal_response")
    assert collector.of("CLIENT") == []


async def test_what_we_answer_ourselves_is_told_by_its_word(machine: Machine, collector: Collector) -> None:
    """The caller's fault is no failure of ours; a health check is nobody's request; names have few values."""
    async with absent() as nowhere:
        process = await machine.start(env=machine.with_api_key() | collector.env | {UPSTREAM: nowhere})
        port = port_of(await process.url())
        await converse(port, asking(target=b"/healthz"))
        for request in (asking((b"Origin", b"https://evil.example")), asking(), asking().replace(b"GET", b"PROPFIND")):
            await converse(port, request)
        refused, broken, odd = await collector.arrived(3)
        attempt, _ = await collector.arrived(2, kind="CLIENT")
    assert (refused.attributes["http.response.status_code"], refused.failed) == (403, False)
    assert (broken.attributes["http.response.status_code"], broken.failed) == (502, True)
    assert broken.attributes["error.type"] == attempt.attributes["error.type"] == "connection_refused"
    assert attempt.failed
    assert (odd.name, odd.attributes["http.request.method"]) == ("HTTP", "_OTHER")


async def test_a_caller_that_hangs_up_is_told_as_in_the_access_log(machine: Machine, collector: Collector) -> None:
    async def never(stage: Stage) -> None:
        await stage.request()
        await stage.request()

    async with upstream(never) as up:
        process = await machine.start(env=machine.with_api_key() | collector.env | {UPSTREAM: up.url})
        async with caller(port_of(await process.url())) as line:
            await line.send(asking())
            await until(lambda: len(up.heard) == 1)
        (request,), (attempt,) = await collector.arrived(1), await collector.arrived(1, kind="CLIENT")
    assert (request.attributes["http.response.status_code"], request.failed) == (499, False)
    assert (attempt.attributes["error.type"], attempt.failed) == ("CancelledError", True)


async def test_an_answer_that_breaks_off_is_a_failure(machine: Machine, collector: Collector) -> None:
    async with upstream(broken_off) as up:
        process = await machine.start(env=machine.with_api_key() | collector.env | {UPSTREAM: up.url})
        async with caller(port_of(await process.url())) as line:
            await line.send(asking())
            await line.closed()
        (request,), (attempt,) = await collector.arrived(1), await collector.arrived(1, kind="CLIENT")
    assert (request.failed, request.attributes["error.type"]) == (True, "unfinished")
    assert not attempt.failed


async def broken_off(stage: Stage) -> None:
    await stage.request()
    await stage.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    stage.writer.close()


async def test_a_client_and_a_unix_socket_are_told_by_name(machine: Machine, collector: Collector) -> None:
    socket = machine.home / "proxy.sock"
    config = machine.home / "config.yaml"
    key = "billing-key-0123456789"
    machine.secrets.add(key)
    clients = {"billing": {"key": {"env": "BILLING"}}}
    config.write_text(yaml.safe_dump({"listeners": [{"bind": f"unix:{socket}", "clients": clients}]}))
    env = {name: value for name, value in machine.with_api_key().items() if "LISTENERS" not in name} | {"BILLING": key}
    process = await machine.start("run", "--config", str(config), env=env | collector.env)
    await process.said("unix:", " lends ")
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as app:
        headers = {"X-Proxy-Key": key}
        async with app.get(f"http://localhost{MEMBER}", headers=headers) as answer:
            assert answer.status == 200
    (request,) = await collector.arrived(1)
    assert request.attributes["pandadoc_proxy.client"] == "billing"
    assert request.attributes["pandadoc_proxy.listener"] == f"unix:{socket}"
    assert request.attributes["server.address"] == str(socket)


async def test_no_secret_is_in_what_leaves(machine: Machine, app: ClientSession, collector: Collector) -> None:
    """The fixture greps all bytes for what is named here, and for what the simulator has issued."""
    secrets = [f"s3cret-{number}" for number in range(6)]
    machine.secrets.update(secrets)
    process = await machine.start(env=machine.with_grant() | collector.env)
    url = await process.url()
    own = {"Authorization": f"Bearer {secrets[0]}", "Cookie": f"session={secrets[1]}", "User-Agent": secrets[2]}
    async with app.post(
        f"{url}/public/v1/documents?token={secrets[3]}", headers=own, json={"name": secrets[4]}
    ) as answer:
        assert answer.status == 201
    assert await status_of(app, f"{url}/public/v1/access_token={secrets[5]}") == 404
    host = b"GET /x HTTP/1.1\r\nHost: user:%s@localhost\r\n\r\n" % secrets[0].encode()
    assert (await converse(port_of(url), host)).start.split()[1] == b"421"
    machine.simulator.faults.add(Fault(path=MEMBER, reset=True))
    assert await status_of(app, url + MEMBER) == 502
    requests = await collector.arrived(4)
    assert requests[1].attributes["url.path"] == "/public/v1/access_token=***"
    assert not [event for each in collector.spans for event in each.span.events]
    assert not [each for each in collector.spans if each.span.status.message]


# Which are made


@pytest.mark.parametrize(
    ("sampler", "flags", "spans"),
    [
        ("always_off", b"01", 0),
        ("always_on", b"00", 1),
        ("parentbased_always_on", b"00", 0),
        ("parentbased_always_off", b"01", 1),
    ],
)
async def test_the_sampler_decides(
    machine: Machine, collector: Collector, sampler: str, flags: bytes, spans: int
) -> None:
    """And the upstream is told by the flags, in the caller's trace all the same."""
    env = machine.with_api_key() | collector.env | {"OTEL_TRACES_SAMPLER": sampler}
    async with upstream(answering(OK)) as up:
        process = await machine.start(env=env | {UPSTREAM: up.url})
        parent = (b"traceparent", b"00-%b-%b-%b" % (TRACE.encode(), CALLER.encode(), flags))
        await converse(port_of(await process.url()), asking(parent, (b"tracestate", STATE)))
        trace, span, sampled = context_of(up)
        assert up.heard[0].values(b"tracestate") == [STATE]
        await ended(process)
    assert (trace, sampled) == (TRACE, f"{spans:02}")
    assert span != CALLER
    assert [len(collector.of(kind)) for kind in ("SERVER", "CLIENT")] == [spans, spans]


# Delivery


async def test_the_last_spans_are_delivered_at_the_end(
    machine: Machine, app: ClientSession, collector: Collector
) -> None:
    process = await machine.start(env=machine.with_api_key() | collector.env | AT_THE_END)
    url = await process.url()
    assert await status_of(app, url + MEMBER) == 200
    assert collector.spans == []
    await ended(process)
    assert [len(collector.of(kind)) for kind in ("SERVER", "CLIENT")] == [1, 1]
    assert process.records[-1]["message"] == "drained"


USELESS: Final = pytest.mark.parametrize("collector_of_no_use", [absent, hanging, refusing, redirecting, rejecting])
UselessCollector = Callable[[], AbstractAsyncContextManager[str]]


@USELESS
async def test_a_collector_of_no_use_costs_no_request_and_one_line(
    machine: Machine, app: ClientSession, collector_of_no_use: UselessCollector
) -> None:
    """Whether nobody is there, it hangs, or it does not want them; and the end is late by seconds at most."""
    async with collector_of_no_use() as url:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_TIMEOUT": "0.1"}
        variables |= {"OTEL_BSP_SCHEDULE_DELAY": "10", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1"}
        process = await machine.start(env=machine.with_api_key() | variables)
        served = await process.url()
        for _ in range(20):
            assert await status_of(app, served + MEMBER) == 200
        await process.said("spans can't be delivered")
        assert await status_of(app, served + MEMBER) == 200
        await ended(process)
    assert all(record["logger"].startswith("proxy") for record in process.records)
    assert len([record for record in process.records if "spans" in record["message"]]) <= 2


async def test_a_certificate_that_can_not_be_read_is_asked_for_where_spans_can_not_be_delivered(
    machine: Machine, app: ClientSession, tmp_path: Path
) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://127.0.0.1:1", "OTEL_BSP_SCHEDULE_DELAY": "10"}
    variables |= {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(tmp_path / "ca.pem")}
    process = await machine.start(env=machine.with_api_key() | variables)
    assert await status_of(app, await process.url() + MEMBER) == 200
    await process.said("spans can't be delivered", "can OTEL_EXPORTER_OTLP_CERTIFICATE be read")
    await ended(process)


async def test_spans_that_find_no_room_are_told_once(machine: Machine, app: ClientSession) -> None:
    """As with a collector that is slower than its callers; or that hangs, and OTEL_EXPORTER_OTLP_TIMEOUT is long."""
    async with hanging() as url:
        env = machine.with_api_key() | {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "10"}
        env |= {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1", "OTEL_BSP_MAX_QUEUE_SIZE": "4"}
        process = await machine.start(env=env)
        served = await process.url()
        for _ in range(10):
            assert await status_of(app, served + MEMBER) == 200
        await process.said("spans find no room")
        for _ in range(10):
            assert await status_of(app, served + MEMBER) == 200
        await ended(process)
    assert all(record["logger"].startswith("proxy") for record in process.records)
    assert len([record for record in process.records if "no room" in record["message"]]) == 1


@pytest.mark.parametrize("content_type", ["application/json", "application/x-protobuf"])
async def test_a_collector_that_answers_with_no_otlp_is_believed(
    machine: Machine, app: ClientSession, collector: Collector, content_type: str
) -> None:
    """Some answer with JSON, whatever they call it, or with nothing: what they took is in their hands."""
    collector.answer, collector.content_type = b'{"partialSuccess": {}}', content_type
    process = await machine.start(env=machine.with_api_key() | collector.env)
    assert await status_of(app, await process.url() + MEMBER) == 200
    await collector.arrived(1)
    await ended(process)
    assert not [record for record in process.records if "spans" in record["message"]]


async def test_a_collector_that_hangs_keeps_the_end_waiting_for_seconds(machine: Machine, app: ClientSession) -> None:
    """The SDK would wait for half a minute; what is lost is told."""
    async with hanging() as url:
        env = machine.with_api_key() | AT_THE_END | {"OTEL_EXPORTER_OTLP_ENDPOINT": url}
        process = await machine.start(env=env)
        assert await status_of(app, await process.url() + MEMBER) == 200
        await ended(process)
    await process.said("the last spans could not be delivered within 3 s")


async def test_a_second_signal_waits_for_no_collector(machine: Machine, app: ClientSession) -> None:
    async with hanging() as url:
        env = machine.with_api_key() | AT_THE_END | {"OTEL_EXPORTER_OTLP_ENDPOINT": url}
        process = await machine.start(env=env)
        served = await process.url()
        assert await status_of(app, served + MEMBER) == 200
        process.signal(signal.SIGTERM)
        await process.said("draining")
        process.signal(signal.SIGTERM)
        assert await process.ended() == 1
    assert not [record for record in process.records if "last spans" in record["message"]]


async def test_what_callers_and_operators_write_is_not_logged_by_the_sdk(
    machine: Machine, collector: Collector
) -> None:
    """It would log a tracestate, and the collector's password, that it can't read."""
    machine.secrets |= {"s3cret-state", "s3cret-password"}
    env = machine.with_api_key() | collector.env | {"OTEL_EXPORTER_OTLP_HEADERS": "s3cret-password"}
    process = await machine.start(env=env)
    parent = (b"traceparent", b"00-%b-%b-01" % (TRACE.encode(), CALLER.encode()))
    await converse(port_of(await process.url()), asking(parent, (b"tracestate", b"UPPER=s3cret-state")))
    await collector.arrived(1)
    await ended(process)
    assert {record["logger"] for record in process.records} <= {"proxy.app", "proxy.access"}


async def test_a_reload_goes_on_tracing(machine: Machine, app: ClientSession, collector: Collector) -> None:
    """With another upstream, too; and what was measured before is not lost."""
    config = machine.home / "config.yaml"
    config.write_text("log: {level: info}\n")
    process = await machine.start("run", "--config", str(config), env=machine.with_api_key() | collector.env)
    url = await process.url()
    assert await status_of(app, url + MEMBER) == 200
    config.write_text("upstream: {max_connections: 7}\n")
    process.signal(signal.SIGHUP)
    await process.said("the configuration is reloaded")
    assert await status_of(app, url + MEMBER) == 200
    requests = await collector.arrived(2)
    attempts = await collector.arrived(2, kind="CLIENT")
    assert [each.parent for each in attempts] == [each.id for each in requests]


# Where it can't be had


async def test_without_the_extra_one_line_says_what_to_install(
    machine: Machine, app: ClientSession, collector: Collector, tmp_path: Path
) -> None:
    """An empty package before the real one is as good as none."""
    hiding = tmp_path / "hiding" / "opentelemetry"
    hiding.mkdir(parents=True)
    (hiding / "__init__.py").touch()
    env = machine.with_api_key() | collector.env | {"PYTHONPATH": str(hiding.parent)}
    process = await machine.start(env=env)
    assert await status_of(app, await process.url() + MEMBER) == 200
    await ended(process)
    (line,) = [record["message"] for record in process.records if "traces" in record["message"]]
    assert "pip install '.[otel]'" in line
    assert "--build-arg REQUIREMENTS=otel" in line
    assert collector.bodies == []


async def test_a_process_that_is_not_asked_loads_none_of_it(machine: Machine) -> None:
    """Else every pod would pay 10 MiB for what few want."""
    code = (
        "import sys, proxy.serve, proxy.tracing as t; t.begin({}); print([m for m in sys.modules if 'telemetry' in m])"
    )
    done = await machine.run("-c", code, program=(sys.executable,))
    assert (done.code, done.out) == (0, "[]")
