"""Faults of the upstream and of callers, through the whole proxy: the right word, in time, and nothing left behind.

Each is met three times over, with everything counted before and after. docs/faults.md is their table.
"""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from conftest import HouseMaker
from held import nothing_left_behind
from rig import House, until
from wire import (
    OK,
    Caller,
    Message,
    Script,
    ScriptedUpstream,
    Stage,
    answering,
    caller,
    converse,
    hang_up,
    read_message,
    upstream,
)

from proxy.simulator import Fault

GET: Final = b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
POST: Final = GET.replace(b"GET", b"POST")[:-2] + b"Content-Length: 5\r\n\r\npanda"
TIMES: Final = 3
MIB: Final = 2**20

SHORT: Final = 0.5
"""Seconds of every limit here: long enough for what is in time, also where the loop is kept waiting."""

BOUND: Final = 5.0
"""Seconds within which each fault is over."""

IMPATIENT: Final = dict.fromkeys(("response_timeout", "idle_timeout", "keepalive"), f"{SHORT:g}s")


@dataclass(frozen=True)
class Outcome:
    """What a caller was left with."""

    status: int
    error: str  # the proxy's own word for it, or "" for what the upstream said
    whole: bool


@asynccontextmanager
async def before(make: HouseMaker, script: Script, **settings: Any) -> AsyncIterator[tuple[House, ScriptedUpstream]]:
    """Put a house before a scripted upstream. Whatever is opened from then on has to go."""
    async with upstream(script) as up:
        house = await make({"upstream": {"url": up.url, **IMPATIENT, **settings}})
        async with nothing_left_behind():
            yield house, up
            up.cue.set()
        assert not house.ear.heard("Traceback")


async def outcome(house: House, request: bytes = GET) -> Outcome:
    """Ask once, on a connection of its own, and wait for its end."""
    async with asyncio.timeout(BOUND), caller(house.port) as line:
        await line.send(request)
        raw = await everything(line.reader)
    assert raw.count(b"HTTP/1.1 ") == 1, raw[:500]  # never a second status line
    return await judged(raw)


async def everything(reader: asyncio.StreamReader) -> bytes:
    """Read to the connection's end, whatever that is."""
    raw = b""
    with suppress(ConnectionError):
        while piece := await reader.read(65536):
            raw += piece
    return raw


async def judged(raw: bytes) -> Outcome:
    reader = asyncio.StreamReader(limit=2**20)
    reader.feed_data(raw)
    reader.feed_eof()
    head = Message(raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
    error = b"".join(head.values(b"proxy-status")).removeprefix(b"pandadoc-proxy; error=").decode()
    whole = True
    try:
        await read_message(reader)
    except asyncio.IncompleteReadError:
        whole = False
    return Outcome(int(head.start.split()[1]), error, whole)


async def has_lost(up: ScriptedUpstream, number: int, seconds: float = BOUND) -> None:
    """Wait until so many connections of the upstream's have ended."""
    await until(lambda: up.gone == number, seconds)


async def closes(stage: Stage) -> None:
    stage.writer.close()


async def resets(stage: Stage) -> None:
    """Give what was said the time to be read, or else it is lost."""
    await asyncio.sleep(0.05)
    stage.reset()


async def falls_silent(stage: Stage) -> None:
    await stage.reader.read()


End = Callable[[Stage], Awaitable[None]]

LENGTH: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
CHUNKED: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNFRAMED: Final = b"HTTP/1.1 200 OK\r\n\r\n"

BROKE: Final = Outcome(502, "connection_terminated", whole=True)
NONSENSE: Final = Outcome(502, "http_protocol_error", whole=True)
TOO_LARGE: Final = Outcome(502, "http_response_header_section_size", whole=True)
LATE: Final = Outcome(504, "http_response_timeout", whole=True)
CUT: Final = Outcome(200, "", whole=False)
FINE: Final = Outcome(200, "", whole=True)

FAULTS: Final[dict[str, tuple[bytes, End, Outcome]]] = {
    # U9, U10: it breaks
    "closes before the head": (b"", closes, BROKE),
    "resets before the head": (b"", resets, BROKE),
    "closes in the head": (LENGTH[:30], closes, BROKE),
    "resets in the head": (LENGTH[:30], resets, BROKE),
    "closes behind an interim answer": (b"HTTP/1.1 103 Early Hints\r\n\r\n", closes, BROKE),
    "closes behind the head": (LENGTH, closes, CUT),
    "resets behind the head": (LENGTH, resets, CUT),
    "truncates a length": (LENGTH + b"panda", closes, CUT),
    "resets in a length": (LENGTH + b"panda", resets, CUT),
    "closes in a chunk": (CHUNKED + b"a\r\npanda", closes, CUT),
    "resets in a chunk": (CHUNKED + b"a\r\npanda", resets, CUT),
    "closes between two chunks": (CHUNKED + b"5\r\npanda\r\n", closes, CUT),
    "resets between two chunks": (CHUNKED + b"5\r\npanda\r\n", resets, CUT),
    "closes in the last chunk": (CHUNKED + b"5\r\npanda\r\n0\r\n", closes, CUT),
    "resets an answer without a length": (UNFRAMED + b"panda", resets, CUT),
    # U8, U14: it is silent
    "accepts and says nothing": (b"", falls_silent, LATE),
    "falls silent in the head": (LENGTH[:30], falls_silent, LATE),
    "falls silent behind an interim answer": (b"HTTP/1.1 102 Processing\r\n\r\n", falls_silent, LATE),
    "falls silent behind the head": (LENGTH, falls_silent, CUT),
    "falls silent in a length": (LENGTH + b"panda", falls_silent, CUT),
    "falls silent in a chunk": (CHUNKED + b"a\r\npanda", falls_silent, CUT),
    "falls silent in an answer without a length": (UNFRAMED + b"panda", falls_silent, CUT),
    # U12, U13: it says what is none
    "garbage": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", falls_silent, NONSENSE),
    "HTTP/0.9": (b"<html>hello</html>", falls_silent, NONSENSE),
    "HTTP/2": (b"HTTP/2 200\r\n\r\n", falls_silent, NONSENSE),
    "a 101 that nobody asked for": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", falls_silent, NONSENSE),
    "an interim answer with a body": (b"HTTP/1.1 104 X\r\nContent-Length: 2\r\n\r\nok" + OK, falls_silent, NONSENSE),
    "a length and chunks": (CHUNKED[:-2] + b"Content-Length: 5\r\n\r\n0\r\n\r\n", falls_silent, NONSENSE),
    "two lengths": (LENGTH[:-2] + b"Content-Length: 5\r\n\r\npanda", falls_silent, NONSENSE),
    "no chunk": (CHUNKED + b"panda\r\n", falls_silent, CUT),
    "a chunk longer than its size": (CHUNKED + b"2\r\npanda\r\n0\r\n\r\n", falls_silent, CUT),
    "a head of 65 KiB": (LENGTH[:-2] + b"X: " + b"x" * 66_000 + b"\r\n\r\n", falls_silent, TOO_LARGE),
    "a head of 257 fields": (LENGTH[:-2] + b"X: y\r\n" * 257 + b"\r\n", falls_silent, TOO_LARGE),
    "interim answers for ever": (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3000, falls_silent, TOO_LARGE),
    # U11, U12: what is fine, on a connection that is not
    "half-closes behind the answer": (OK, closes, FINE),
    "an answer without a length": (UNFRAMED + b"panda", closes, FINE),
    "two answers": (OK + OK, falls_silent, FINE),
    "an answer and garbage": (OK + b"garbage", falls_silent, FINE),
    "more than its length": (OK + b"!", falls_silent, FINE),
}


@pytest.mark.parametrize(("said", "end", "expected"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("request_bytes", [GET, POST], ids=["GET", "POST"])
async def test_an_upstream_that(
    api_key_house: HouseMaker, said: bytes, end: End, expected: Outcome, request_bytes: bytes
) -> None:
    """It is told in the right word and in time; the connection is never used again."""

    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(said)
        await end(stage)

    async with before(api_key_house, script) as (house, up):
        for _ in range(TIMES):
            assert await outcome(house, request_bytes) == expected
        assert up.connections == len(up.heard) == TIMES


# No connection (U7, U8)


@asynccontextmanager
async def unreachable(kind: str) -> AsyncIterator[str]:
    """Yield the URL of an upstream that no connection leads to."""
    with ExitStack() as sockets:
        listening = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listening.getsockname()[1]
        if kind == "refused":
            listening.close()
        elif kind == "a black hole":  # a full backlog: the kernel answers no SYN
            for _ in range(4):
                filler = sockets.enter_context(socket.socket())
                filler.setblocking(False)  # noqa: FBT003 - the standard library's own signature
                with suppress(BlockingIOError):
                    filler.connect(("127.0.0.1", port))
        yield f"{'https' if 'TLS' in kind else 'http'}://127.0.0.1:{port}"


NO_WAY: Final = {
    "refused": Outcome(502, "connection_refused", whole=True),
    "a black hole": Outcome(504, "connection_timeout", whole=True),
    "a black hole of TLS": Outcome(504, "connection_timeout", whole=True),
}


@pytest.mark.parametrize("kind", NO_WAY)
async def test_an_upstream_that_is_not_reached_leaves_nothing_behind(api_key_house: HouseMaker, kind: str) -> None:
    async with unreachable(kind) as url:
        house = await api_key_house({"upstream": {"url": url, "connect_timeout": "300ms"}})
        async with nothing_left_behind():
            assert [await outcome(house) for _ in range(TIMES)] == [NO_WAY[kind]] * TIMES
            assert set(await asyncio.gather(*(outcome(house, POST) for _ in range(20)))) == {NO_WAY[kind]}


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x03\x00\x02\x02\x28", b""])
async def test_an_upstream_whose_handshake_fails_leaves_nothing_behind(api_key_house: HouseMaker, said: bytes) -> None:
    """With plain HTTP, with an alert, with an end."""

    async def script(stage: Stage) -> None:
        await stage.reader.read(1)
        await stage.say(said)

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url.replace("http:", "https:")}})
        async with nothing_left_behind():
            for _ in range(TIMES):
                seen = await outcome(house)
                assert (seen.status, seen.whole) == (502, True)
                assert seen.error == ("tls_protocol_error" if said else "destination_unavailable")


async def test_whose_turn_does_not_come_is_told_when_to_come_back(api_key_house: HouseMaker) -> None:
    """And takes nothing from those that are served, however long it takes."""

    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(LENGTH + b"panda")
        await stage.upstream.cue.wait()
        await stage.say(b"panda")

    async with before(api_key_house, script, max_connections=2, idle_timeout="60s") as (house, up):
        served = [asyncio.create_task(outcome(house)) for _ in range(2)]
        await until(lambda: len(up.heard) == 2)
        late = await asyncio.gather(*(outcome(house, POST) for _ in range(20)))
        assert set(late) == {Outcome(503, "connection_limit_reached", whole=True)}
        assert len(up.heard) == 2
        up.cue.set()
        assert [await each for each in served] == [FINE, FINE]
        assert await outcome(house) == FINE


# Slow, and still right (U15)


async def test_a_byte_at_a_time_is_passed_on_as_it_comes(api_key_house: HouseMaker) -> None:
    """For longer than any limit: each byte is with the caller before the next is sent."""

    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        for byte in b"piecemeal!":
            await stage.say(bytes([byte]))
            await stage.upstream.cue.wait()
            stage.upstream.cue.clear()

    async with before(api_key_house, script) as (house, up), caller(house.port) as line:
        await line.send(GET)
        await line.reader.readuntil(b"\r\n\r\n")
        for byte in b"piecemeal!":
            assert await asyncio.wait_for(line.reader.readexactly(1), BOUND) == bytes([byte])
            await asyncio.sleep(SHORT / 5)
            up.cue.set()


async def test_a_head_that_trickles_is_late(api_key_house: HouseMaker) -> None:
    async def script(stage: Stage) -> None:
        await stage.request()
        for byte in LENGTH * 1000:
            await stage.say(bytes([byte]))
            await asyncio.sleep(SHORT / 10)

    async with before(api_key_house, script) as (house, _):
        assert await outcome(house) == LATE


# What the upstream says of itself (U4, U5, U6)


@pytest.mark.parametrize("status", [403, 404, 429, 500, 502, 503, 504])
async def test_the_upstreams_own_word_passes_untouched_and_is_not_asked_for_twice(
    api_key_house: HouseMaker, status: int
) -> None:
    said = b"HTTP/1.1 %d Its Own\r\nRetry-After: 120\r\nContent-Length: 5\r\n\r\npanda" % status
    async with before(api_key_house, answering(said)) as (house, up), caller(house.port) as line:
        await line.send(POST)
        seen = await line.answer()
        assert seen.start == b"HTTP/1.1 %d Its Own" % status
        assert (seen.body, seen.values(b"retry-after")) == (b"panda", [b"120"])
        assert not seen.values(b"proxy-status")
        assert len(up.heard) == 1


# Kept connections (U9, U19)


@pytest.mark.parametrize("said", [OK, b"x", b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"])
async def test_what_comes_unasked_on_an_idle_connection_is_nobodys_answer(
    api_key_house: HouseMaker, said: bytes
) -> None:
    async def script(stage: Stage) -> None:
        number = b"%d" % stage.upstream.connections
        await stage.request()
        await stage.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + number)
        await stage.upstream.cue.wait()
        stage.upstream.cue.clear()
        await stage.say(said)
        await stage.reader.read()
        stage.upstream.gone += 1

    async with before(api_key_house, script, keepalive="10s") as (house, up):
        for number in range(1, TIMES + 1):
            assert (await converse(house.port, GET)).body == b"%d" % number
            up.cue.set()
            await has_lost(up, number)


@dataclass
class Closing:
    """An upstream that answers once on each connection, and closes it as the next request is on its way there."""

    reads_first: bool
    taken: Counter[bytes] = field(default_factory=Counter)  # requests of which a byte has come, by their path

    async def script(self, stage: Stage) -> None:
        await self._note(stage)
        await stage.say(OK)
        if self.reads_first:
            await self._note(stage)
            stage.reset()
        else:
            await stage.upstream.cue.wait()
            hang_up(stage.writer)

    async def _note(self, stage: Stage) -> None:
        self.taken[(await stage.request()).start.split()[1]] += 1


@pytest.mark.parametrize("reads_first", [True, False])
async def test_a_kept_connection_that_closes_as_we_write_costs_no_get_and_sends_no_post_twice(
    api_key_house: HouseMaker, *, reads_first: bool
) -> None:
    """The upstream has read the request and resets, or has closed before it came."""
    closing = Closing(reads_first)
    async with before(api_key_house, closing.script, keepalive="10s") as (house, up):
        for number in range(60):
            request = POST if number % 3 == 2 else GET
            seen = await outcome(house, request.replace(b"/x", b"/%d" % number))
            assert seen == FINE or (seen == BROKE and request is POST and reads_first)
            up.cue.set()
            up.cue.clear()
        assert {closing.taken[b"/%d" % number] for number in range(2, 60, 3)} == {1}
        assert max(closing.taken.values()) == (2 if reads_first else 1)


# Early answers (U3, U17, U18)


@pytest.mark.parametrize("half_closes", [False, True])
@pytest.mark.parametrize("status", [401, 413])
async def test_an_early_answer_reaches_a_caller_in_the_middle_of_its_upload(
    api_key_house: HouseMaker, status: int, *, half_closes: bool
) -> None:
    """The upstream reads no more of it."""

    async def script(stage: Stage) -> None:
        await stage.head()
        await stage.reader.readexactly(100_000)
        await stage.say(b"HTTP/1.1 %d Early\r\nContent-Length: 5\r\n\r\npanda" % status)
        if half_closes:
            stage.writer.write_eof()
        await stage.upstream.cue.wait()

    async with before(api_key_house, script) as (house, up):
        for _ in range(TIMES):
            async with asyncio.timeout(BOUND), caller(house.port) as line:
                sending = asyncio.create_task(pour(line, 5 * MIB))
                seen = await line.answer()
                assert (seen.start, seen.body) == (b"HTTP/1.1 %d Early" % status, b"panda")
                assert seen.values(b"connection") == [b"close"]
                await everything(line.reader)
                await sending
            up.cue.set()
            up.cue.clear()


@pytest.mark.parametrize("status", [401, 413])
async def test_an_early_answer_that_closes_reaches_a_caller_that_sends_flat_out(
    oauth_house: HouseMaker, status: int
) -> None:
    """The upstream reads on, as nginx does; a 401 is known by then, and the token is renewed behind it."""

    async def script(stage: Stage) -> None:
        await stage.head()
        await stage.reader.readexactly(300_000)
        await stage.say(b"HTTP/1.1 %d Early\r\nConnection: close\r\nContent-Length: 5\r\n\r\npanda" % status)
        while await stage.reader.read(65536):
            pass

    house = await oauth_house({"replay": {"max_body": "1KiB"}}, seed_life=3600, probe=None)
    async with upstream(script) as up:
        await house.forward_to(up.url)
        assert not house.redeemed()
        for _ in range(4 * TIMES):
            async with asyncio.timeout(BOUND), caller(house.port) as line:
                sending = asyncio.create_task(pour(line, 20 * MIB))
                seen = await line.answer()
                assert (seen.start, seen.body) == (b"HTTP/1.1 %d Early" % status, b"panda")
                assert seen.values(b"connection") == [b"close"]
                sending.cancel()
                await asyncio.wait({sending})
        await house.settle()
    assert bool(house.redeemed()) == (status == 401)


async def pour(line: Caller, size: int) -> None:
    """Send an upload until it is whole or nobody takes it."""
    with suppress(ConnectionError):
        await line.send(b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            await line.send(bytes(65536))


# Callers that leave (C1, C2, C3)


@pytest.mark.parametrize("abrupt", [True, False])
@pytest.mark.parametrize("moment", ["before the answer", "in a download", "in an upload", "in a stalled download"])
async def test_a_caller_that_leaves_takes_its_upstream_request_along(
    api_key_house: HouseMaker, moment: str, *, abrupt: bool
) -> None:
    """Within a second, however it goes."""

    async def script(stage: Stage) -> None:
        if moment == "in an upload":
            await stage.head()
        else:
            await stage.request()
        if "download" in moment:
            stage.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
            stage.writer.write(bytes(50_000_000) if "stalled" in moment else b"begun")
        stage.upstream.cue.set()
        await stage.reader.readexactly(10**6)

    async with before(api_key_house, script, idle_timeout="60s", response_timeout="60s") as (house, up):
        for turn in range(1, TIMES + 1):
            async with caller(house.port) as line:
                await line.send(GET if moment != "in an upload" else POST.replace(b"5\r\n", b"100000\r\n"))
                await up.cue.wait()
                up.cue.clear()
                if "download" in moment:
                    await line.reader.readuntil(b"\r\n\r\n")
                if abrupt:
                    line.writer.transport.abort()
            await has_lost(up, turn, seconds=1)


@pytest.mark.parametrize("size", [10, 100_000], ids=["small", "large"])
async def test_a_caller_that_leaves_before_its_401_is_judged_takes_its_upstream_request_along(
    oauth_house: HouseMaker, size: int
) -> None:
    """While the 401's body is read ahead; and while the refresh runs, if that body is too large to be read ahead."""

    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n" % size + bytes(size - 1))
        await stage.reader.readexactly(1)

    house = await oauth_house()
    async with upstream(script) as up:
        await house.forward_to(up.url)
        await house.credential.current()
        gate = asyncio.Event()
        house.simulator.faults.add(Fault(path="/oauth2/access_token", gate=gate))
        async with nothing_left_behind():
            for turn in range(1, TIMES + 1):
                async with caller(house.port) as line:
                    await line.send(GET)
                    await until(lambda: len(up.heard) == up.connections == up.gone + 1)
                    await asyncio.sleep(0.1)
                await has_lost(up, turn, seconds=1)
            gate.set()


async def test_a_caller_that_leaves_an_upload_that_is_held_back_is_noticed_within_the_idle_timeout(
    api_key_house: HouseMaker,
) -> None:
    """The upstream reads nothing, so nothing is read of the caller either, nor that it is gone."""

    async def script(stage: Stage) -> None:
        await stage.head()
        await stage.upstream.cue.wait()

    async with before(api_key_house, script) as (house, up):
        async with caller(house.port) as line:
            sending = asyncio.create_task(pour(line, 50 * MIB))
            await until(lambda: len(up.heard) == 1)
            await asyncio.sleep(0.1)
            sending.cancel()
            line.writer.transport.abort()
        left = time.monotonic()
        await until(lambda: house.ear.heard("proxy.access"))
        assert time.monotonic() - left < BOUND
        assert house.ear.fields[-1]["status"] in {499, 504}
