"""Connections: how long and how large a head may be, who gives way when there are too many, and how they end."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress

import msgspec
import pytest
from conftest import HouseMaker
from rig import House, until
from wire import OK, Caller, Stage, answering, caller, converse, on_cue, upstream

from proxy.app import LAST_WORD
from proxy.forward import connection, server
from proxy.forward.incoming import Incoming

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
START = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


async def test_a_head_that_comes_too_slowly_is_a_408(api_key_house: HouseMaker) -> None:
    """In aiohttp nothing limits it: a byte a second would hold a connection for hours."""
    house = await api_key_house({"limits": {"header_timeout": "200ms"}})
    async with caller(house.port) as line:
        await line.send(b"GET / HTTP/1.1\r\nHo")
        seen = await line.answer()
        assert seen.start == b"HTTP/1.1 408 Request Timeout"
        assert seen.values(b"content-type") == [b"application/problem+json"]
        assert b"limits.header_timeout" in seen.body
        await line.closed()


async def test_a_second_request_on_a_connection_has_the_same_time_limit(api_key_house: HouseMaker) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}, "limits": {"header_timeout": "200ms"}})
        async with caller(house.port) as line:
            await line.send(GET)
            assert (await line.answer()).body == b"ok"
            await line.send(b"GET /")
            assert (await line.answer()).start == b"HTTP/1.1 408 Request Timeout"


async def test_a_long_head_is_not_kept_for_the_next_request(
    api_key_house: HouseMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a short one is kept what was found of its fields; thousands of idle connections may hold one each."""
    kept: list[bool] = []
    before_it_is_begun(monkeypatch, lambda line: kept.append(line._said is not None))  # noqa: SLF001 - nothing else shows it
    long = b"x" * 4096
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            for head in (
                GET,
                START + b"X: " + long + b"\r\n\r\n",
                GET.replace(b"/", b"/" + long, 1),
                START + b"a:\r\n" * 100 + b"\r\n",
            ):
                await line.send(head)
                assert (await line.answer()).body == b"ok"
    assert kept == [True, False, False, False]


async def test_who_sends_many_requests_at_once_holds_up_nobody_else(
    api_key_house: HouseMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer of our own waits for nothing: all would be given in one turn of the loop."""
    loop, turns, begun = asyncio.get_running_loop(), 0, list[int]()

    def turn() -> None:
        nonlocal turns
        turns += 1
        if len(begun) < 100:
            loop.call_soon(turn)

    before_it_is_begun(monkeypatch, lambda _: begun.append(turns))
    house = await api_key_house({})
    async with caller(house.port) as line:
        turn()
        await line.send(HEALTH * 100)
        for _ in range(100):
            assert (await line.answer()).body == b"ok\n"
    assert len(set(begun)) == 100


BEGUN = [b"POST /", b"POST / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Len"]


@pytest.mark.parametrize("begun", BEGUN)
@pytest.mark.parametrize("pieces", [1, 2])
async def test_a_head_that_begins_behind_a_request_has_the_same_time_limit(
    api_key_house: HouseMaker, begun: bytes, pieces: int
) -> None:
    """In one segment with it, or while it is answered. The time runs from the answer on."""
    async with upstream(on_cue) as up:
        house = await api_key_house({"upstream": {"url": up.url}, "limits": {"header_timeout": "200ms"}})
        async with caller(house.port) as line:
            await line.send(GET + begun if pieces == 1 else GET)
            await until(lambda: len(up.heard) == 1)
            if pieces == 2:
                await line.send(begun)
            await asyncio.sleep(0.4)
            up.cue.set()
            assert (await line.answer()).body == b"ok"
            assert (await line.answer()).start == b"HTTP/1.1 408 Request Timeout"


def before_it_is_begun(monkeypatch: pytest.MonkeyPatch, happens: Callable[[connection.Connection], None]) -> None:
    """Have something happen to a connection whose request is taken from the queue, and its handler not begun."""
    take = connection.Connection._next_request  # noqa: SLF001 - the last that is called before

    def then(self: connection.Connection) -> tuple[Incoming, connection.Answering]:
        taken = take(self)
        happens(self)
        return taken

    monkeypatch.setattr(connection.Connection, "_next_request", then)


@pytest.mark.parametrize("with_it", [0, 4])
async def test_a_head_that_goes_on_just_before_the_request_before_it_is_begun_has_the_same_time_limit(
    api_key_house: HouseMaker, monkeypatch: pytest.MonkeyPatch, with_it: int
) -> None:
    """The time runs from the answer on."""
    before_it_is_begun(monkeypatch, lambda line: line.data_received(GET[with_it:8]))
    async with upstream(on_cue) as up:
        house = await api_key_house({"upstream": {"url": up.url}, "limits": {"header_timeout": "200ms"}})
        async with caller(house.port) as line, asyncio.timeout(5):
            await line.send(GET + GET[:with_it])
            await asyncio.sleep(0.4)
            up.cue.set()
            assert (await line.answer()).body == b"ok"
            assert (await line.answer()).start == b"HTTP/1.1 408 Request Timeout"


@pytest.mark.parametrize("with_it", [0, 4])
async def test_a_head_that_goes_on_just_before_the_request_before_it_is_begun_leaves_no_clock_behind(
    api_key_house: HouseMaker, monkeypatch: pytest.MonkeyPatch, with_it: int
) -> None:
    piece = iter([GET[with_it:8]])
    before_it_is_begun(monkeypatch, lambda line: line.data_received(next(piece, b"")))
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}, "limits": {"header_timeout": "200ms"}})
        async with caller(house.port) as line, asyncio.timeout(5):
            await line.send(GET + GET[:with_it])
            assert (await line.answer()).body == b"ok"
            await line.send(GET[8:])
            assert (await line.answer()).body == b"ok"
            await asyncio.sleep(0.4)
            await line.send(GET)
            assert (await line.answer()).body == b"ok"


SIZED = START.replace(b"GET", b"POST") + b"Content-Length: 5\r\n\r\n"
CHUNKED = START.replace(b"GET", b"POST") + b"Transfer-Encoding: chunked\r\n\r\n"
BEFORE = {
    "a length": [SIZED + b"hello"],
    "a length, and a body that ends a line": [SIZED + b"hel\r\n"],
    "a length, and its end apart": [SIZED, b"hello"],
    "a length, and its end in two": [SIZED + b"he", b"llo"],
    "a length, and the head's end apart": [SIZED[:-1], b"\nhello"],
    "chunks": [CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"],
    "chunks, and their end apart": [CHUNKED, b"5\r\nhello\r\n", b"0\r\n\r\n"],
    "chunks, and their last byte apart": [CHUNKED, b"5\r\nhello\r\n0\r\n\r", b"\n"],
    "no chunk": [CHUNKED + b"0\r\n\r\n"],
    "a GET before it": [GET + SIZED + b"hello"],
    "a GET behind it": [SIZED + b"hello" + GET],
    "as many as may wait": [GET * 32],
    "more than may wait": [GET * 40],
    "many more than may wait": [GET * 40 + CHUNKED + b"0\r\n\r\n" + GET * 60],
}
"""What stands before a head, in pieces: the beginning comes with the last of them."""


def requests(pieces: list[bytes]) -> int:
    return b"".join(pieces).count(b"HTTP/1.1\r\n")


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
async def test_a_head_that_begins_behind_whatever_comes_with_it_has_its_time_limit(
    api_key_house: HouseMaker, before: list[bytes]
) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}, "limits": {"header_timeout": "200ms"}})
        for begun in (b"G", *BEGUN):
            async with caller(house.port) as line:
                await in_pieces(line, [*before[:-1], before[-1] + begun])
                for _ in range(requests(before)):
                    assert (await line.answer()).body == b"ok"
                async with asyncio.timeout(5):
                    assert (await line.answer()).start == b"HTTP/1.1 408 Request Timeout"


@pytest.mark.parametrize("empty", [b"", b"\r\n"], ids=["", "an empty line"])
@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
async def test_who_pauses_behind_a_request_is_no_slow_head(
    api_key_house: HouseMaker, before: list[bytes], empty: bytes
) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}, "limits": {"header_timeout": "50ms"}})
        async with caller(house.port) as line:
            await in_pieces(line, [*before[:-1], before[-1] + empty])
            for _ in range(requests(before)):
                assert (await line.answer()).body == b"ok"
            await asyncio.sleep(0.2)
            await line.send(GET)
            assert (await line.answer()).body == b"ok"


async def in_pieces(line: Caller, pieces: list[bytes]) -> None:
    for piece in pieces:
        await line.send(piece)
        await asyncio.sleep(0.01)  # in which the proxy reads it, most likely by itself


WHOLE = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("begun", BEGUN)
@pytest.mark.parametrize("before", [[GET], *BEFORE.values()], ids=["nothing", *BEFORE])
async def test_a_head_that_has_begun_behind_a_request_is_waited_for_in_a_drain(
    api_key_house: HouseMaker, before: list[bytes], begun: bytes
) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            await in_pieces(line, [*before[:-1], before[-1] + begun])
            for _ in range(requests(before)):
                assert (await line.answer()).body == b"ok"
            draining = asyncio.create_task(house.proxy.drain())
            await asyncio.sleep(2 * LAST_WORD)
            await line.send(WHOLE.removeprefix(begun))
            assert (await line.answer()).body == b"ok"
            await draining


async def test_a_slow_body_or_a_slow_answer_is_not_a_slow_head(api_key_house: HouseMaker) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}, "limits": {"header_timeout": "100ms"}})
        async with caller(house.port) as line:
            await line.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\n")
            for byte in (b"a", b"b", b"c", b"d", b"e", b"f"):
                await asyncio.sleep(0.05)
                await line.send(byte)
            assert (await line.answer()).body == b"ok"
        assert up.heard[0].body == b"abcdef"


async def test_an_idle_connection_may_wait_for_its_first_byte(api_key_house: HouseMaker) -> None:
    """Pools open connections ahead of need."""
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}, "limits": {"header_timeout": "50ms"}})
        async with caller(house.port) as line:
            await asyncio.sleep(0.2)
            await line.send(GET)
            assert (await line.answer()).body == b"ok"


async def test_a_head_that_has_begun_outlives_the_time_that_idle_connections_are_kept(
    api_key_house: HouseMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timer of aiohttp does not know that one is coming, and would close the connection without a word."""
    monkeypatch.setattr(server, "KEEPALIVE", 0.3)
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}, "limits": {"header_timeout": "1s"}})
        async with caller(house.port) as late, caller(house.port) as whole, caller(house.port) as idle:
            await late.send(GET[:20])
            await whole.send(GET[:20])
            assert await idle.closed() == b""
            await whole.send(GET[20:])
            assert (await whole.answer()).body == b"ok"
            assert await whole.closed() == b""
            assert (await late.answer()).start == b"HTTP/1.1 408 Request Timeout"


async def test_a_request_that_came_while_the_process_stood_still_outlives_the_time_of_idle_connections(
    api_key_house: HouseMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller could not know what became of it, were it reset."""
    monkeypatch.setattr(server, "KEEPALIVE", 0.2)
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            await line.send(GET)
            assert (await line.answer()).body == b"ok"
            line.writer.write(GET)
            time.sleep(0.5)  # noqa: ASYNC251 - it stands still
            assert (await line.answer()).body == b"ok"
            assert await line.closed() == b""


async def test_empty_lines_between_requests_are_nobodys_slow_head(api_key_house: HouseMaker) -> None:
    """Old clients send one after a body; a 408 would be taken for the next answer."""
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}, "limits": {"header_timeout": "50ms"}})
        async with caller(house.port) as line:
            await line.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx\r\n")
            assert (await line.answer()).body == b"ok"
            await line.send(b"\r\n")
            await asyncio.sleep(0.2)
            await line.send(GET)
            assert (await line.answer()).body == b"ok"


async def test_500_slow_heads_do_not_keep_others_from_being_served(api_key_house: HouseMaker) -> None:
    house = await api_key_house({"limits": {"header_timeout": "1s"}})
    slow = [await asyncio.open_connection("127.0.0.1", house.port) for _ in range(500)]
    for _, writer in slow:
        writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
    assert (await house.get()).status == 200
    for reader, writer in slow:
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        writer.close()
        await writer.wait_closed()


async def test_a_request_in_two_segments_is_one_request(api_key_house: HouseMaker) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        for cut in range(1, len(GET), 7):
            async with caller(house.port) as line:
                await line.send(GET[:cut])
                await asyncio.sleep(0)
                await line.send(GET[cut:])
                assert (await line.answer()).body == b"ok"
        assert (await converse(house.port, GET)).body == b"ok"


async def test_a_head_that_never_ends_is_refused_at_its_limit_however_it_comes(api_key_house: HouseMaker) -> None:
    """By aiohttp each line is limited, and their number: together 16 MiB, on each connection."""
    house = await api_key_house({"limits": {"max_head": "8KiB"}})
    for size in (1, 7, 1000, 100_000):
        piece = (b"X: " + b"y" * 60 + b"\r\n") * 200
        async with caller(house.port) as line:
            await line.send(START)
            sent = 0
            with suppress(ConnectionError):
                while sent < 9500:
                    await line.send(piece[sent % len(piece) : sent % len(piece) + size])
                    sent += size
            seen = await line.answer()
            assert seen.start == b"HTTP/1.1 431 Request Header Fields Too Large", size
            assert b"limits.max_head" in seen.body
            assert await line.closed() == b""


async def test_a_head_within_its_limit_passes_however_it_comes(api_key_house: HouseMaker) -> None:
    head = START + (b"X: " + b"y" * 100 + b"\r\n") * 75 + b"\r\n"
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}, "limits": {"max_head": "8KiB"}})
        for size in (7, 1000, len(head)):
            async with caller(house.port) as line:
                for at in range(0, len(head), size):
                    await line.send(head[at : at + size])
                    await asyncio.sleep(0)
                assert (await line.answer()).body == b"ok"


@pytest.mark.parametrize("number", [129, 256, 257, 100_000])
@pytest.mark.parametrize("size", [500, 10**9], ids=["in pieces", "in one write"])
async def test_too_many_fields_are_a_431_whatever_their_number(
    api_key_house: HouseMaker, number: int, size: int
) -> None:
    """And the caller, which is still sending, gets to see it."""
    house = await api_key_house({"limits": {"max_head": "8KiB"} if number < 1000 else {}})
    head = START + b"X:\r\n" * number + b"\r\n"
    async with caller(house.port) as line:
        with suppress(ConnectionError):
            for at in range(0, len(head), size):
                await line.send(head[at : at + size])
        seen = await line.answer()
        assert seen.start == b"HTTP/1.1 431 Request Header Fields Too Large"
        assert msgspec.json.decode(seen.body)["detail"] == (
            "The request has more than 128 header fields (limits.max_headers)."
        )
        assert await line.closed() == b""
    assert (await house.get()).status == 200


async def test_what_stands_before_an_endless_head_is_answered_first(api_key_house: HouseMaker) -> None:
    """A head behind a request that is being served is limited too, and its 431 waits for its turn."""

    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.upstream.cue.wait()
        await stage.say(OK)

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}, "limits": {"max_head": "4KiB"}})
        async with caller(house.port) as line:
            await line.send(GET)
            await until(lambda: len(up.heard) == 1)
            for _ in range(100):
                await line.send(b"GET / HTTP/1.1\r\nX: " + b"y" * 2000)
                await asyncio.sleep(0)
            up.cue.set()
            assert (await line.answer()).body == b"ok"
            assert (await line.answer()).start.startswith(b"HTTP/1.1 431 ")
            assert await line.closed() == b""


async def test_a_body_is_never_taken_for_a_head(api_key_house: HouseMaker) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}, "limits": {"max_head": "1KiB"}})
        async with caller(house.port) as line:
            for body in (b"x" * 50_000, b"y" * 3000):
                await line.send(START + b"Content-Length: %d\r\n\r\n" % len(body))
                for at in range(0, len(body), 1000):
                    await line.send(body[at : at + 1000])
                    await asyncio.sleep(0)
                assert (await line.answer()).body == b"ok"
        assert [len(message.body) for message in up.heard] == [50_000, 3000]


async def test_a_body_that_is_framed_wrongly_is_a_400_at_once(api_key_house: HouseMaker) -> None:
    """The parser of aiohttp tells nobody who waits for the body, which then seems to stall."""

    async def script(stage: Stage) -> None:
        await stage.head()
        await stage.reader.read()
        stage.upstream.gone += 1

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            await line.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            await until(lambda: len(up.heard) == 1)
            async with asyncio.timeout(4):
                await line.send(b"ZZ\r\n")
                seen = await line.answer()
            assert seen.start == b"HTTP/1.1 400 Bad Request"
            assert b"framed wrongly" in seen.body
            assert await line.closed() == b""
        await until(lambda: up.gone == 1)  # the upstream saw no whole body


async def test_a_body_that_is_framed_wrongly_just_before_its_request_is_begun_is_no_whole_one(
    api_key_house: HouseMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(stage: Stage) -> None:
        with suppress(asyncio.IncompleteReadError):
            await stage.request()
            await stage.say(OK)

    before_it_is_begun(monkeypatch, lambda line: line.data_received(b"ZZ\r\n"))
    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        seen = await converse(house.port, CHUNKED + b"5\r\nhello\r\n")
        assert seen.start == b"HTTP/1.1 400 Bad Request"
        assert b"framed wrongly" in seen.body
        assert not up.heard


@pytest.mark.parametrize("read_on", [b"", b"5\r\nhello\r\n"])
async def test_a_body_that_turns_out_to_be_framed_wrongly_behind_its_answer_is_nobodys_fault(
    api_key_house: HouseMaker, read_on: bytes
) -> None:
    """Whoever reaches the listener could fill the log otherwise, without a key."""
    house = await api_key_house({})
    for _ in range(20):
        async with caller(house.port) as line:
            await line.send(b"POST / HTTP/1.1\r\nHost: evil.example\r\nTransfer-Encoding: chunked\r\n\r\n" + read_on)
            assert (await line.answer()).start == b"HTTP/1.1 421 Misdirected Request"
            await line.send(b"ZZ\r\n")
            assert await line.closed() == b""
    assert not house.ear.heard("ERROR")


async def waiting(stage: Stage) -> None:
    """Answer each request once the test says so."""
    while True:
        await stage.request()
        await stage.upstream.cue.wait()
        await stage.say(OK)


async def idle(line: Caller) -> None:
    """Ask once, so that the connection is one that was answered."""
    await line.send(HEALTH)
    assert (await line.answer()).body == b"ok\n"


@pytest.fixture
async def lines() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def connected(lines: AsyncExitStack, house: House, number: int) -> list[Caller]:
    """Open connections, and wait until the proxy has seen each."""
    return [await lines.enter_async_context(caller(house.port)) for _ in range(number)]


FEW = {"limits": {"max_connections": 4}}


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nX-Slow: "], ids=["silent", "slow"])
async def test_half_open_connections_never_keep_others_out(
    api_key_house: HouseMaker, lines: AsyncExitStack, start: bytes
) -> None:
    """The one that has waited longest gives its place to the newcomer, and no time limit has to end first."""
    house = await api_key_house({"limits": {"max_connections": 8, "header_timeout": "1h"}})
    for _ in range(20):
        for line in await connected(lines, house, 5):
            await line.send(start)
        assert (await converse(house.port, GET)).start == b"HTTP/1.1 404 Not Found"
    assert len(house.server.connections) <= 8


async def test_a_connection_that_was_served_outlives_those_that_never_ask(
    api_key_house: HouseMaker, lines: AsyncExitStack
) -> None:
    """An app's pool is not what a flood pushes out."""
    house = await api_key_house(FEW)
    (pooled,) = await connected(lines, house, 1)
    await idle(pooled)
    for line in await connected(lines, house, 20):
        await line.send(b"GET")
    await idle(pooled)


async def test_a_newcomer_takes_the_place_of_the_connection_that_was_idle_longest(
    api_key_house: HouseMaker, lines: AsyncExitStack
) -> None:
    house = await api_key_house(FEW)
    pooled = await connected(lines, house, 4)
    for line in pooled:
        await idle(line)
    await idle(pooled[0])
    await connected(lines, house, 1)
    assert await pooled[1].closed() == b""
    for line in (pooled[0], pooled[2], pooled[3]):
        await idle(line)


async def test_where_all_are_busy_a_newcomer_gets_a_whole_503(api_key_house: HouseMaker, lines: AsyncExitStack) -> None:
    async with upstream(waiting) as up:
        house = await api_key_house({"upstream": {"url": up.url}, **FEW})
        busy = await connected(lines, house, 4)
        for line in busy:
            await line.send(GET)
        await until(lambda: len(up.heard) == 4)
        for request in (b"", GET, GET + b"x" * 3_000_000):
            async with caller(house.port) as line:
                with suppress(ConnectionError):
                    await line.send(request)
                seen = await line.answer()
                assert seen.start == b"HTTP/1.1 503 Service Unavailable"
                assert seen.values(b"content-type") == [b"application/problem+json"]
                assert seen.values(b"proxy-status") == [b"pandadoc-proxy; error=connection_limit_reached"]
                assert seen.values(b"retry-after") == [b"1"]
                assert seen.values(b"connection") == [b"close"]
                assert b"limits.max_connections" in seen.body
                assert await line.closed() == b""
        up.cue.set()
        for line in busy:
            assert (await line.answer()).body == b"ok"
        assert (await converse(house.port, GET)).body == b"ok"


async def test_many_that_are_turned_away_and_stay_cost_no_more_than_a_few(
    api_key_house: HouseMaker, lines: AsyncExitStack
) -> None:
    async with upstream(waiting) as up:
        house = await api_key_house({"upstream": {"url": up.url}, "limits": {"max_connections": 1}})
        (busy,) = await connected(lines, house, 1)
        await busy.send(GET)
        await until(lambda: len(up.heard) == 1)
        turned_away = await connected(lines, house, 100)
        for line in turned_away:
            assert (await line.answer()).start.startswith(b"HTTP/1.1 503 ")
        assert len(house.server.turned_away) == 64
        up.cue.set()
        assert (await busy.answer()).body == b"ok"


async def test_the_admin_port_has_as_many_places(api_key_house: HouseMaker, lines: AsyncExitStack) -> None:
    house = await api_key_house(FEW)
    assert house.proxy.admin_url is not None
    port = int(house.proxy.admin_url.rpartition(":")[2])
    silent = [await lines.enter_async_context(caller(port)) for _ in range(20)]
    assert (await converse(port, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")).body == b"ok\n"
    assert await silent[0].closed() == b""


async def test_garbage_takes_nobodys_place(api_key_house: HouseMaker, lines: AsyncExitStack) -> None:
    """Who has its last answer gives way, though it stays as long as it may."""
    house = await api_key_house(FEW)
    for _ in range(20):
        (line,) = await connected(lines, house, 1)
        await line.send(b"garbage\r\n\r\n")
        assert (await line.answer()).start == b"HTTP/1.1 400 Bad Request"
    assert (await converse(house.port, GET)).start == b"HTTP/1.1 404 Not Found"


@pytest.mark.parametrize("last", [b"", b"garbage", START], ids=["more of the same", "garbage", "a slow head"])
async def test_who_takes_no_answer_is_cut_off(
    api_key_house: HouseMaker, monkeypatch: pytest.MonkeyPatch, last: bytes
) -> None:
    """What we say ourselves is short: a caller whose socket is full of it has not read for long."""
    monkeypatch.setattr(connection, "LINGER", 0.2)
    house = await api_key_house({"limits": {"header_timeout": "200ms"}})
    server = house.server
    _, writer = await asyncio.open_connection("127.0.0.1", house.port, limit=1)  # so that it soon stops to read
    writer.write(HEALTH * 20_000 + last)
    await until(lambda: len(server.connections) == 1)
    await until(lambda: len(server.connections) == 0, 20)
    writer.transport.abort()
    assert not house.ear.heard("Traceback")


@pytest.mark.parametrize(
    ("begun", "start"),
    [
        (
            b"POST / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 500001\r\n\r\nx",
            b"HTTP/1.1 421 Misdirected Request",
        ),
        (b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
    ],
    ids=["a body that nobody wants", "no request"],
)
async def test_what_still_comes_behind_a_refusal_is_read_away(
    api_key_house: HouseMaker, begun: bytes, start: bytes
) -> None:
    """A reset would overtake the answer (RFC 9112 §9.6)."""
    house = await api_key_house()
    async with caller(house.port) as line:
        await line.send(begun)
        assert (await line.answer()).start == start
        for _ in range(50):
            await line.send(b"x" * 10_000)  # raises behind a reset
        assert not line.writer.is_closing()


async def test_only_what_speaks_tls_is_told_to_do_so(api_key_house: HouseMaker) -> None:
    house = await api_key_house()
    await converse(house.port, b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n")
    assert house.ear.heard("INFO", "malformed request from 127.0.0.1: ")
    assert not house.ear.heard("speaks TLS")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_close_outweighs_keep_alive(api_key_house: HouseMaker, version: bytes) -> None:
    """RFC 9112 §9.3; llhttp has it the other way round in HTTP/1.0."""
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            await line.send(b"GET / HTTP/%b\r\nHost: localhost\r\nConnection: close, keep-alive\r\n\r\n" % version)
            seen = await line.answer()
            assert seen.values(b"connection") == [b"close"]
            assert seen.body == b"ok"
            assert await line.closed() == b""


@pytest.mark.parametrize(
    "body", [b"\r\n", b"Content-Length: 5\r\n\r\npanda", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("behind", [b"", GET, GET[:20]])
async def test_nothing_is_heard_behind_an_offer_to_upgrade(
    api_key_house: HouseMaker, body: bytes, behind: bytes
) -> None:
    """What lies behind it in its segment, aiohttp loses; what came later would be read as something else."""
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            head = b"POST / HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nConnection: upgrade\r\n"
            await line.send(head + body + behind)
            seen = await line.answer()
            assert seen.values(b"connection") == [b"close"]
            assert seen.body == b"ok"
            assert await line.closed() == b""
        assert len(up.heard) == 1
