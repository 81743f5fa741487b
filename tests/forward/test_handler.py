"""The line itself, where no real upstream would lead it: a fault of ours, and an answer that is held."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web
from conftest import HouseMaker
from rig import until
from wire import OK, Stage, caller, converse, upstream

from proxy.clock import SystemClock
from proxy.credential.api_key import ApiKey
from proxy.errors import CallerError
from proxy.forward import handler
from proxy.forward.body import BodyLimits, KeptBytes
from proxy.forward.burst import FEW, Burst
from proxy.forward.clients import Anyone, Client
from proxy.forward.connection import ConnectionLimits
from proxy.forward.exchange import Exchange
from proxy.forward.guard import Gate
from proxy.forward.handler import HELD_401, LONGEST_REMEMBERED, MEASURED, Handler, Lane, _judge_once, _judged
from proxy.forward.headers import AnswerHead, Origin
from proxy.forward.places import InFlight, Places
from proxy.forward.relay import RESET
from proxy.forward.server import Server
from proxy.forward.tally import Tally
from proxy.forward.upstream import Answer, Attempt, Upstream
from proxy.policy.pattern import Pattern
from proxy.policy.policy import Policy, Rule, RuleSet
from proxy.secret_reader import SecretReader
from proxy.secrets import SecretReference

GET = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Half:
    """An answer with a bug in the midst of it."""

    status = 200
    head = AnswerHead(200, b"OK", ((b"Content-Length", b"100"),))
    whole = None

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b"half"
        raise RuntimeError("a bug in the midst")

    def close(self) -> None:
        """Hold nothing."""


class Exploding:
    """An upstream with a bug in it, or, at /half, in its answer."""

    async def send(self, attempt: Attempt) -> Answer:
        if attempt.target == "/half":
            return Half()
        raise RuntimeError(f"a bug at {attempt.target}")


class Leaving:
    """An upstream whose answer tells no length, and a proxy that begins to leave while it comes."""

    status = 200
    head = AnswerHead(200, b"OK", ())
    whole = None
    ready = True

    async def send(self, attempt: Attempt) -> Answer:  # noqa: ARG002 - the seam's
        return self

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b"pan"
        self.ready = False
        yield b"da"

    def close(self) -> None:
        """Hold nothing."""


class Panda:
    """An upstream whose answer is here at once. `meanwhile` is called before it, `and_then` in the loop's next turn."""

    status = 200
    head = AnswerHead(200, b"OK", ((b"Content-Length", b"5"),))
    whole = b"panda"

    def __init__(self) -> None:
        self.meanwhile: Callable[[], object] = lambda: None
        self.and_then: Callable[[], object] = lambda: None

    async def send(self, attempt: Attempt) -> Answer:  # noqa: ARG002 - the seam's
        self.meanwhile()
        asyncio.get_running_loop().call_soon(self.and_then)
        return self

    def chunks(self) -> AsyncIterator[bytes]:
        raise NotImplementedError

    def close(self) -> None:
        """Hold nothing."""


@asynccontextmanager
async def serving(
    upstream: Upstream,
    ready: Callable[[], bool] = lambda: True,
    busy: int = 1,
    ended: Callable[[Exchange], object] = lambda _exchange: None,
) -> AsyncIterator[web.ServerRunner]:
    source = ApiKey("default", SecretReference.literal("hush-hush", "here"), SecretReader())
    lane = Lane(
        gate=Gate(),
        clients=Anyone(Client("", source, Policy(), Places(None, ""))),
        placeholder=False,
        upstream=upstream,
        origin=Origin("http://upstream.example", ""),
        body_limits=BodyLimits(largest=1000, kept=1000, idle_timeout=1),
        kept_bytes=KeptBytes(MEASURED),
        places=Places(10, "limits.max_requests"),
        cookies=True,
        health=None,
        tally=Tally(),
        in_flight=InFlight(),
        ready=ready,
        burst=Burst(lambda: busy),
    )
    handler = Handler("here", lambda: lane, SystemClock().monotonic, ended)
    runner = web.ServerRunner(Server(handler, ConnectionLimits(5, 65536, 100, 100)), shutdown_timeout=1)
    await runner.setup()
    yield runner
    await runner.cleanup()


@pytest.fixture
async def exploding_port() -> AsyncIterator[int]:
    async with serving(Exploding()) as runner:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]


async def test_who_gets_an_answer_that_was_measured_is_told_of_a_drain_that_has_begun_meanwhile(tmp_path: Path) -> None:
    """At a unix socket an answer without a length is read ahead for HTTP/1.0."""
    upstream, path = Leaving(), str(tmp_path / "socket")
    async with serving(upstream, ready=lambda: upstream.ready) as runner:
        await web.UnixSite(runner, path).start()
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /x HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n")
        async with asyncio.timeout(10):
            seen = await reader.read()
        writer.close()
    assert b"Content-Length: 5\r\n" in seen
    assert b"Connection: close\r\n" in seen
    assert seen.endswith(b"\r\n\r\npanda")


async def test_answers_that_their_turn_held_back_are_each_callers_own_and_in_order() -> None:
    async with serving(Panda(), busy=FEW) as runner:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with caller(runner.addresses[0][1]) as line, caller(runner.addresses[0][1]) as other:
            await line.send(GET + GET.replace(b"GET", b"TRACE"))  # ours to the second must not overtake the first
            await other.send(GET)
            for each in (line, other):
                seen = await each.answer()
                assert (seen.start, seen.body) == (b"HTTP/1.1 200 OK", b"panda")
            assert (await line.answer()).start == b"HTTP/1.1 405 Method Not Allowed"


async def test_a_caller_that_leaves_while_its_turn_holds_the_answer_back_has_hung_up() -> None:
    upstream, ended = Panda(), list[Exchange]()
    async with serving(upstream, busy=FEW, ended=ended.append) as runner:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with caller(runner.addresses[0][1]) as line:
            server = runner.server
            assert server is not None
            upstream.and_then = partial(lose, server)
            await line.send(GET)
            assert await line.closed() == b""
        await until(lambda: bool(ended))
    assert [(exchange.status, exchange.bytes_out) for exchange in ended] == [(499, 0)]


async def test_a_caller_that_leaves_behind_its_answer_has_not_hung_up_though_the_turn_is_not_over() -> None:
    upstream, ended = Panda(), list[Exchange]()
    async with serving(upstream, busy=FEW, ended=ended.append) as runner:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with caller(runner.addresses[0][1]) as line:
            server = runner.server
            assert server is not None
            upstream.and_then = lambda: asyncio.get_running_loop().call_soon(lose, server)
            await line.send(GET)
            assert (await line.answer()).body == b"panda"
        await until(lambda: bool(ended))
    assert [(exchange.status, exchange.bytes_out, exchange.fault) for exchange in ended] == [(200, 5, "")]


async def test_an_answer_that_its_caller_takes_late_was_delivered() -> None:
    upstream, ended = Panda(), list[Exchange]()
    upstream.whole = bytes(8 * MEASURED)
    upstream.head = AnswerHead(200, b"OK", ((b"Content-Length", b"%d" % len(upstream.whole)),))
    async with serving(upstream, ended=ended.append) as runner:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server = runner.server
        assert server is not None
        async with caller(runner.addresses[0][1]) as line:
            await until(lambda: len(server.connections) == 1)
            (connection,) = server.connections
            await line.send(GET)
            await until(lambda: connection.transport is not None and connection.transport.get_write_buffer_size() > 0)
            assert not ended
            assert len((await line.answer()).body) == len(upstream.whole)
        await until(lambda: bool(ended))
    assert [(exchange.status, exchange.bytes_out) for exchange in ended] == [(200, len(upstream.whole))]


@pytest.mark.parametrize("busy", [1, FEW], ids=["at once", "held back"])
async def test_what_is_written_to_a_caller_that_has_reset_was_not_delivered(busy: int) -> None:
    upstream, ended = Panda(), list[Exchange]()
    async with serving(upstream, busy=busy, ended=ended.append) as runner:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        with socket.create_connection(runner.addresses[0]) as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            upstream.meanwhile = line.close
            line.sendall(GET)
            await until(lambda: bool(ended))
    assert [(exchange.status, exchange.bytes_out) for exchange in ended] == [(499, 0)]


def lose(server: web.Server) -> None:
    """Have its connections lost, as the loop would tell them."""
    for each in list(server.connections):
        each.connection_lost(None)


async def test_a_fault_of_ours_is_a_500_that_tells_the_caller_nothing(
    exploding_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the traceback; the next request on the same connection is served (law 17)."""
    async with caller(exploding_port) as line:
        for _ in range(2):
            await line.send(GET)
            seen = await line.answer()
            assert seen.start == b"HTTP/1.1 500 Internal Server Error"
            assert seen.values(b"proxy-status") == [b"pandadoc-proxy; error=proxy_internal_error"]
            assert b"bug" not in seen.body
    assert "a bug at /x" in caplog.text
    assert "hush-hush" not in caplog.text


async def test_an_answer_of_our_own_is_counted_with_its_body() -> None:
    ended = list[Exchange]()
    async with serving(Exploding(), ended=ended.append) as runner:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        seen = await converse(runner.addresses[0][1], GET)
    assert [(exchange.status, exchange.bytes_out) for exchange in ended] == [(500, len(seen.body))]


async def test_a_fault_of_ours_in_the_midst_of_an_answer_is_a_closed_connection(
    exploding_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Never a second status line (law 13)."""
    async with caller(exploding_port) as line:
        await line.send(b"GET /half HTTP/1.1\r\nHost: localhost\r\n\r\n")
        seen = await line.closed()
    assert seen.startswith(b"HTTP/1.1 200 OK\r\n")
    assert seen.endswith(b"\r\n\r\nhalf")
    assert "a bug in the midst" in caplog.text


async def test_a_large_401_passes_whole(oauth_house: HouseMaker) -> None:
    """Only its beginning is read ahead while the refresh runs."""
    body = bytes(range(256)) * 1000

    async def script(stage: Stage) -> None:
        while True:
            await stage.request()
            await stage.say(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with upstream(script) as up:
        house = await oauth_house(probe=None)
        await house.forward_to(up.url)
        for _ in range(3):  # replayed, then relayed in the cool-down
            seen = await house.get("/x")
            assert seen.status == 401
            assert seen.body == body
        assert len(house.simulator.token_calls()) == 2
        assert len(up.heard) == 4


async def test_a_401_that_is_too_large_to_be_read_ahead_keeps_no_refresh_waiting(oauth_house: HouseMaker) -> None:
    """Its end has not even come when it is replayed: no more than the limit and a piece was read."""

    async def script(stage: Stage) -> None:
        await stage.request()
        if stage.upstream.connections == 1:
            await stage.say(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 100000000\r\n\r\n" + bytes(2 * HELD_401))
            await stage.reader.read()
        await stage.say(OK)

    async with upstream(script) as up:
        house = await oauth_house()
        await house.forward_to(up.url)
        async with asyncio.timeout(10):
            assert (await house.get("/x")).status == 200
        assert len(house.simulator.token_calls()) == 2


async def trickling(stage: Stage) -> None:
    """Refuse, and never come to the end of it: a byte from time to time, until the other side has gone."""
    await stage.request()
    await stage.say(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 256\r\n\r\n")
    for byte in range(256):
        await stage.say(bytes([byte]))
        await asyncio.sleep(0.01)


async def test_a_401_whose_body_trickles_keeps_no_refresh_waiting(
    oauth_house: HouseMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor the request that is replayed: what comes late is what nobody has asked for any more."""
    monkeypatch.setattr(handler, "JUDGED_WITHIN", 0.2)

    async def script(stage: Stage) -> None:
        if stage.upstream.connections == 1:
            await stage.request()
            await stage.say(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\nhalf")
            await stage.reader.read()
            stage.upstream.gone += 1
        else:
            await stage.request()
            await stage.say(OK)

    async with upstream(script) as up:
        house = await oauth_house()
        await house.forward_to(up.url)
        async with asyncio.timeout(10):
            assert (await house.get("/x")).status == 200
            await until(lambda: up.gone == 1)
        assert len(house.simulator.token_calls()) == 2


async def test_a_401_whose_body_trickles_is_relayed_byte_by_byte_and_whole(
    api_key_house: HouseMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began to be read ahead, and the read that was given up was under way: none is lost, none comes twice."""
    monkeypatch.setattr(handler, "JUDGED_WITHIN", 0.1)
    async with upstream(trickling) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            await line.send(GET)
            head = await line.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 401 ")
            first = await line.reader.read(256)
            assert 0 < len(first) < 256, "it is passed on before its end has come"
            assert first + await line.reader.readexactly(256 - len(first)) == bytes(range(256))


async def test_a_401_that_breaks_off_still_heals_and_if_relayed_breaks_off_too(oauth_house: HouseMaker) -> None:
    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 100\r\n\r\nhalf")

    async with upstream(script) as up:
        house = await oauth_house(probe=None)
        await house.forward_to(up.url)
        assert len(house.simulator.token_calls()) == 0
        for _ in range(2):
            async with caller(house.port) as line:
                await line.send(GET)
                assert (await line.closed()).endswith(b"\r\n\r\nhalf")
        assert len(house.simulator.token_calls()) == 2
        assert len(up.heard) == 3


async def test_many_401s_at_once_hold_no_connection_while_the_refresh_runs(oauth_house: HouseMaker) -> None:
    """With one connection to the upstream, a held answer would be a deadlock."""
    house = await oauth_house({"upstream": {"max_connections": 1}})
    await house.get()
    house.simulator.revoke_access_tokens()
    async with asyncio.timeout(10):
        assert {answer.status for answer in await house.many(50)} == {200}
    assert (await converse(house.port, GET)).start == b"HTTP/1.1 404 Not Found"


def rules(*lines: str) -> Policy:
    made = [Rule(allows=False, pattern=Pattern.parse(line)) for line in lines]
    return Policy((RuleSet("policy", made, otherwise=True),))


def test_what_is_remembered_of_a_path_is_one_policys_one_gates_and_one_methods() -> None:
    strict, lax, gate = rules("POST /a"), rules(), Gate()
    for _ in range(2):  # anew, and from memory
        assert [each.by for each in _judged(strict, gate, "POST", "/a?b")[1]] == ["policy: deny POST /a"]
        assert _judged(strict, gate, "GET", "/a?b") == (frozenset({"/a"}), ())
        assert _judged(lax, gate, "POST", "/a?b") == (frozenset({"/a"}), ())
        assert _judged(lax, gate, "POST", "/../a")[1] == ()
        with pytest.raises(CallerError):  # it leads out of the prefix
            _judged(lax, Gate(prefix="/x"), "POST", "/../a")


def test_long_paths_are_not_remembered() -> None:
    """They are the caller's to choose, and would be kept for as long as no other comes."""
    before = _judge_once.cache_info().misses
    _judged(rules(), Gate(), "GET", "/" + "a" * LONGEST_REMEMBERED)
    assert _judge_once.cache_info().misses == before
    _judged(rules(), Gate(), "GET", "/" + "a" * (LONGEST_REMEMBERED - 1) + "?" + "b" * 1000)
    assert _judge_once.cache_info().misses == before + 1
